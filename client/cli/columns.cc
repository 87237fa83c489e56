#include "client/cli/columns.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

v1::Dtype WireDtype(NpyDtype dtype) {
  if (dtype == NpyDtype::kF16) return v1::DTYPE_F16;
  return dtype == NpyDtype::kBF16 ? v1::DTYPE_BF16 : v1::DTYPE_F32;
}

bool IsUnsigned(NpyDtype dtype) { return NpyDtypeName(dtype).front() == 'u'; }

absl::Status CheckVectors(const NpyFile& file, const std::string& noun) {
  if (NpyIsInteger(file.dtype())) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), " has dtype ", std::string(NpyDtypeName(file.dtype())),
                                                   "; ", noun, " must be f16, f32 or f64"));
  }
  return file.CheckDimensions(2);
}

}  // namespace

absl::Status CheckKeys(const NpyFile& keys, const std::string& memory, uint32_t dimension) {
  RETURN_IF_ERROR(CheckVectors(keys, "keys"));
  if (keys.shape()[1] != dimension) {
    return absl::InvalidArgumentError(absl::StrCat("memory \"", memory, "\" has dimension ", dimension, ", but ",
                                                   keys.path(), " has ", keys.shape()[1], " columns"));
  }
  return absl::OkStatus();
}

absl::StatusOr<NpyFile> OpenKeys(const std::string& path, const std::string& memory, uint32_t dimension) {
  ASSIGN_OR_RETURN(NpyFile keys, NpyFile::Open(path));
  RETURN_IF_ERROR(CheckKeys(keys, memory, dimension));
  return keys;
}

v1::Vectors KeyRows(const NpyFile& keys, uint64_t first, uint64_t count) {
  v1::Vectors vectors;
  vectors.set_dimension(static_cast<uint32_t>(keys.row_items()));
  vectors.set_dtype(WireDtype(keys.dtype()));
  const std::string_view rows = keys.Rows(first, count);
  if (keys.dtype() != NpyDtype::kF64) {
    vectors.set_data(rows.data(), rows.size());
    return vectors;
  }
  std::vector<float> rounded(count * keys.row_items());
  for (size_t i = 0; i < rounded.size(); ++i) {
    rounded[i] = static_cast<float>(keys.NumberAt(first * keys.row_items() + i));
  }
  vectors.set_data(PackColumn(rounded));
  return vectors;
}

absl::StatusOr<v1::Vectors> ReadVectors(const std::string& path) {
  ASSIGN_OR_RETURN(const NpyFile file, NpyFile::Open(path));
  RETURN_IF_ERROR(CheckVectors(file, "vectors"));
  const uint64_t bytes = file.rows() * file.row_bytes();
  if (bytes > limits::kMaxMessageBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has ", bytes, " bytes; a message has at most ", limits::kMaxMessageBytes));
  }
  return KeyRows(file, 0, file.rows());
}

absl::StatusOr<std::string> ReadU32Column(const std::string& path, const std::string& noun) {
  if (path.empty()) return std::string();
  ASSIGN_OR_RETURN(const NpyFile file, NpyFile::Open(path));
  RETURN_IF_ERROR(CheckColumn(file, file.rows()));
  RETURN_IF_ERROR(CheckRange(file, noun, uint64_t{1} << 32));
  return ColumnRows<uint32_t>(file, 0, file.rows());
}

absl::StatusOr<std::vector<uint64_t>> ReadOffsets(const std::string& path, uint64_t end) {
  ASSIGN_OR_RETURN(const NpyFile file, NpyFile::Open(path));
  RETURN_IF_ERROR(CheckColumn(file, file.rows()));
  RETURN_IF_ERROR(CheckRange(file, "offset", 0));
  std::vector<uint64_t> offsets = UnpackColumn<uint64_t>(ColumnRows<uint64_t>(file, 0, file.rows()));
  const bool ends_right = !offsets.empty() && offsets.front() == 0 && offsets.back() == end;
  if (!ends_right || !std::is_sorted(offsets.begin(), offsets.end())) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": offsets must ascend from 0 to ", end));
  }
  return offsets;
}

absl::Status WriteArray(const std::string& path, NpyDtype dtype, uint64_t columns, const std::string& bytes) {
  ASSIGN_OR_RETURN(NpyWriter file, NpyWriter::Create(path, dtype, columns));
  RETURN_IF_ERROR(file.Append(bytes));
  return file.Finish();
}

absl::Status CheckColumn(const NpyFile& column, uint64_t rows) {
  if (column.shape().size() != 2 || column.shape()[1] != 1) RETURN_IF_ERROR(column.CheckDimensions(1));
  return column.CheckRows(rows);
}

absl::StatusOr<NpyFile> OpenColumn(const std::string& path, uint64_t rows) {
  ASSIGN_OR_RETURN(NpyFile column, NpyFile::Open(path));
  RETURN_IF_ERROR(CheckColumn(column, rows));
  return column;
}

absl::Status CheckRange(const NpyFile& column, const std::string& noun, uint64_t bound) {
  RETURN_IF_ERROR(column.CheckInteger());
  const bool is_unsigned = IsUnsigned(column.dtype());
  for (uint64_t row = 0; row < column.rows() * column.row_items(); ++row) {
    const int64_t value = column.IntegerAt(row);
    const bool negative = value < 0 && !is_unsigned;
    if (!negative && (bound == 0 || static_cast<uint64_t>(value) < bound)) continue;
    const std::string shown = negative ? absl::StrCat(value) : absl::StrCat(static_cast<uint64_t>(value));
    return absl::InvalidArgumentError(absl::StrCat(column.path(), ": ", noun, " of row ", row, " is ", shown,
                                                   bound == 0 ? "; must not be negative" : "; must be in [0, ",
                                                   bound == 0 ? "" : absl::StrCat(bound, ")")));
  }
  return absl::OkStatus();
}

}  // namespace mneme::cli
