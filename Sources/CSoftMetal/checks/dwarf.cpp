#include "dwarf.h"

namespace softmetal::checks {

DwarfSections ReadSections(Bytes object) {
  DwarfSections sections;
  if (object.Unsigned(4) != 0x464c457f || object.U8() != 2 || object.U8() != 1) return sections;
  object.Seek(0x28);
  uint64_t headers = object.U64();
  object.Seek(0x3a);
  uint64_t header_bytes = object.U16();
  uint32_t count = object.U16();
  uint32_t names_index = object.U16();
  if (!object.Ok() || header_bytes < 64 || names_index >= count) return sections;

  struct Header {
    uint32_t name;
    uint64_t flags, offset, bytes;
  };
  auto header = [&](uint32_t index) {
    Bytes at = object.Slice(headers + index * header_bytes, header_bytes);
    Header h;
    h.name = at.U32();
    bool empty = at.U32() == 8;  // no bits in the file
    h.flags = at.U64();
    at.U64();
    h.offset = at.U64();
    h.bytes = empty ? 0 : at.U64();
    return h;
  };
  Header names = header(names_index);
  Bytes strings = object.Slice(names.offset, names.bytes);
  const std::pair<const char *, Bytes *> wanted[] = {
      {".debug_line", &sections.line},      {".debug_line_str", &sections.line_strings},
      {".debug_str", &sections.strings},    {".debug_str_offsets", &sections.string_offsets},
      {".debug_info", &sections.info},      {".debug_abbrev", &sections.abbreviations},
      {".debug_addr", &sections.addresses}, {".debug_rnglists", &sections.range_lists},
      {".debug_ranges", &sections.ranges},
  };
  for (uint32_t i = 0; i < count; i++) {
    Header h = header(i);
    constexpr uint64_t kCompressed = 0x800;
    if (h.flags & kCompressed) continue;
    std::string name = strings.Slice(h.name).String();
    for (const auto &[wanted_name, section] : wanted)
      if (name == wanted_name) *section = object.Slice(h.offset, h.bytes);
  }
  return sections;
}

bool ReadForm(Bytes &data, uint32_t form, const DwarfSizes &sizes, uint64_t *value) {
  *value = 0;
  switch (form) {
    case kFormAddr:
      *value = data.Unsigned(sizes.address);
      break;
    case kFormData1:
    case kFormFlag:
    case kFormRef1:
    case kFormStrx1:
    case kFormAddrx1:
      *value = data.U8();
      break;
    case kFormData2:
    case kFormRef2:
    case kFormStrx2:
    case kFormAddrx2:
      *value = data.U16();
      break;
    case kFormStrx3:
    case kFormAddrx3:
      *value = data.Unsigned(3);
      break;
    case kFormData4:
    case kFormRef4:
    case kFormStrx4:
    case kFormAddrx4:
    case kFormRefSup4:
      *value = data.U32();
      break;
    case kFormData8:
    case kFormRef8:
    case kFormRefSig8:
    case kFormRefSup8:
      *value = data.U64();
      break;
    case kFormData16:
      data.Skip(16);
      break;
    case kFormSdata:
      *value = static_cast<uint64_t>(data.Sleb());
      break;
    case kFormUdata:
    case kFormRefUdata:
    case kFormStrx:
    case kFormAddrx:
    case kFormLoclistx:
    case kFormRnglistx:
      *value = data.Uleb();
      break;
    case kFormSecOffset:
    case kFormStrp:
    case kFormLineStrp:
    case kFormStrpSup:
      *value = data.Unsigned(sizes.offset);
      break;
    case kFormRefAddr:
      *value = data.Unsigned(sizes.version < 3 ? sizes.address : sizes.offset);
      break;
    case kFormString:
      data.String();
      break;
    case kFormBlock1:
      data.Skip(data.U8());
      break;
    case kFormBlock2:
      data.Skip(data.U16());
      break;
    case kFormBlock4:
      data.Skip(data.U32());
      break;
    case kFormBlock:
    case kFormExprloc:
      data.Skip(data.Uleb());
      break;
    case kFormFlagPresent:
      *value = 1;
      break;
    case kFormIndirect: {
      uint64_t actual = data.Uleb();
      if (actual == kFormIndirect || actual == kFormImplicitConst) return false;
      return ReadForm(data, static_cast<uint32_t>(actual), sizes, value);
    }
    default:
      return false;
  }
  return data.Ok();
}

}  // namespace softmetal::checks
