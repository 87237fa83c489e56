// How columns of many numbers are laid flat in few bytes (flat_codec.h), with nothing lost:
//
//   near   numbers that are the same, or near each other: the least (4 or 8 bytes), how many bytes the difference of
//          the greatest from it takes (0, 1, 2, 4 or 8; a byte), and the differences side by side, so many bytes each
//   reals  doubles: a byte, 1 when each is a float, and floats then, else doubles, side by side
//
// Numbers are told apart and ordered by their bits, whatever they are. There is one way to write a column, and what is
// written in another is not read.
#ifndef MNEME_ENGINE_FLAT_NARROW_H_
#define MNEME_ENGINE_FLAT_NARROW_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "storage/byte_codec.h"

namespace mneme::narrow {

template <typename T>
concept Number = std::is_arithmetic_v<T> && (sizeof(T) == sizeof(uint32_t) || sizeof(T) == sizeof(uint64_t));

template <Number T>
using Bits = std::conditional_t<sizeof(T) == sizeof(uint64_t), uint64_t, uint32_t>;

// Bytes of a number up to `most`.
inline uint8_t WidthOf(uint64_t most) {
  if (most == 0) return 0;
  if (most <= std::numeric_limits<uint8_t>::max()) return 1;
  if (most <= std::numeric_limits<uint16_t>::max()) return 2;
  return most <= std::numeric_limits<uint32_t>::max() ? 4 : 8;
}

template <typename Difference, Number T>
void AppendDifferences(const std::vector<T>& column, Bits<T> least, std::string& out) {
  const size_t begin = out.size();
  out.resize(begin + column.size() * sizeof(Difference));
  char* to = out.data() + begin;
  for (const T item : column) {
    const auto difference = static_cast<Difference>(std::bit_cast<Bits<T>>(item) - least);
    std::memcpy(to, &difference, sizeof(difference));
    to += sizeof(difference);
  }
}

// `column` has an item at least.
template <Number T>
void AppendNear(const std::vector<T>& column, std::string& out) {
  auto least = std::bit_cast<Bits<T>>(column.front());
  Bits<T> greatest = least;
  for (const T item : column) {
    const auto bits = std::bit_cast<Bits<T>>(item);
    least = std::min(least, bits);
    greatest = std::max(greatest, bits);
  }
  const uint8_t width = WidthOf(greatest - least);
  format::ByteWriter bytes(out);
  bytes.Fixed(least);
  bytes.Fixed(width);
  switch (width) {
    case 1: return AppendDifferences<uint8_t>(column, least, out);
    case 2: return AppendDifferences<uint16_t>(column, least, out);
    case 4: return AppendDifferences<uint32_t>(column, least, out);
    case 8: return AppendDifferences<uint64_t>(column, least, out);
    default: return;  // all are the same
  }
}

template <typename Difference, Number T>
bool TakeDifferences(std::string_view bytes, Bits<T> least, std::vector<T>& column) {
  uint64_t nearest = std::numeric_limits<uint64_t>::max();
  uint64_t farthest = 0;
  const char* from = bytes.data();
  for (T& item : column) {
    Difference difference;
    std::memcpy(&difference, from, sizeof(difference));
    from += sizeof(difference);
    nearest = std::min<uint64_t>(nearest, difference);
    farthest = std::max<uint64_t>(farthest, difference);
    item = std::bit_cast<T>(static_cast<Bits<T>>(least + difference));
  }
  return nearest == 0 && WidthOf(farthest) == sizeof(Difference) &&
         farthest <= std::numeric_limits<Bits<T>>::max() - least;
}

// Reads `count` items, at least one; false, and anything in `column`, when AppendNear() did not write them. A column
// whose items are all the same takes no bytes: the caller bounds `count`.
template <Number T>
bool TakeNear(format::ByteReader& bytes, size_t count, std::vector<T>& column) {
  const auto least = bytes.Fixed<Bits<T>>();
  const auto width = bytes.Fixed<uint8_t>();
  if (!bytes.ok() || width > sizeof(T)) return false;
  const std::string_view differences = bytes.Bytes(uint64_t{count} * width);
  if (!bytes.ok()) return false;
  column.assign(count, std::bit_cast<T>(least));
  switch (width) {
    case 0: return true;
    case 1: return TakeDifferences<uint8_t>(differences, least, column);
    case 2: return TakeDifferences<uint16_t>(differences, least, column);
    case 4: return TakeDifferences<uint32_t>(differences, least, column);
    case 8: return TakeDifferences<uint64_t>(differences, least, column);
    default: return false;
  }
}

inline bool IsFloat(double real) {
  return std::bit_cast<uint64_t>(double{static_cast<float>(real)}) == std::bit_cast<uint64_t>(real);
}

// `column` has an item at least.
inline void AppendReals(const std::vector<double>& column, std::string& out) {
  const bool floats = std::all_of(column.begin(), column.end(), IsFloat);
  format::ByteWriter bytes(out);
  bytes.Fixed(static_cast<uint8_t>(floats ? 1 : 0));
  if (!floats) return bytes.Bytes({reinterpret_cast<const char*>(column.data()), column.size() * sizeof(double)});
  const size_t begin = out.size();
  out.resize(begin + column.size() * sizeof(float));
  char* to = out.data() + begin;
  for (const double real : column) {
    const auto narrow = static_cast<float>(real);
    std::memcpy(to, &narrow, sizeof(narrow));
    to += sizeof(narrow);
  }
}

// Of a float: widened it is quiet, so that no double is written as one that signals.
inline bool IsSignallingNan(uint32_t bits) {
  return (bits & 0x7FC00000U) == 0x7F800000U && (bits & 0x003FFFFFU) != 0;
}

// As TakeNear(); it takes no more ram than twice the bytes.
inline bool TakeReals(format::ByteReader& bytes, uint64_t count, std::vector<double>& column) {
  const auto floats = bytes.Fixed<uint8_t>();
  if (!bytes.ok() || floats > 1 || count > std::numeric_limits<uint32_t>::max()) return false;
  const std::string_view reals = bytes.Bytes(count * (floats == 1 ? sizeof(float) : sizeof(double)));
  if (!bytes.ok()) return false;
  column.resize(count);
  if (floats == 0) {
    std::memcpy(column.data(), reals.data(), reals.size());
    return !std::all_of(column.begin(), column.end(), IsFloat);
  }
  const char* from = reals.data();
  bool written = true;
  for (double& real : column) {
    uint32_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    from += sizeof(bits);
    real = double{std::bit_cast<float>(bits)};
    written = written && !IsSignallingNan(bits);
  }
  return written;
}

}  // namespace mneme::narrow

#endif  // MNEME_ENGINE_FLAT_NARROW_H_
