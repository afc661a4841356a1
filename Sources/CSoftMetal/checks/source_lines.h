// From an instruction to the shader's source line, by the debug information in the kernel's shared object.
#ifndef SOFTMETAL_CHECKS_SOURCE_LINES_H
#define SOFTMETAL_CHECKS_SOURCE_LINES_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace softmetal::checks {

struct SourceLine {
  std::string file;  ///< as the text's line markers name it; empty if unknown
  uint32_t line = 0;

  std::string Text() const { return file.empty() ? "an unknown line" : file + ":" + std::to_string(line); }
  bool operator<(const SourceLine &other) const { return file != other.file ? file < other.file : line < other.line; }
  bool operator==(const SourceLine &other) const { return file == other.file && line == other.line; }
};

/// The line tables of one object (ELF, DWARF 4 or 5, as -gline-tables-only makes them). Damaged or missing tables give
/// unknown lines.
class SourceLines {
 public:
  SourceLines(const uint8_t *object, uint64_t bytes);
  ~SourceLines();
  SourceLines(SourceLines &&) noexcept;
  SourceLines &operator=(SourceLines &&) noexcept;

  /// The line an address of the object (as linked) belongs to, and those of the calls it was inlined from, innermost
  /// first.
  std::vector<SourceLine> Frames(uint64_t address) const;
  /// The innermost of them that is not in the device library.
  SourceLine UserLine(uint64_t address) const;

 private:
  struct Tables;
  std::unique_ptr<Tables> tables_;
};

/// A loaded module's place in memory.
struct Image {
  uint64_t base = 0;
  uint64_t bytes = 0;
  uint64_t bias = 0;  ///< what loading added to the linked addresses

  bool Holds(const void *address) const { return reinterpret_cast<uintptr_t>(address) - base < bytes; }
};

/// Of the module that holds `address`; empty if none does.
Image ImageOf(const void *address);

/// The loaded module that holds `address`, mapped from its file; parsed when first asked.
class ModuleLines {
 public:
  explicit ModuleLines(const void *address);
  ~ModuleLines();
  ModuleLines(const ModuleLines &) = delete;
  ModuleLines &operator=(const ModuleLines &) = delete;

  /// Of the instruction before a return address.
  SourceLine UserLine(const void *return_address);

 private:
  Image image_;
  void *file_ = nullptr;
  uint64_t file_bytes_ = 0;
  std::unique_ptr<SourceLines> lines_;
};

}  // namespace softmetal::checks

#endif
