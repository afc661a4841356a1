#include <algorithm>

#include "dwarf.h"

namespace softmetal::checks {
namespace {

/// What a line program's header says.
struct Header {
  DwarfSizes sizes;
  uint32_t min_instruction = 1;
  int32_t line_base = 0;
  uint32_t line_range = 1;
  uint32_t opcode_base = 1;
  std::vector<uint8_t> operand_counts;
};

/// A file's name in DWARF 5: one of several forms, in one of several sections.
std::string ReadName(const DwarfSections &sections, Bytes &data, uint32_t form, const DwarfSizes &sizes, bool *ok) {
  if (form == kFormString) return data.String();
  uint64_t value;
  *ok = ReadForm(data, form, sizes, &value);
  if (form == kFormLineStrp) return sections.line_strings.Slice(value).String();
  if (form == kFormStrp) return sections.strings.Slice(value).String();
  return std::string();
}

/// One of DWARF 5's two tables, of directories and of files. False if it cannot be read.
bool ReadEntries(const DwarfSections &sections, Bytes &data, const DwarfSizes &sizes, std::vector<std::string> *names) {
  constexpr uint64_t kContentPath = 1;
  std::vector<std::pair<uint64_t, uint32_t>> format(data.U8());
  for (auto &[content, form] : format) {
    content = data.Uleb();
    form = static_cast<uint32_t>(data.Uleb());
  }
  uint64_t count = data.Uleb();
  if (format.empty() || count > data.Size()) return count == 0;
  for (uint64_t i = 0; i < count && data.Ok(); i++) {
    std::string path;
    for (auto [content, form] : format) {
      bool ok = true;
      uint64_t ignored;
      if (content == kContentPath)
        path = ReadName(sections, data, form, sizes, &ok);
      else
        ok = ReadForm(data, form, sizes, &ignored);
      if (!ok || !data.Ok()) return false;
    }
    names->push_back(path);
  }
  return data.Ok();
}

/// DWARF 4's tables; files count from 1.
void ReadOldEntries(Bytes &data, std::vector<std::string> *files) {
  while (!data.AtEnd() && !data.String().empty()) continue;
  files->push_back(std::string());
  for (;;) {
    std::string name = data.String();
    if (name.empty()) return;
    files->push_back(name);
    for (int i = 0; i < 3; i++) data.Uleb();
  }
}

class Program {
 public:
  Program(const Header &header, std::vector<LineTable::Row> *rows) : header_(header), rows_(rows) {}

  void Run(Bytes code) {
    Reset();
    while (!code.AtEnd()) {
      uint32_t opcode = code.U8();
      if (opcode >= header_.opcode_base)
        Special(opcode);
      else if (opcode == 0)
        Extended(code);
      else
        Standard(opcode, code);
    }
  }

 private:
  void Reset() {
    address_ = 0;
    file_ = 1;
    line_ = 1;
  }
  void Emit(bool end) {
    uint32_t number = static_cast<uint32_t>(rows_->size());
    rows_->push_back({address_, static_cast<uint32_t>(file_), static_cast<uint32_t>(line_), number, end});
  }
  void Special(uint32_t opcode) {
    uint32_t adjusted = opcode - header_.opcode_base;
    address_ += uint64_t{adjusted / header_.line_range} * header_.min_instruction;
    line_ += static_cast<uint64_t>(header_.line_base + static_cast<int64_t>(adjusted % header_.line_range));
    Emit(false);
  }
  void Extended(Bytes &code) {
    uint64_t bytes = code.Uleb();
    Bytes operand = code.Slice(code.Position(), bytes);
    code.Skip(bytes);
    switch (operand.U8()) {
      case 1:  // end of a sequence
        Emit(true);
        Reset();
        break;
      case 2:
        address_ = operand.Unsigned(header_.sizes.address);
        break;
      default:
        break;
    }
  }
  void Standard(uint32_t opcode, Bytes &code) {
    switch (opcode) {
      case 1:
        Emit(false);
        break;
      case 2:
        address_ += code.Uleb() * header_.min_instruction;
        break;
      case 3:
        line_ += static_cast<uint64_t>(code.Sleb());
        break;
      case 4:
        file_ = code.Uleb();
        break;
      case 8:
        address_ += uint64_t{(255 - header_.opcode_base) / header_.line_range} * header_.min_instruction;
        break;
      case 9:
        address_ += code.U16();
        break;
      default:
        for (uint32_t i = 0; i < header_.operand_counts[opcode - 1]; i++) code.Uleb();
    }
  }

  const Header &header_;
  std::vector<LineTable::Row> *rows_;
  uint64_t address_ = 0, file_ = 1, line_ = 1;
};

}  // namespace

LineTable ReadLineTable(const DwarfSections &sections, uint64_t offset) {
  LineTable table;
  Bytes data = sections.line.Slice(offset);
  Header header;
  uint64_t length = data.U32();
  if (length == 0xffffffff) {
    length = data.U64();
    header.sizes.offset = 8;
  }
  data = data.Slice(data.Position(), length);
  header.sizes.version = data.U16();
  if (header.sizes.version < 2 || header.sizes.version > 5) return table;
  if (header.sizes.version == 5) {
    header.sizes.address = data.U8();
    data.U8();  // segment selector
  }
  uint64_t program = data.Unsigned(header.sizes.offset);
  program += data.Position();
  header.min_instruction = data.U8();
  if (header.sizes.version >= 4) data.U8();  // operations in an instruction
  data.U8();                                 // whether rows are statements
  header.line_base = static_cast<int8_t>(data.U8());
  header.line_range = data.U8();
  header.opcode_base = data.U8();
  if (!data.Ok() || header.line_range == 0 || header.opcode_base == 0) return table;
  for (uint32_t i = 1; i < header.opcode_base; i++) header.operand_counts.push_back(data.U8());
  if (header.sizes.version == 5) {
    std::vector<std::string> directories;
    if (!ReadEntries(sections, data, header.sizes, &directories) ||
        !ReadEntries(sections, data, header.sizes, &table.files))
      return table;
  } else {
    ReadOldEntries(data, &table.files);
  }
  Program(header, &table.rows).Run(data.Slice(program));
  // At equal addresses the end of one sequence comes before the start of the next, and the last row said so counts.
  std::sort(table.rows.begin(), table.rows.end(), [](const LineTable::Row &a, const LineTable::Row &b) {
    if (a.address != b.address) return a.address < b.address;
    return a.end != b.end ? a.end : a.number < b.number;
  });
  return table;
}

const LineTable::Row *LineTable::Find(uint64_t address) const {
  auto after = std::upper_bound(rows.begin(), rows.end(), address,
                                [](uint64_t value, const Row &row) { return value < row.address; });
  if (after == rows.begin()) return nullptr;
  const Row &row = *(after - 1);
  return row.end ? nullptr : &row;
}

}  // namespace softmetal::checks
