// 1. The header of the inverted file, and the quantiser: one header, the centroids.
// 2. No direct map; then the sizes of all lists.
// 3. List by list its keys, then its ids.
#include "client/cli/faiss_writer.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

// The numbers of faiss::MetricType and faiss::DirectMap::Type.
constexpr int32_t kInnerProduct = 0;
constexpr int32_t kL2 = 1;
constexpr uint8_t kNoMap = 0;
// What FAISS writes where old versions had something.
constexpr int64_t kNothing = int64_t{1} << 20;

std::string PartialPath(const std::string& path) { return path + ".partial"; }

absl::Status Contradiction(const std::string& what) {
  return absl::InternalError(absl::StrCat("the server's index contradicts itself: ", what));
}

}  // namespace

absl::StatusOr<FaissWriter> FaissWriter::Create(const std::string& path) {
  FaissWriter writer;
  writer.file_.open(PartialPath(path), std::ios::binary | std::ios::trunc);
  if (!writer.file_) return absl::UnavailableError(absl::StrCat(path, " cannot be created"));
  writer.path_ = path;
  return writer;
}

FaissWriter::~FaissWriter() {
  if (file_.is_open()) std::remove(PartialPath(path_).c_str());
}

absl::Status FaissWriter::Write(const void* data, size_t bytes) {
  file_.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  return file_ ? absl::OkStatus() : absl::UnavailableError(absl::StrCat(path_, " cannot be written"));
}

absl::Status FaissWriter::Add(const v1::ExportIndexResponse& piece) {
  if (piece.has_shape()) RETURN_IF_ERROR(Begin(piece.shape()));
  if (shape_.dimension() == 0) return Contradiction("it begins without its shape");
  if (!piece.centroids().empty()) RETURN_IF_ERROR(AddCentroids(piece.centroids()));
  if (!piece.list_sizes().empty()) RETURN_IF_ERROR(AddSizes(piece.list_sizes()));
  return piece.ids().empty() ? absl::OkStatus() : AddRows(piece.ids(), piece.keys());
}

absl::Status FaissWriter::WriteHeader(uint64_t rows) {
  RETURN_IF_ERROR(Item(static_cast<int32_t>(shape_.dimension())));
  RETURN_IF_ERROR(Item(static_cast<int64_t>(rows)));
  RETURN_IF_ERROR(Item(kNothing));
  RETURN_IF_ERROR(Item(kNothing));
  RETURN_IF_ERROR(Item(uint8_t{1}));  // trained
  return Item(shape_.metric() == v1::METRIC_L2 ? kL2 : kInnerProduct);
}

absl::Status FaissWriter::Begin(const v1::ExportedShape& shape) {
  if (shape_.dimension() != 0 || shape.dimension() == 0 || shape.lists() == 0) return Contradiction("its shape");
  shape_ = shape;
  RETURN_IF_ERROR(Write("IwFl", 4));
  RETURN_IF_ERROR(WriteHeader(shape.entries()));
  RETURN_IF_ERROR(Item(uint64_t{shape.lists()}));
  RETURN_IF_ERROR(Item(uint64_t{1}));  // nprobe: as FAISS has it until somebody sets it
  RETURN_IF_ERROR(Write(shape.metric() == v1::METRIC_L2 ? "IxF2" : "IxFI", 4));
  RETURN_IF_ERROR(WriteHeader(shape.lists()));
  return Item(uint64_t{shape.lists()} * shape.dimension());
}

absl::Status FaissWriter::AddCentroids(const std::string& bytes) {
  const uint64_t wanted = shape_.lists() * KeyBytes();
  if (bytes.size() > wanted - centroid_bytes_) return Contradiction("more centroids than lists");
  centroid_bytes_ += bytes.size();
  RETURN_IF_ERROR(Write(bytes.data(), bytes.size()));
  if (centroid_bytes_ < wanted) return absl::OkStatus();
  RETURN_IF_ERROR(Item(kNoMap));
  RETURN_IF_ERROR(Item(uint64_t{0}));  // which has no rows
  RETURN_IF_ERROR(Write("ilar", 4));
  RETURN_IF_ERROR(Item(uint64_t{shape_.lists()}));
  RETURN_IF_ERROR(Item(KeyBytes()));
  RETURN_IF_ERROR(Write("full", 4));
  return Item(uint64_t{shape_.lists()});
}

absl::Status FaissWriter::AddSizes(const std::string& bytes) {
  const std::vector<uint64_t> sizes = UnpackColumn<uint64_t>(bytes);
  if (centroid_bytes_ != shape_.lists() * KeyBytes() || sizes.size() > shape_.lists() - sizes_.size()) {
    return Contradiction("the sizes of its lists");
  }
  for (const uint64_t size : sizes) {
    if (size > shape_.entries() - sized_rows_) return Contradiction("its lists hold more than it has");
    sized_rows_ += size;
  }
  sizes_.insert(sizes_.end(), sizes.begin(), sizes.end());
  return Write(bytes.data(), bytes.size());
}

absl::Status FaissWriter::AddRows(const std::string& ids, const std::string& keys) {
  const std::vector<uint64_t> given = UnpackColumn<uint64_t>(ids);
  if (sizes_.size() != shape_.lists() || keys.size() != given.size() * KeyBytes()) {
    return Contradiction("entries that belong to no list");
  }
  size_t next = 0;
  while (next < given.size()) {
    RETURN_IF_ERROR(CloseLists());
    if (list_ == sizes_.size()) return Contradiction("more entries than its lists hold");
    const size_t taken = std::min<size_t>(given.size() - next, sizes_[list_] - ids_.size());
    RETURN_IF_ERROR(Write(keys.data() + next * KeyBytes(), taken * KeyBytes()));
    ids_.insert(ids_.end(), given.begin() + static_cast<ptrdiff_t>(next),
                given.begin() + static_cast<ptrdiff_t>(next + taken));
    next += taken;
  }
  rows_ += given.size();
  return CloseLists();
}

absl::Status FaissWriter::CloseLists() {
  for (; list_ < sizes_.size() && ids_.size() == sizes_[list_]; ++list_) {
    RETURN_IF_ERROR(Write(ids_.data(), ids_.size() * sizeof(uint64_t)));
    ids_.clear();
  }
  return absl::OkStatus();
}

absl::Status FaissWriter::Finish() {
  if (shape_.dimension() == 0 || sizes_.size() != shape_.lists() || rows_ != shape_.entries() ||
      sized_rows_ != rows_) {
    return Contradiction(absl::StrCat("it ends after ", rows_, " of ", shape_.entries(), " entries"));
  }
  file_.close();
  if (!file_ || std::rename(PartialPath(path_).c_str(), path_.c_str()) != 0) {
    std::remove(PartialPath(path_).c_str());
    return absl::UnavailableError(absl::StrCat(path_, " cannot be written"));
  }
  return absl::OkStatus();
}

}  // namespace mneme::cli
