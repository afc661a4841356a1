// The parts of DWARF 4 and 5 that tell source lines.
#ifndef SOFTMETAL_CHECKS_DWARF_H
#define SOFTMETAL_CHECKS_DWARF_H

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bytes.h"

namespace softmetal::checks {

struct DwarfSections {
  Bytes line, line_strings, strings, string_offsets, info, abbreviations, addresses, range_lists, ranges;
};

/// The sections of a little-endian 64-bit ELF object; empty ones if it is not one.
DwarfSections ReadSections(Bytes object);

/// The line program of one unit, run.
struct LineTable {
  struct Row {
    uint64_t address;
    uint32_t file;
    uint32_t line;
    uint32_t number;  ///< in the order of the program
    bool end;  ///< the first address after a sequence
  };
  std::vector<std::string> files;
  std::vector<Row> rows;  ///< by address

  const Row *Find(uint64_t address) const;
  std::string File(uint64_t index) const { return index < files.size() ? files[index] : std::string(); }
};

LineTable ReadLineTable(const DwarfSections &sections, uint64_t offset);

/// A function's code that was inlined at a call.
struct InlinedCall {
  uint64_t begin, end;
  uint32_t depth;  ///< of the entry: an inner call has a greater one
  uint32_t file, line;  ///< of the call
};

/// One compilation unit: the offset of its line table, and the calls inlined in it.
struct Unit {
  uint64_t line_table = 0;
  std::vector<InlinedCall> calls;
};

std::vector<Unit> ReadUnits(const DwarfSections &sections);

/// Attribute forms; others make the reader give up a unit.
enum DwarfForm : uint32_t {
  kFormAddr = 0x01,
  kFormBlock2 = 0x03,
  kFormBlock4 = 0x04,
  kFormData2 = 0x05,
  kFormData4 = 0x06,
  kFormData8 = 0x07,
  kFormString = 0x08,
  kFormBlock = 0x09,
  kFormBlock1 = 0x0a,
  kFormData1 = 0x0b,
  kFormFlag = 0x0c,
  kFormSdata = 0x0d,
  kFormStrp = 0x0e,
  kFormUdata = 0x0f,
  kFormRefAddr = 0x10,
  kFormRef1 = 0x11,
  kFormRef2 = 0x12,
  kFormRef4 = 0x13,
  kFormRef8 = 0x14,
  kFormRefUdata = 0x15,
  kFormIndirect = 0x16,
  kFormSecOffset = 0x17,
  kFormExprloc = 0x18,
  kFormFlagPresent = 0x19,
  kFormStrx = 0x1a,
  kFormAddrx = 0x1b,
  kFormRefSup4 = 0x1c,
  kFormStrpSup = 0x1d,
  kFormData16 = 0x1e,
  kFormLineStrp = 0x1f,
  kFormRefSig8 = 0x20,
  kFormImplicitConst = 0x21,
  kFormLoclistx = 0x22,
  kFormRnglistx = 0x23,
  kFormRefSup8 = 0x24,
  kFormStrx1 = 0x25,
  kFormStrx2 = 0x26,
  kFormStrx3 = 0x27,
  kFormStrx4 = 0x28,
  kFormAddrx1 = 0x29,
  kFormAddrx2 = 0x2a,
  kFormAddrx3 = 0x2b,
  kFormAddrx4 = 0x2c,
};

/// Bytes of an offset and an address in the unit that is being read.
struct DwarfSizes {
  uint32_t offset = 4;
  uint32_t address = 8;
  uint32_t version = 5;
};

/// An attribute's number: its value, offset or index, as the form has it. Blocks and strings in place are skipped and
/// give 0. False if the form is unknown.
bool ReadForm(Bytes &data, uint32_t form, const DwarfSizes &sizes, uint64_t *value);

}  // namespace softmetal::checks

#endif
