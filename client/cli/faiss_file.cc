// 1. The header of the inverted file, its number of lists.
// 2. The quantiser: the centroids, a direct map, and of "IwPQ" the product quantiser.
// 3. What is left, walked over to its end: the lists. So a file that was cut is told from a whole one.
#include "client/cli/faiss_file.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

// The numbers of faiss::MetricType and faiss::DirectMap::Type.
constexpr int32_t kInnerProduct = 0;
constexpr int32_t kL2 = 1;
constexpr uint8_t kNoMap = 0;
constexpr uint8_t kArrayMap = 1;
constexpr uint8_t kHashMap = 2;
// faiss::idx_t, and a pair of them in a hash map.
constexpr uint64_t kIdBytes = 8;
constexpr uint64_t kPairBytes = 16;

struct Header {
  int32_t dimension = 0;
  int64_t rows = 0;
  int32_t metric = 0;
};

class Reader {
 public:
  static absl::StatusOr<FaissTraining> Read(const std::string& path) {
    std::error_code error;
    const auto kind = std::filesystem::status(path, error).type();
    if (kind == std::filesystem::file_type::not_found) return absl::NotFoundError(absl::StrCat(path, ": no such file"));
    if (kind != std::filesystem::file_type::regular) {
      return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
    }
    Reader reader(path);
    reader.left_ = std::filesystem::file_size(path, error);
    if (error || !reader.file_) return absl::UnavailableError(absl::StrCat(path, " cannot be read"));
    FaissTraining found;
    RETURN_IF_ERROR(reader.ReadIvf(found));
    RETURN_IF_ERROR(reader.WalkDirectMap());
    uint64_t code_bytes = uint64_t{found.dimension} * sizeof(float);
    if (reader.has_codes_) RETURN_IF_ERROR(reader.ReadProductQuantiser(found, code_bytes));
    RETURN_IF_ERROR(reader.WalkLists(found.lists, code_bytes));
    return found;
  }

 private:
  explicit Reader(const std::string& path) : path_(path), file_(path, std::ios::binary) {}

  absl::Status Damaged(const std::string& what) const { return absl::DataLossError(absl::StrCat(path_, ": ", what)); }
  absl::Status Refused(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", what));
  }

  absl::Status Bytes(void* out, uint64_t bytes) {
    if (bytes > left_) return Damaged("ends too early");
    file_.read(static_cast<char*>(out), static_cast<std::streamsize>(bytes));
    if (!file_) return absl::UnavailableError(absl::StrCat(path_, " cannot be read"));
    left_ -= bytes;
    return absl::OkStatus();
  }
  template <typename T>
  absl::Status Item(T& out) {
    return Bytes(&out, sizeof(out));
  }
  // `count` items of `width` bytes, which may not fit into 64 bits.
  absl::Status Skip(uint64_t count, uint64_t width) {
    if (width != 0 && count > left_ / width) return Damaged("ends too early");
    file_.seekg(static_cast<std::streamoff>(count * width), std::ios::cur);
    left_ -= count * width;
    return absl::OkStatus();
  }
  absl::Status Kind(std::string& out) {
    out.resize(4);
    return Bytes(out.data(), out.size());
  }

  absl::Status ReadHeader(Header& out) {
    uint8_t trained = 0;
    RETURN_IF_ERROR(Item(out.dimension));
    RETURN_IF_ERROR(Item(out.rows));
    RETURN_IF_ERROR(Skip(2, sizeof(int64_t)));  // of no meaning
    RETURN_IF_ERROR(Item(trained));
    RETURN_IF_ERROR(Item(out.metric));
    if (out.dimension < 1 || out.dimension > static_cast<int32_t>(limits::kMaxDimension)) {
      return Refused(absl::StrCat("dimension is ", out.dimension, "; must be in [1, ", limits::kMaxDimension, "]"));
    }
    if (out.metric != kInnerProduct && out.metric != kL2) {
      return Refused(absl::StrCat("metric is FAISS's number ", out.metric, "; must be 0 (inner product) or 1 (L2)"));
    }
    if (out.rows < 0) return Damaged(absl::StrCat("says that it has ", out.rows, " rows"));
    if (trained != 1) return Refused("the index is not trained");
    return absl::OkStatus();
  }

  absl::Status ReadIvf(FaissTraining& out) {
    std::string kind;
    RETURN_IF_ERROR(Kind(kind));
    has_codes_ = kind == "IwPQ";
    if (kind != "IwFl" && !has_codes_) {
      return Refused(absl::StrCat("an index of kind \"", absl::CEscape(kind),
                                  "\"; must be IVFFlat (\"IwFl\") or IVFPQ (\"IwPQ\")"));
    }
    RETURN_IF_ERROR(ReadHeader(header_));
    uint64_t lists = 0;
    uint64_t probes = 0;
    RETURN_IF_ERROR(Item(lists));
    RETURN_IF_ERROR(Item(probes));
    if (lists < 1 || lists > limits::kMaxProbes) {
      return Refused(absl::StrCat("lists are ", lists, "; must be in [1, ", limits::kMaxProbes, "]"));
    }
    out.dimension = static_cast<uint32_t>(header_.dimension);
    out.metric = header_.metric == kL2 ? v1::METRIC_L2 : v1::METRIC_INNER_PRODUCT;
    out.lists = static_cast<uint32_t>(lists);
    return ReadQuantiser(out);
  }

  absl::Status ReadQuantiser(FaissTraining& out) {
    std::string kind;
    RETURN_IF_ERROR(Kind(kind));
    if (kind != "IxF2" && kind != "IxFI" && kind != "IxFl") {
      return Refused(absl::StrCat("a coarse quantiser of kind \"", absl::CEscape(kind),
                                  "\"; must be flat (\"IxF2\", \"IxFI\" or \"IxFl\")"));
    }
    Header header;
    RETURN_IF_ERROR(ReadHeader(header));
    uint64_t components = 0;
    RETURN_IF_ERROR(Item(components));
    const uint64_t wanted = uint64_t{out.lists} * out.dimension;
    if (header.dimension != header_.dimension || header.rows != int64_t{out.lists} || components != wanted) {
      return Damaged(absl::StrCat("its quantiser has ", header.rows, " rows of ", header.dimension, " in ", components,
                                  " components; must have ", out.lists, " rows of ", out.dimension));
    }
    if (wanted * sizeof(float) > left_) return Damaged("ends too early");
    out.centroids.resize(wanted);
    return Bytes(out.centroids.data(), wanted * sizeof(float));
  }

  absl::Status WalkDirectMap() {
    uint8_t map = 0;
    uint64_t mapped = 0;
    RETURN_IF_ERROR(Item(map));
    if (map > kHashMap) return Damaged(absl::StrCat("direct map is of type ", map, "; must be 0, 1 or 2"));
    RETURN_IF_ERROR(Item(mapped));
    if (map != kArrayMap && mapped != 0) return Damaged("has a direct map that its type denies");
    RETURN_IF_ERROR(Skip(mapped, kIdBytes));
    if (map == kHashMap) {
      RETURN_IF_ERROR(Item(mapped));
      RETURN_IF_ERROR(Skip(mapped, kPairBytes));
    }
    return absl::OkStatus();
  }

  absl::Status ReadProductQuantiser(FaissTraining& out, uint64_t& code_bytes) {
    uint8_t by_residual = 0;
    uint64_t dimension = 0;
    uint64_t columns = 0;
    uint64_t bits = 0;
    uint64_t components = 0;
    RETURN_IF_ERROR(Item(by_residual));
    RETURN_IF_ERROR(Item(code_bytes));
    RETURN_IF_ERROR(Item(dimension));
    RETURN_IF_ERROR(Item(columns));
    RETURN_IF_ERROR(Item(bits));
    RETURN_IF_ERROR(Item(components));
    if (dimension != out.dimension || columns < 1 || columns > dimension || dimension % columns != 0 || bits < 1 ||
        bits > limits::kMaxColumnBits) {
      return Damaged(absl::StrCat("its product quantiser has ", columns, " columns of ", bits, " bits for ", dimension,
                                  " of ", out.dimension, " components"));
    }
    const uint64_t wanted = dimension << bits;
    if (components != wanted || code_bytes != (columns * bits + 7) / 8) {
      return Damaged(absl::StrCat("its product quantiser has ", components, " components, and codes of ", code_bytes,
                                  " bytes; must have ", wanted, ", and ", (columns * bits + 7) / 8));
    }
    if (wanted * sizeof(float) > left_) return Damaged("ends too early");
    out.by_residual = by_residual != 0;
    out.columns = static_cast<uint32_t>(columns);
    out.bits = static_cast<uint32_t>(bits);
    out.subvectors.resize(wanted);
    return Bytes(out.subvectors.data(), wanted * sizeof(float));
  }

  absl::Status WalkLists(uint32_t lists, uint64_t code_bytes) {
    std::string kind;
    RETURN_IF_ERROR(Kind(kind));
    if (kind == "il00") return CheckEnd(0);
    if (kind != "ilar") {
      return Refused(
          absl::StrCat("inverted lists of kind \"", absl::CEscape(kind), "\"; must be in the file (\"ilar\")"));
    }
    uint64_t list_count = 0;
    uint64_t list_code_bytes = 0;
    RETURN_IF_ERROR(Item(list_count));
    RETURN_IF_ERROR(Item(list_code_bytes));
    if (list_count != lists || list_code_bytes != code_bytes) return Damaged("its lists do not fit its header");
    return WalkArrays(lists, code_bytes);
  }

  // Sizes of all lists ("full"), or of those that are not empty with their numbers ("sprs"), then codes and ids.
  absl::Status WalkArrays(uint32_t lists, uint64_t code_bytes) {
    std::string kind;
    uint64_t items = 0;
    RETURN_IF_ERROR(Kind(kind));
    RETURN_IF_ERROR(Item(items));
    const bool sparse = kind == "sprs";
    const bool fits = sparse ? items % 2 == 0 && items <= uint64_t{2} * lists : kind == "full" && items == lists;
    if (!fits) {
      return Damaged("the sizes of its lists are not those of its lists");
    }
    uint64_t rows = 0;
    for (uint64_t i = 0; i < items; ++i) {
      uint64_t size = 0;
      RETURN_IF_ERROR(Item(size));
      if (sparse && i % 2 == 0) {
        if (size >= lists) return Damaged(absl::StrCat("names list ", size, " of ", lists));
        continue;
      }
      if (size > static_cast<uint64_t>(header_.rows) - rows) return Damaged("its lists hold more rows than it has");
      rows += size;
    }
    RETURN_IF_ERROR(Skip(rows, code_bytes + kIdBytes));
    return CheckEnd(rows);
  }

  absl::Status CheckEnd(uint64_t rows) const {
    if (left_ != 0) return Damaged(absl::StrCat("has ", left_, " bytes beyond its end"));
    if (rows != static_cast<uint64_t>(header_.rows)) {
      return Damaged(absl::StrCat("its lists hold ", rows, " rows; must be ", header_.rows));
    }
    return absl::OkStatus();
  }

  const std::string path_;
  std::ifstream file_;
  uint64_t left_ = 0;  // bytes
  Header header_;
  bool has_codes_ = false;
};

}  // namespace

absl::StatusOr<FaissTraining> ReadFaissTraining(const std::string& path) { return Reader::Read(path); }

}  // namespace mneme::cli
