// Columns on the wire: packed little-endian `bytes` to vectors and back. Pure; thread-safe.
#ifndef MNEME_SERVER_CONVERT_COLUMNS_H_
#define MNEME_SERVER_CONVERT_COLUMNS_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/status_macros.h"
#include "mneme/v1/memory.pb.h"
#include "server/request_error.h"

namespace mneme {

static_assert(std::endian::native == std::endian::little, "columns are copied as they lie in ram");

// A list of any length up to `max` items. INVALID_ARGUMENT naming `field` otherwise.
template <typename T>
absl::Status ReadList(const std::string& field, const std::string& bytes, size_t max, std::vector<T>& out) {
  if (bytes.size() % sizeof(T) != 0) {
    return FieldError(field, absl::StrCat("has ", bytes.size(), " bytes; must be a multiple of ", sizeof(T)));
  }
  const size_t count = bytes.size() / sizeof(T);
  if (count > max) return FieldError(field, absl::StrCat("has ", count, " items; must be at most ", max));
  out.resize(count);
  if (count != 0) std::memcpy(out.data(), bytes.data(), bytes.size());
  return absl::OkStatus();
}

// A column of exactly `count` items, or absent (then `out` is empty).
template <typename T>
absl::Status ReadColumn(const std::string& field, const std::string& bytes, size_t count, std::vector<T>& out) {
  out.clear();
  if (bytes.empty()) return absl::OkStatus();
  if (bytes.size() != count * sizeof(T)) {
    return FieldError(field, absl::StrCat("has ", bytes.size(), " bytes; must have ", count * sizeof(T), " (", count,
                                          " x ", sizeof(T), ")"));
  }
  return ReadList(field, bytes, count, out);
}

// Offsets of a CSR column: count + 1, ascending, from 0 to `end`.
absl::Status ReadOffsets(const std::string& field, const std::string& bytes, size_t count, size_t end,
                         std::vector<size_t>& out);

// Sorts and de-duplicates, as a filter list has to be.
template <typename T>
void SortUnique(std::vector<T>& items) {
  std::sort(items.begin(), items.end());
  items.erase(std::unique(items.begin(), items.end()), items.end());
}

template <typename T>
void WriteColumn(absl::Span<const T> items, std::string* out) {
  out->assign(reinterpret_cast<const char*>(items.data()), items.size() * sizeof(T));
}
template <typename T>
void WriteColumn(const std::vector<T>& items, std::string* out) {
  WriteColumn(absl::MakeConstSpan(items), out);
}

// f64 items at the width that the request asked for, appended.
void AppendReals(absl::Span<const double> items, v1::Precision precision, std::string* out);
inline void AppendReal(double item, v1::Precision precision, std::string* out) {
  AppendReals(absl::MakeConstSpan(&item, 1), precision, out);
}

}  // namespace mneme

#endif  // MNEME_SERVER_CONVERT_COLUMNS_H_
