// Reading data that may be damaged: never beyond its end, and zeros after the first attempt to.
#ifndef SOFTMETAL_CHECKS_BYTES_H
#define SOFTMETAL_CHECKS_BYTES_H

#include <cstdint>
#include <cstring>
#include <string>

namespace softmetal::checks {

class Bytes {
 public:
  Bytes() = default;
  Bytes(const uint8_t *data, uint64_t size) : data_(data), size_(size) {}

  uint64_t Size() const { return size_; }
  uint64_t Position() const { return position_; }
  bool Ok() const { return ok_; }
  bool AtEnd() const { return !ok_ || position_ >= size_; }

  /// The part [offset, offset + size), cut off at the end.
  Bytes Slice(uint64_t offset, uint64_t size = UINT64_MAX) const {
    if (offset > size_) return Bytes();
    uint64_t rest = size_ - offset;
    return Bytes(data_ + offset, size < rest ? size : rest);
  }
  void Seek(uint64_t position) {
    if (position <= size_)
      position_ = position;
    else
      Fail();
  }
  void Skip(uint64_t bytes) {
    if (bytes <= size_ - position_)
      position_ += bytes;
    else
      Fail();
  }

  uint64_t Unsigned(uint32_t bytes) {
    uint64_t value = 0;
    if (bytes > 8 || bytes > size_ - position_) {
      Fail();
      return 0;
    }
    std::memcpy(&value, data_ + position_, bytes);
    position_ += bytes;
    return value;
  }
  uint8_t U8() { return static_cast<uint8_t>(Unsigned(1)); }
  uint16_t U16() { return static_cast<uint16_t>(Unsigned(2)); }
  uint32_t U32() { return static_cast<uint32_t>(Unsigned(4)); }
  uint64_t U64() { return Unsigned(8); }

  uint64_t Uleb() {
    uint64_t value = 0;
    for (uint32_t shift = 0;; shift += 7) {
      uint8_t byte = U8();
      if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) return value;
    }
  }
  int64_t Sleb() {
    uint64_t value = 0;
    uint32_t shift = 0;
    uint8_t byte;
    do {
      byte = U8();
      if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
      shift += 7;
    } while (byte & 0x80);
    if (shift < 64 && (byte & 0x40)) value |= ~uint64_t{0} << shift;
    return static_cast<int64_t>(value);
  }
  /// A terminated string.
  std::string String() {
    const void *zero = position_ < size_ ? std::memchr(data_ + position_, 0, size_ - position_) : nullptr;
    if (zero == nullptr) {
      Fail();
      return std::string();
    }
    std::string text(reinterpret_cast<const char *>(data_ + position_));
    position_ += text.size() + 1;
    return text;
  }

 private:
  void Fail() {
    ok_ = false;
    position_ = size_;
  }

  const uint8_t *data_ = nullptr;
  uint64_t size_ = 0;
  uint64_t position_ = 0;
  bool ok_ = true;
};

}  // namespace softmetal::checks

#endif
