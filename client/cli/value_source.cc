#include "client/cli/value_source.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "client/cli/columns.h"
#include "client/cli/exit_code.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

bool IsNpy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic(6, '\0');
  return file.read(magic.data(), 6) && magic == "\x93NUMPY";
}

absl::StatusOr<NpyFile> OpenValues(const ValueFiles& files, uint64_t columns) {
  if (!files.raw) return NpyFile::Open(files.values);
  ASSIGN_OR_RETURN(const NpyDtype dtype, ParseNpyDtypeName(files.raw_dtype));
  return NpyFile::OpenRaw(files.values, dtype, columns);
}

}  // namespace

absl::StatusOr<ValueSource> ValueSource::Open(const ValueFiles& files, const v1::MemoryDescription& memory) {
  if (memory.value_kind() != v1::VALUE_KIND_SPARSE_VECTOR && !(files.indices.empty() && files.remainders.empty())) {
    return UsageError(absl::StrCat("--values-indices and --values-remainders are of sparse values; those of memory \"",
                                   memory.name(), "\" are of another kind"));
  }
  ValueSource source(memory.value_kind());
  switch (memory.value_kind()) {
    case v1::VALUE_KIND_SPARSE_VECTOR: RETURN_IF_ERROR(source.OpenSparse(files, memory.vocabulary_size())); break;
    case v1::VALUE_KIND_VECTOR: RETURN_IF_ERROR(source.OpenVectors(files, memory)); break;
    case v1::VALUE_KIND_BYTES: RETURN_IF_ERROR(source.OpenBytes(files)); break;
    default: RETURN_IF_ERROR(source.OpenTokens(files, memory.vocabulary_size()));
  }
  return source;
}

absl::Status ValueSource::OpenTokens(const ValueFiles& files, uint32_t vocabulary_size) {
  constexpr uint64_t kAnyToken = uint64_t{1} << 32;
  ASSIGN_OR_RETURN(NpyFile file, OpenValues(files, 0));
  rows_ = file.rows();
  RETURN_IF_ERROR(CheckColumn(file, rows_));
  RETURN_IF_ERROR(CheckRange(file, "token", vocabulary_size > 0 ? vocabulary_size : kAnyToken));
  file_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status ValueSource::OpenVectors(const ValueFiles& files, const v1::MemoryDescription& memory) {
  ASSIGN_OR_RETURN(NpyFile file, OpenValues(files, memory.value_dimension()));
  RETURN_IF_ERROR(file.CheckDimensions(2, memory.value_dimension()));
  if (NpyIsInteger(file.dtype())) {
    return absl::InvalidArgumentError(
        absl::StrCat(files.values, " has dtype ", std::string(NpyDtypeName(file.dtype())),
                     "; values of a vector memory must be f16, f32 or f64"));
  }
  rows_ = file.rows();
  file_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status ValueSource::OpenLines(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> lines, ReadLines(path));
  bounds_ = {0};
  for (const std::string& line : lines) {
    lines_ += line;
    bounds_.push_back(lines_.size());
  }
  return absl::OkStatus();
}

absl::Status ValueSource::OpenBytes(const ValueFiles& files) {
  if (files.offsets.empty() && !files.raw && !IsNpy(files.values)) {
    RETURN_IF_ERROR(OpenLines(files.values));
    rows_ = bounds_.size() - 1;
    return CheckBlobs(files.values);
  }
  ASSIGN_OR_RETURN(NpyFile file, OpenValues(files, 0));
  if (file.dtype() != NpyDtype::kU8) {
    return absl::InvalidArgumentError(absl::StrCat(files.values, " has dtype ",
                                                   std::string(NpyDtypeName(file.dtype())),
                                                   "; values of a bytes memory must be u8, or lines of text"));
  }
  if (files.offsets.empty()) {
    RETURN_IF_ERROR(file.CheckDimensions(2));
    for (uint64_t row = 0; row <= file.rows(); ++row) bounds_.push_back(row * file.row_items());
  } else {
    RETURN_IF_ERROR(file.CheckDimensions(1));
    ASSIGN_OR_RETURN(bounds_, ReadOffsets(files.offsets, file.rows()));
  }
  rows_ = bounds_.size() - 1;
  file_.push_back(std::move(file));
  return CheckBlobs(files.values);
}

absl::Status ValueSource::OpenSparse(const ValueFiles& files, uint32_t vocabulary_size) {
  if (files.raw || files.offsets.empty() || files.indices.empty()) {
    return UsageError("sparse values need --values-offsets and --values-indices, and no --raw");
  }
  ASSIGN_OR_RETURN(NpyFile components, NpyFile::Open(files.values));
  RETURN_IF_ERROR(components.CheckDimensions(1));
  if (NpyIsInteger(components.dtype())) {
    return absl::InvalidArgumentError(absl::StrCat(files.values, " has dtype ",
                                                   std::string(NpyDtypeName(components.dtype())),
                                                   "; components of sparse values must be f16, f32 or f64"));
  }
  ASSIGN_OR_RETURN(NpyFile indices, OpenColumn(files.indices, components.rows()));
  RETURN_IF_ERROR(CheckRange(indices, "index", vocabulary_size));
  ASSIGN_OR_RETURN(bounds_, ReadOffsets(files.offsets, components.rows()));
  rows_ = bounds_.size() - 1;
  if (!files.remainders.empty()) {
    ASSIGN_OR_RETURN(NpyFile remainders, OpenColumn(files.remainders, rows_));
    remainders_.push_back(std::move(remainders));
  }
  file_.push_back(std::move(components));
  indices_.push_back(std::move(indices));
  return absl::OkStatus();
}

absl::Status ValueSource::CheckBlobs(const std::string& path) const {
  for (uint64_t row = 0; row < rows_; ++row) {
    const uint64_t bytes = bounds_[row + 1] - bounds_[row];
    if (bytes <= limits::kMaxValueBytes) continue;
    return absl::InvalidArgumentError(absl::StrCat(path, ": value of row ", row, " has ", bytes,
                                                   " bytes; must be at most ", limits::kMaxValueBytes));
  }
  return absl::OkStatus();
}

v1::SparseVectors ValueSource::SparseRows(uint64_t first, uint64_t count) const {
  std::vector<uint64_t> offsets(bounds_.begin() + static_cast<int64_t>(first),
                                bounds_.begin() + static_cast<int64_t>(first + count + 1));
  const uint64_t begin = offsets.front();
  const uint64_t items = offsets.back() - begin;
  for (uint64_t& offset : offsets) offset -= begin;
  v1::Vectors components = KeyRows(file_.front(), begin, items);
  v1::SparseVectors sparse;
  sparse.set_offsets(PackColumn(offsets));
  sparse.set_indices(ColumnRows<uint32_t>(indices_.front(), begin, items));
  sparse.set_dtype(components.dtype());
  sparse.set_components(std::move(*components.mutable_data()));
  if (!remainders_.empty()) sparse.set_remainders(ColumnRows<float>(remainders_.front(), first, count));
  return sparse;
}

uint64_t ValueSource::RowBytes() const {
  const uint64_t item_bytes = kind_ == v1::VALUE_KIND_SPARSE_VECTOR ? sizeof(float) + sizeof(uint32_t) : 1;
  if (!bounds_.empty()) return rows_ == 0 ? 0 : bounds_.back() / rows_ * item_bytes + sizeof(uint64_t);
  return kind_ == v1::VALUE_KIND_VECTOR ? file_.front().row_items() * sizeof(float) : sizeof(uint32_t);
}

v1::Values ValueSource::Rows(uint64_t first, uint64_t count) const {
  v1::Values values;
  if (kind_ == v1::VALUE_KIND_SPARSE_VECTOR) {
    *values.mutable_sparse() = SparseRows(first, count);
  } else if (!bounds_.empty()) {
    std::vector<uint64_t> offsets(bounds_.begin() + static_cast<int64_t>(first),
                                  bounds_.begin() + static_cast<int64_t>(first + count + 1));
    const uint64_t begin = offsets.front();
    const uint64_t bytes = offsets.back() - begin;
    std::string_view data(lines_);
    // A file of rows is seen as one run of bytes: its rows are dense.
    if (!file_.empty()) data = file_.front().Rows(0, file_.front().rows());
    data = data.substr(begin, bytes);
    for (uint64_t& offset : offsets) offset -= begin;
    values.mutable_blobs()->set_data(data.data(), data.size());
    values.mutable_blobs()->set_offsets(PackColumn(offsets));
  } else if (kind_ == v1::VALUE_KIND_VECTOR) {
    *values.mutable_vectors() = KeyRows(file_.front(), first, count);
  } else {
    values.set_tokens(ColumnRows<uint32_t>(file_.front(), first, count));
  }
  return values;
}

}  // namespace mneme::cli
