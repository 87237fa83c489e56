#include "client/cli/value_source.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
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

absl::Status NoSparseFiles(const std::string& memory) {
  return absl::InvalidArgumentError(absl::StrCat("memory \"", memory, "\" has sparse values, which no array file holds; "
                                                 "the Python client reads and writes them"));
}

absl::StatusOr<ValueSource> ValueSource::Open(const ValueFiles& files, const v1::MemoryDescription& memory) {
  ValueSource source(memory.value_kind());
  switch (memory.value_kind()) {
    case v1::VALUE_KIND_SPARSE_VECTOR: return NoSparseFiles(memory.name());
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
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  bounds_ = {0};
  std::string line;
  while (std::getline(file, line)) {
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
    ASSIGN_OR_RETURN(const NpyFile offsets, NpyFile::Open(files.offsets));
    RETURN_IF_ERROR(offsets.CheckDimensions(1));
    RETURN_IF_ERROR(CheckRange(offsets, "offset", file.rows() + 1));
    bounds_ = UnpackColumn<uint64_t>(ColumnRows<uint64_t>(offsets, 0, offsets.rows()));
    if (bounds_.empty() || bounds_.front() != 0 || bounds_.back() != file.rows() ||
        !std::is_sorted(bounds_.begin(), bounds_.end())) {
      return absl::InvalidArgumentError(absl::StrCat(files.offsets, ": offsets must ascend from 0 to ", file.rows(),
                                                     ", the bytes of ", files.values));
    }
  }
  rows_ = bounds_.size() - 1;
  file_.push_back(std::move(file));
  return CheckBlobs(files.values);
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

uint64_t ValueSource::RowBytes() const {
  if (!bounds_.empty()) return rows_ == 0 ? 0 : bounds_.back() / rows_ + sizeof(uint64_t);
  return kind_ == v1::VALUE_KIND_VECTOR ? file_.front().row_items() * sizeof(float) : sizeof(uint32_t);
}

v1::Values ValueSource::Rows(uint64_t first, uint64_t count) const {
  v1::Values values;
  if (!bounds_.empty()) {
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
