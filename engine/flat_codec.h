// FlatCodec: one description of a struct, written and read by it. A struct is described once, by
//
//   template <typename Codec, OneOf<Thing> T>
//   void Describe(Codec& codec, T& thing) { codec(thing.number, thing.column); }
//
// so that what is read cannot differ from what is written. Numbers are little endian; a column is its length as a
// varint and its items side by side; an optional is a byte (0 or 1) and what it holds; a variant the number of its
// alternative (a byte) and that. A column may be described as one that few bytes hold (flat_narrow.h) instead:
// codec.Reals(column), codec.Near(count, columns...). Not thread-safe.
#ifndef MNEME_ENGINE_FLAT_CODEC_H_
#define MNEME_ENGINE_FLAT_CODEC_H_

#include <concepts>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "common/aligned_buffer.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "engine/flat_narrow.h"
#include "storage/byte_codec.h"

namespace mneme {

// T or const T: what a description is given by the reader and by the writer.
template <typename T, typename U>
concept OneOf = std::same_as<std::remove_const_t<T>, U>;

// Side by side in a column.
template <typename T>
concept FlatNumber = (std::is_arithmetic_v<T> && !std::same_as<T, bool>) || std::is_enum_v<T>;

class FlatWriter {
 public:
  explicit FlatWriter(std::string& out) : out_(out), bytes_(out) {}

  template <typename... Ts>
  void operator()(const Ts&... values) {
    (Write(values), ...);
  }
  // One of the enumerators from `first` to `last`.
  template <typename E>
  void Enum(E value, E, E) {
    Write(value);
  }
  // A column of doubles that are floats, or not.
  void Reals(const std::vector<double>& column) {
    bytes_.Varint(column.size());
    if (!column.empty()) narrow::AppendReals(column, out_);
  }
  // Columns of `count` items, or absent, that are the same or near each other.
  template <narrow::Number... Ts>
  void Near(size_t, const std::vector<Ts>&... columns) {
    (WriteNear(columns), ...);
  }

 private:
  template <typename T>
  void WriteNear(const std::vector<T>& column) {
    bytes_.Varint(column.size());
    if (!column.empty()) narrow::AppendNear(column, out_);
  }
  void Write(bool value) { bytes_.Fixed(static_cast<uint8_t>(value ? 1 : 0)); }
  template <FlatNumber T>
  void Write(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void Write(const std::string& text) { bytes_.Text(text); }
  void Write(std::string_view text) { bytes_.Text(text); }
  void Write(const AlignedBuffer& buffer) { bytes_.Text(buffer.view()); }
  void Write(const absl::Status& status) {
    Write(static_cast<uint8_t>(status.code()));
    if (status.ok()) return;
    Write(std::string(status.message()));
    Write(ReasonOf(status));
  }
  template <typename T>
  void Write(const std::vector<T>& column) {
    bytes_.Varint(column.size());
    if constexpr (FlatNumber<T>) {
      out_.append(reinterpret_cast<const char*>(column.data()), column.size() * sizeof(T));
    } else if constexpr (std::same_as<T, bool>) {
      for (const bool each : column) Write(each);
    } else {
      for (const T& each : column) Write(each);
    }
  }
  template <typename T>
  void Write(const std::optional<T>& value) {
    Write(value.has_value());
    if (value.has_value()) Write(*value);
  }
  template <typename T>
  void Write(const std::shared_ptr<const T>& value) {
    Write(value != nullptr);
    if (value != nullptr) Write(*value);
  }
  template <typename A, typename B>
  void Write(const std::pair<A, B>& pair) {
    Write(pair.first);
    Write(pair.second);
  }
  template <typename K, typename V>
  void Write(const std::map<K, V>& map) {
    bytes_.Varint(map.size());
    for (const auto& each : map) Write(each);
  }
  template <typename... Ts>
  void Write(const std::variant<Ts...>& value) {
    Write(static_cast<uint8_t>(value.index()));
    std::visit([this](const auto& each) { this->Write(each); }, value);
  }
  template <typename T>
    requires std::is_class_v<T>
  void Write(const T& described) {
    Describe(*this, described);
  }

  std::string& out_;
  format::ByteWriter bytes_;
};

// Reads borrowed bytes. What no writer wrote makes ok() false, and everything after it empty. What it reads takes some
// tens of times as much ram as its bytes at most: an item of a column that is described may be one byte here, and a
// neighbour the four of its score, since what is the same of all of them takes none.
class FlatReader {
 public:
  explicit FlatReader(std::string_view bytes) : bytes_(bytes), left_(bytes.size()) {}

  bool ok() const { return ok_ && bytes_.ok(); }
  // Everything was read, and well.
  bool AtEnd() const { return ok_ && bytes_.AtEnd(); }

  template <typename... Ts>
  void operator()(Ts&... values) {
    (Read(values), ...);
  }
  template <typename E>
  void Enum(E& value, E first, E last) {
    Read(value);
    ok_ = ok_ && first <= value && value <= last;
  }
  void Reals(std::vector<double>& column) {
    column.clear();
    const uint64_t count = bytes_.Varint();
    if (count > limits::kMaxReals) return Fail();
    if (count != 0 && !narrow::TakeReals(bytes_, count, column)) Fail();
  }
  // `count`: of a column that was read, and has bytes for each.
  template <narrow::Number... Ts>
  void Near(size_t count, std::vector<Ts>&... columns) {
    (ReadNear(count, columns), ...);
  }

 private:
  template <typename T>
  void ReadNear(size_t count, std::vector<T>& column) {
    column.clear();
    const uint64_t size = bytes_.Varint();
    if (size != 0 && (size != count || !narrow::TakeNear(bytes_, count, column))) Fail();
  }
  void Read(bool& value) {
    const auto byte = bytes_.Fixed<uint8_t>();
    ok_ = ok_ && byte <= 1;
    value = byte == 1;
  }
  template <FlatNumber T>
  void Read(T& value) {
    const std::string_view bytes = bytes_.Bytes(sizeof(T));
    if (bytes_.ok()) std::memcpy(&value, bytes.data(), sizeof(T));
  }
  void Read(std::string& text) { text = std::string(bytes_.Text()); }
  void Read(AlignedBuffer& buffer) {
    buffer.Resize(0);
    buffer.Append(bytes_.Text());
  }
  void Read(absl::Status& status) {
    uint8_t code = 0;
    Read(code);
    status = absl::OkStatus();
    if (code == 0) return;
    std::string message;
    std::string reason;
    (*this)(message, reason);
    ok_ = ok_ && code <= static_cast<uint8_t>(absl::StatusCode::kUnauthenticated);
    if (!ok()) return;
    status = absl::Status(static_cast<absl::StatusCode>(code), message);
    if (!reason.empty()) status = WithReason(std::move(status), reason);
  }
  template <typename T>
  void Read(std::vector<T>& column) {
    column.clear();
    const uint64_t count = bytes_.Varint();
    if constexpr (FlatNumber<T>) {
      if (count > left_ / sizeof(T)) return Fail();
      const std::string_view bytes = bytes_.Bytes(count * sizeof(T));
      if (!ok()) return;
      if constexpr (std::same_as<T, char>) {
        column.assign(bytes.begin(), bytes.end());
      } else {
        column.resize(count);
        if (count != 0) std::memcpy(column.data(), bytes.data(), bytes.size());
      }
    } else {
      if (count > left_) return Fail();  // each has a byte at least
      for (uint64_t i = 0; i < count && ok(); ++i) {
        T each{};
        Read(each);
        column.push_back(std::move(each));
      }
    }
  }
  template <typename T>
  void Read(std::optional<T>& value) {
    bool there = false;
    Read(there);
    value.reset();
    if (there && ok()) Read(value.emplace());
  }
  template <typename T>
  void Read(std::shared_ptr<const T>& value) {
    bool there = false;
    Read(there);
    value = nullptr;
    if (!there || !ok()) return;
    auto made = std::make_shared<T>();
    Read(*made);
    value = std::move(made);
  }
  template <typename A, typename B>
  void Read(std::pair<A, B>& pair) {
    Read(pair.first);
    Read(pair.second);
  }
  template <typename K, typename V>
  void Read(std::map<K, V>& map) {
    map.clear();
    const uint64_t count = bytes_.Varint();
    if (count > left_) return Fail();
    for (uint64_t i = 0; i < count && ok(); ++i) {
      std::pair<K, V> each;
      Read(each);
      ok_ = ok_ && (map.empty() || map.rbegin()->first < each.first);
      if (ok()) map.insert(map.end(), std::move(each));
    }
  }
  template <typename... Ts>
  void Read(std::variant<Ts...>& value) {
    uint8_t index = 0;
    Read(index);
    if (!ok() || index >= sizeof...(Ts)) return Fail();
    ReadAlternative<0>(value, index);
  }
  template <size_t kIndex, typename... Ts>
  void ReadAlternative(std::variant<Ts...>& value, size_t index) {
    if constexpr (kIndex < sizeof...(Ts)) {
      if (index != kIndex) return ReadAlternative<kIndex + 1>(value, index);
      Read(value.template emplace<kIndex>());
    }
  }
  template <typename T>
    requires std::is_class_v<T>
  void Read(T& described) {
    Describe(*this, described);
  }
  void Fail() { ok_ = false; }

  format::ByteReader bytes_;
  const size_t left_;
  bool ok_ = true;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_FLAT_CODEC_H_
