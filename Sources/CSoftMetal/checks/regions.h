// The memory a shader may touch, and which of its bytes have been written.
#ifndef SOFTMETAL_CHECKS_REGIONS_H
#define SOFTMETAL_CHECKS_REGIONS_H

#include <cstdint>
#include <string>
#include <vector>

#include "checks.h"

namespace softmetal::checks {

struct Region {
  uint64_t base = 0;
  uint64_t bytes = 0;
  uint64_t host = 0;  ///< the first byte's address in the shadow
  bool threadgroup = false;
  int32_t slot = -1;
  std::string name;
  uint8_t *written = nullptr;  ///< one byte for each, not 0 if it is; null: everything is

  uint64_t End() const { return base + bytes; }
  bool Holds(uint64_t address, uint64_t size) const {
    return address >= base && address - base <= bytes && size <= bytes - (address - base);
  }
  /// `buffer 3 "dst"`, `threadgroup memory 0 "shared"`, `the shader's threadgroup variables`
  std::string Name() const;
  void MarkWritten(uint64_t address, uint64_t size) const;
  /// The first byte of the read that nobody has written; false if there is none. Bytes that may be the padding of a
  /// struct or of a vector of three are let pass.
  bool FindUnwritten(uint64_t address, uint64_t size, uint64_t *unwritten) const;
};

class Regions {
 public:
  explicit Regions(const CheckerConfig &config);

  /// The region that holds all the bytes, or null.
  const Region *Find(uint64_t address, uint64_t size);
  /// The region whose bytes have that address in the shadow, or null.
  const Region *FindShadowed(uint64_t address, bool threadgroup) const;
  bool Ignored(uint64_t address, uint64_t size) const;
  /// The region next to an address that none holds, or null if it is too far from all.
  const Region *Nearest(uint64_t address) const;
  /// Regions of other arguments bound to the same bytes are marked too.
  void MarkWritten(const Region &region, uint64_t address, uint64_t size) const;
  void ForgetThreadgroup();
  void Ignore(uint64_t base, uint64_t bytes) { ignored_.push_back({base, bytes}); }

 private:
  struct Range {
    uint64_t base, bytes;
  };
  std::vector<Region> regions_;  // by base
  std::vector<Range> ignored_;
  std::vector<std::vector<uint8_t>> written_;  // of threadgroup memory
  bool overlapping_ = false;
  bool placed_ = false;
  const Region *last_ = nullptr;
};

}  // namespace softmetal::checks

#endif
