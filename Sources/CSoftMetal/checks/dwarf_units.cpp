#include "dwarf.h"

namespace softmetal::checks {
namespace {

enum : uint64_t {
  kTagInlinedSubroutine = 0x1d,
  kAttributeStatements = 0x10,
  kAttributeLowPc = 0x11,
  kAttributeHighPc = 0x12,
  kAttributeRanges = 0x55,
  kAttributeCallFile = 0x58,
  kAttributeCallLine = 0x59,
  kAttributeAddressBase = 0x73,
  kAttributeRangeListsBase = 0x74,
};

constexpr uint32_t kDeepest = 4096;

struct Attribute {
  uint64_t name;
  uint32_t form;
  int64_t constant;
};

struct Abbreviation {
  uint64_t tag = 0;
  bool children = false;
  std::vector<Attribute> attributes;
};

using Abbreviations = std::map<uint64_t, Abbreviation>;

Abbreviations ReadAbbreviations(Bytes data) {
  Abbreviations all;
  while (!data.AtEnd()) {
    uint64_t code = data.Uleb();
    if (code == 0) break;
    Abbreviation &entry = all[code];
    entry.tag = data.Uleb();
    entry.children = data.U8() != 0;
    while (!data.AtEnd()) {
      Attribute attribute = {data.Uleb(), static_cast<uint32_t>(data.Uleb()), 0};
      if (attribute.form == kFormImplicitConst) attribute.constant = data.Sleb();
      if (attribute.name == 0 && attribute.form == 0) break;
      entry.attributes.push_back(attribute);
    }
  }
  return all;
}

/// What an entry says of itself, as far as it matters here.
struct Entry {
  bool has_low = false, has_high = false, has_ranges = false;
  uint64_t low = 0, high = 0, ranges = 0;
  uint32_t low_form = 0, high_form = 0, ranges_form = 0;
  uint64_t call_file = 0, call_line = 0;
};

class UnitReader {
 public:
  UnitReader(const DwarfSections &sections, Bytes data, DwarfSizes sizes, const Abbreviations &abbreviations)
      : sections_(sections), data_(data), sizes_(sizes), abbreviations_(abbreviations) {}

  Unit Read() {
    uint32_t depth = 0;
    bool first = true;
    while (!data_.AtEnd()) {
      uint64_t code = data_.Uleb();
      if (code == 0) {
        if (depth <= 1) break;
        depth--;
        continue;
      }
      auto found = abbreviations_.find(code);
      if (found == abbreviations_.end()) break;
      const Abbreviation &abbreviation = found->second;
      Entry entry;
      if (!ReadEntry(abbreviation, &entry)) break;
      if (first && entry.has_low) base_ = Address(entry.low, entry.low_form);
      first = false;
      if (abbreviation.tag == kTagInlinedSubroutine) AddCall(entry, depth);
      if (abbreviation.children && ++depth > kDeepest) break;
      if (depth == 0) break;
    }
    return std::move(unit_);
  }

 private:
  bool ReadEntry(const Abbreviation &abbreviation, Entry *entry) {
    for (const Attribute &attribute : abbreviation.attributes) {
      uint64_t value = static_cast<uint64_t>(attribute.constant);
      if (attribute.form != kFormImplicitConst && !ReadForm(data_, attribute.form, sizes_, &value)) return false;
      switch (attribute.name) {
        case kAttributeStatements:
          unit_.line_table = value;
          break;
        case kAttributeAddressBase:
          address_base_ = value;
          break;
        case kAttributeRangeListsBase:
          range_lists_base_ = value;
          break;
        case kAttributeLowPc:
          entry->has_low = true;
          entry->low = value;
          entry->low_form = attribute.form;
          break;
        case kAttributeHighPc:
          entry->has_high = true;
          entry->high = value;
          entry->high_form = attribute.form;
          break;
        case kAttributeRanges:
          entry->has_ranges = true;
          entry->ranges = value;
          entry->ranges_form = attribute.form;
          break;
        case kAttributeCallFile:
          entry->call_file = value;
          break;
        case kAttributeCallLine:
          entry->call_line = value;
          break;
        default:
          break;
      }
    }
    return true;
  }

  uint64_t Address(uint64_t value, uint32_t form) const { return form == kFormAddr ? value : IndexedAddress(value); }
  uint64_t IndexedAddress(uint64_t index) const {
    if (index > sections_.addresses.Size()) return 0;
    Bytes at = sections_.addresses.Slice(address_base_ + index * sizes_.address);
    return at.Unsigned(sizes_.address);
  }

  void AddRange(const Entry &entry, uint32_t depth, uint64_t begin, uint64_t end) {
    if (begin >= end) return;
    unit_.calls.push_back(
        {begin, end, depth, static_cast<uint32_t>(entry.call_file), static_cast<uint32_t>(entry.call_line)});
  }

  void AddCall(const Entry &entry, uint32_t depth) {
    if (entry.has_ranges) {
      if (sizes_.version >= 5)
        AddRangeList(entry, depth);
      else
        AddOldRanges(entry, depth);
    } else if (entry.has_low && entry.has_high) {
      uint64_t begin = Address(entry.low, entry.low_form);
      bool is_address = entry.high_form == kFormAddr || entry.high_form == kFormAddrx ||
                        (entry.high_form >= kFormAddrx1 && entry.high_form <= kFormAddrx4);
      AddRange(entry, depth, begin, is_address ? Address(entry.high, entry.high_form) : begin + entry.high);
    }
  }

  void AddRangeList(const Entry &entry, uint32_t depth) {
    uint64_t offset = entry.ranges;
    if (entry.ranges_form == kFormRnglistx) {
      if (entry.ranges > sections_.range_lists.Size()) return;
      Bytes at = sections_.range_lists.Slice(range_lists_base_ + entry.ranges * sizes_.offset);
      offset = range_lists_base_ + at.Unsigned(sizes_.offset);
      if (!at.Ok()) return;
    }
    Bytes list = sections_.range_lists.Slice(offset);
    uint64_t base = base_;
    while (!list.AtEnd()) {
      uint64_t a, b;
      switch (list.U8()) {
        case 1:
          base = IndexedAddress(list.Uleb());
          break;
        case 2:
          a = IndexedAddress(list.Uleb());
          b = IndexedAddress(list.Uleb());
          AddRange(entry, depth, a, b);
          break;
        case 3:
          a = IndexedAddress(list.Uleb());
          b = list.Uleb();
          AddRange(entry, depth, a, a + b);
          break;
        case 4:
          a = list.Uleb();
          b = list.Uleb();
          if (list.Ok()) AddRange(entry, depth, base + a, base + b);
          break;
        case 5:
          base = list.Unsigned(sizes_.address);
          break;
        case 6:
          a = list.Unsigned(sizes_.address);
          b = list.Unsigned(sizes_.address);
          AddRange(entry, depth, a, b);
          break;
        case 7:
          a = list.Unsigned(sizes_.address);
          b = list.Uleb();
          AddRange(entry, depth, a, a + b);
          break;
        default:
          return;  // the end
      }
    }
  }

  void AddOldRanges(const Entry &entry, uint32_t depth) {
    Bytes list = sections_.ranges.Slice(entry.ranges);
    uint64_t highest = sizes_.address == 4 ? 0xffffffff : UINT64_MAX;
    uint64_t base = base_;
    while (!list.AtEnd()) {
      uint64_t a = list.Unsigned(sizes_.address), b = list.Unsigned(sizes_.address);
      if (!list.Ok() || (a == 0 && b == 0)) return;
      if (a == highest)
        base = b;
      else
        AddRange(entry, depth, base + a, base + b);
    }
  }

  const DwarfSections &sections_;
  Bytes data_;
  DwarfSizes sizes_;
  const Abbreviations &abbreviations_;
  Unit unit_;
  uint64_t base_ = 0, address_base_ = 8, range_lists_base_ = 12;
};

}  // namespace

std::vector<Unit> ReadUnits(const DwarfSections &sections) {
  std::vector<Unit> units;
  Bytes info = sections.info;
  while (!info.AtEnd()) {
    DwarfSizes sizes;
    uint64_t length = info.U32();
    if (length == 0xffffffff) {
      length = info.U64();
      sizes.offset = 8;
    }
    Bytes data = info.Slice(info.Position(), length);
    info.Skip(length);
    sizes.version = data.U16();
    if (sizes.version < 4 || sizes.version > 5) continue;
    uint64_t abbreviations_offset = 0;
    bool compile_unit = true;
    if (sizes.version == 5) {
      compile_unit = data.U8() == 1;
      sizes.address = data.U8();
      abbreviations_offset = data.Unsigned(sizes.offset);
    } else {
      abbreviations_offset = data.Unsigned(sizes.offset);
      sizes.address = data.U8();
    }
    if (!data.Ok() || !compile_unit) continue;
    Abbreviations abbreviations = ReadAbbreviations(sections.abbreviations.Slice(abbreviations_offset));
    units.push_back(UnitReader(sections, data.Slice(data.Position()), sizes, abbreviations).Read());
  }
  return units;
}

}  // namespace softmetal::checks
