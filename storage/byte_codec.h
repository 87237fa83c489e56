// ByteWriter and ByteReader: the primitives of format.cc.
#ifndef MNEME_STORAGE_BYTE_CODEC_H_
#define MNEME_STORAGE_BYTE_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace mneme::format {

// Small signed numbers of either sign become small unsigned ones: 0, -1, 1, -2 ... -> 0, 1, 2, 3 ...
constexpr uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
constexpr int64_t UnZigZag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}

// Appends to a borrowed string. The machine is little endian, as everything stored is. Not thread-safe.
class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}

  template <typename T>
  void Fixed(T value) {
    static_assert(std::is_arithmetic_v<T>);
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    out_.append(bytes, sizeof(T));
  }
  template <typename T>
  void BigEndian(T value) {
    static_assert(std::is_unsigned_v<T>);
    for (int shift = 8 * (sizeof(T) - 1); shift >= 0; shift -= 8) out_.push_back(static_cast<char>(value >> shift));
  }
  // LEB128: seven bits a byte, lowest first.
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_.push_back(static_cast<char>(value | 0x80));
    out_.push_back(static_cast<char>(value));
  }
  void Bytes(std::string_view bytes) { out_.append(bytes); }
  // A length and as many bytes.
  void Text(std::string_view bytes) {
    Varint(bytes.size());
    Bytes(bytes);
  }

 private:
  std::string& out_;
};

// Reads borrowed bytes. After a read past the end, or of an overlong number, everything reads as zero and ok() is
// false, so that a decoder checks once. Not thread-safe.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  // Everything was read, and well.
  bool AtEnd() const { return ok_ && rest_.empty(); }

  template <typename T>
  T Fixed() {
    static_assert(std::is_arithmetic_v<T>);
    T value{};
    const std::string_view bytes = Bytes(sizeof(T));
    if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  template <typename T>
  T BigEndian() {
    static_assert(std::is_unsigned_v<T>);
    T value{};
    for (const char byte : Bytes(sizeof(T))) value = static_cast<T>((value << 8) | static_cast<uint8_t>(byte));
    return value;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = Fixed<uint8_t>();
      if (!ok_) return 0;
      const uint64_t bits = byte & 0x7FU;
      // The tenth byte holds one bit; a last byte of zero would be a second way to write the same number.
      if ((shift == 63 && byte > 1) || (shift != 0 && byte == 0)) return Fail();
      value |= bits << shift;
      if ((byte & 0x80U) == 0) return value;
    }
    return Fail();
  }
  std::string_view Bytes(uint64_t size) {
    if (size > rest_.size()) Fail();
    if (!ok_) return {};
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }
  std::string_view Text() { return Bytes(Varint()); }

 private:
  uint64_t Fail() {
    ok_ = false;
    rest_ = {};
    return 0;
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace mneme::format

#endif  // MNEME_STORAGE_BYTE_CODEC_H_
