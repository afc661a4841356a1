#include "source_lines.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "dwarf.h"

namespace softmetal::checks {
namespace {

/// The device library's headers all begin with one of these.
bool InLibrary(const std::string &file) {
  std::string name = file.substr(file.rfind('/') + 1);
  return name.rfind("sm_", 0) == 0 || name.rfind("softmetal_", 0) == 0;
}

}  // namespace

struct SourceLines::Tables {
  struct Entry {
    LineTable lines;
    std::vector<InlinedCall> calls;
  };
  std::vector<Entry> units;
};

SourceLines::SourceLines(const uint8_t *object, uint64_t bytes) : tables_(std::make_unique<Tables>()) {
  DwarfSections sections = ReadSections(Bytes(object, bytes));
  for (Unit &unit : ReadUnits(sections))
    tables_->units.push_back({ReadLineTable(sections, unit.line_table), std::move(unit.calls)});
}

SourceLines::~SourceLines() = default;
SourceLines::SourceLines(SourceLines &&) noexcept = default;
SourceLines &SourceLines::operator=(SourceLines &&) noexcept = default;

std::vector<SourceLine> SourceLines::Frames(uint64_t address) const {
  std::vector<SourceLine> frames;
  for (const Tables::Entry &unit : tables_->units) {
    const LineTable::Row *row = unit.lines.Find(address);
    if (row == nullptr) continue;
    frames.push_back({unit.lines.File(row->file), row->line});
    std::vector<const InlinedCall *> calls;
    for (const InlinedCall &call : unit.calls)
      if (call.begin <= address && address < call.end) calls.push_back(&call);
    std::sort(calls.begin(), calls.end(),
              [](const InlinedCall *a, const InlinedCall *b) { return a->depth > b->depth; });
    for (const InlinedCall *call : calls) frames.push_back({unit.lines.File(call->file), call->line});
    break;
  }
  return frames;
}

SourceLine SourceLines::UserLine(uint64_t address) const {
  std::vector<SourceLine> frames = Frames(address);
  // Line 0 is code that belongs to no line in particular.
  for (const SourceLine &frame : frames)
    if (frame.line != 0 && !frame.file.empty() && !InLibrary(frame.file)) return frame;
  for (const SourceLine &frame : frames)
    if (frame.line != 0 && !frame.file.empty()) return {frame.file.substr(frame.file.rfind('/') + 1), frame.line};
  return SourceLine();
}

Image ImageOf(const void *address) {
  struct Search {
    uintptr_t address;
    Image found;
  } search = {reinterpret_cast<uintptr_t>(address), {}};
  dl_iterate_phdr(
      [](dl_phdr_info *module, size_t, void *context) {
        auto *wanted = static_cast<Search *>(context);
        uintptr_t low = UINTPTR_MAX, high = 0;
        for (int i = 0; i < module->dlpi_phnum; i++) {
          const auto &segment = module->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD) continue;
          uintptr_t begin = module->dlpi_addr + segment.p_vaddr;
          low = std::min(low, begin);
          high = std::max(high, begin + segment.p_memsz);
        }
        if (wanted->address < low || wanted->address >= high) return 0;
        wanted->found = {low, high - low, module->dlpi_addr};
        return 1;
      },
      &search);
  return search.found;
}

ModuleLines::ModuleLines(const void *address) : image_(ImageOf(address)) {
  Dl_info info;
  if (address == nullptr || dladdr(address, &info) == 0 || info.dli_fname == nullptr) return;
  // The file may be replaced or removed while the shader lives; a mapping keeps what was loaded.
  int file = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  struct stat status;
  if (fstat(file, &status) == 0 && status.st_size > 0) {
    void *data = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_PRIVATE, file, 0);
    if (data != MAP_FAILED) {
      file_ = data;
      file_bytes_ = static_cast<uint64_t>(status.st_size);
    }
  }
  close(file);
}

ModuleLines::~ModuleLines() {
  if (file_ != nullptr) munmap(file_, file_bytes_);
}

SourceLine ModuleLines::UserLine(const void *return_address) {
  if (file_ == nullptr || !image_.Holds(return_address)) return SourceLine();
  if (lines_ == nullptr) lines_ = std::make_unique<SourceLines>(static_cast<const uint8_t *>(file_), file_bytes_);
  return lines_->UserLine(reinterpret_cast<uintptr_t>(return_address) - image_.bias - 1);
}

}  // namespace softmetal::checks
