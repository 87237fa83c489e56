// Columns: packed little-endian columns of mneme.v1, to and from C++ vectors and array files.
#ifndef MNEME_CLIENT_CLI_COLUMNS_H_
#define MNEME_CLIENT_CLI_COLUMNS_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/npy/npy_file.h"
#include "mneme/v1/types.pb.h"

namespace mneme::cli {

// A column of T as it travels, and back. A column whose size is no multiple of T loses its last, broken item.
template <typename T>
std::string PackColumn(const std::vector<T>& items) {
  return std::string(reinterpret_cast<const char*>(items.data()), items.size() * sizeof(T));
}
template <typename T>
std::vector<T> UnpackColumn(const std::string& column) {
  std::vector<T> items(column.size() / sizeof(T));
  if (!items.empty()) std::memcpy(items.data(), column.data(), items.size() * sizeof(T));
  return items;
}
// Item i of a column that may be empty (every item has the default) or short.
template <typename T>
T ColumnItem(const std::string& column, size_t i, T otherwise = T()) {
  if ((i + 1) * sizeof(T) <= column.size()) std::memcpy(&otherwise, column.data() + i * sizeof(T), sizeof(T));
  return otherwise;
}

// Opens a two-dimensional array of keys. Returns INVALID_ARGUMENT, naming memory, file and both numbers, unless it has
// `dimension` columns of f16, bf16, f32 or f64.
absl::StatusOr<NpyFile> OpenKeys(const std::string& path, const std::string& memory, uint32_t dimension);
absl::Status CheckKeys(const NpyFile& keys, const std::string& memory, uint32_t dimension);

// Rows [first, first + count) of such an array, f64 rounded to f32, the other dtypes as they are.
v1::Vectors KeyRows(const NpyFile& keys, uint64_t first, uint64_t count);

// A whole two-dimensional array of f16, f32 or f64 as vectors. Returns INVALID_ARGUMENT, naming the file, if it is
// something else, or too large for a message.
absl::StatusOr<v1::Vectors> ReadVectors(const std::string& path);
// A whole column of integers in [0, 2^32) as packed u32; empty for an empty path.
absl::StatusOr<std::string> ReadU32Column(const std::string& path, const std::string& noun);

// A column of offsets that ascend from 0 to `end`. Returns INVALID_ARGUMENT, naming the file, for another.
absl::StatusOr<std::vector<uint64_t>> ReadOffsets(const std::string& path, uint64_t end);

// Writes packed little-endian items as a .npy file of rows of `columns` items; columns 0: one dimension.
absl::Status WriteArray(const std::string& path, NpyDtype dtype, uint64_t columns, const std::string& bytes);

// Row `row` of a packed matrix of `rows` rows of T, as numbers.
template <typename T>
std::vector<double> MatrixRow(const std::string& matrix, size_t row, size_t rows) {
  const size_t width = rows == 0 ? 0 : matrix.size() / sizeof(T) / rows;
  std::vector<double> items(width);
  for (size_t i = 0; i < width; ++i) items[i] = ColumnItem<T>(matrix, row * width + i);
  return items;
}

// Opens a column of `rows` items, n or n x 1. Returns INVALID_ARGUMENT if it has another shape.
absl::StatusOr<NpyFile> OpenColumn(const std::string& path, uint64_t rows);
absl::Status CheckColumn(const NpyFile& column, uint64_t rows);

// Returns INVALID_ARGUMENT, naming file, row, value and bound, for the first item that is not an integer in [0, bound).
// `noun` says what an item is. A bound of 0 means 2^64.
absl::Status CheckRange(const NpyFile& column, const std::string& noun, uint64_t bound);

// Rows [first, first + count) of a column as packed T; integers are not checked here.
template <typename T>
std::string ColumnRows(const NpyFile& column, uint64_t first, uint64_t count) {
  std::vector<T> items(count);
  for (uint64_t i = 0; i < count; ++i) {
    if constexpr (std::is_floating_point_v<T>) {
      items[i] = static_cast<T>(column.NumberAt(first + i));
    } else {
      items[i] = static_cast<T>(column.IntegerAt(first + i));
    }
  }
  return PackColumn(items);
}

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_COLUMNS_H_
