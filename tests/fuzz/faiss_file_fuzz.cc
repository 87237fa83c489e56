// FAISS index files that `mneme build --centroids` reads without FAISS.
#include "client/cli/faiss_file.h"

#include "common/limits.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

bool Run(std::string_view input) {
  const std::string path = FileOf(input);
  const AllocationBound bound(64 * 1024 + 2 * input.size());
  const auto training = cli::ReadFaissTraining(path);
  if (!training.ok()) {
    ExpectRefusal(training.status(), {StatusCode::kDataLoss, StatusCode::kInvalidArgument}, {path});
    return false;
  }
  Expect(training->dimension >= 1 && training->dimension <= limits::kMaxDimension && training->lists >= 1 &&
             training->lists <= limits::kMaxProbes,
         "dimension and lists are within their bounds");
  Expect(training->centroids.size() == size_t{training->lists} * training->dimension, "every list has a centroid");
  const size_t subvectors = training->columns == 0 ? 0 : size_t{training->dimension} << training->bits;
  Expect(training->subvectors.size() == subvectors, "every column has its sub-vectors");
  return true;
}

constexpr int32_t kDimension = 3;
constexpr uint64_t kLists = 2;

// A file as FAISS 1.7.3 writes it, part by part.
class FaissBytes {
 public:
  FaissBytes& Text(const std::string& text) {
    bytes_ += text;
    return *this;
  }
  template <typename T>
  FaissBytes& Item(T item) {
    bytes_.append(reinterpret_cast<const char*>(&item), sizeof(item));
    return *this;
  }
  FaissBytes& Header(const std::string& kind, int64_t rows) {
    Text(kind).Item(kDimension).Item(rows).Item(int64_t{1 << 20}).Item(int64_t{1 << 20});
    return Item(uint8_t{1}).Item(int32_t{1});
  }
  FaissBytes& Ivf(const std::string& kind) {
    Header(kind, 1).Item(kLists).Item(uint64_t{1}).Header("IxF2", kLists).Item(kLists * kDimension);
    for (uint64_t i = 0; i < kLists * kDimension; ++i) Item(static_cast<float>(i));
    return *this;
  }
  FaissBytes& Map(uint8_t kind) {
    Item(kind).Item(uint64_t{kind == 1 ? 1U : 0U});
    if (kind == 1) Item(uint64_t{0});
    if (kind == 2) Item(uint64_t{1}).Item(uint64_t{77}).Item(uint64_t{0});
    return *this;
  }
  FaissBytes& Quantiser() {
    Item(uint8_t{1}).Item(uint64_t{1}).Item(uint64_t{kDimension}).Item(uint64_t{3}).Item(uint64_t{2});
    Item(uint64_t{12});
    for (int i = 0; i < 12; ++i) Item(static_cast<float>(i));
    return *this;
  }
  // One row in the first list.
  FaissBytes& Lists(const std::string& sizes, uint64_t code_bytes) {
    Text("ilar").Item(kLists).Item(code_bytes).Text(sizes);
    if (sizes == "full") Item(uint64_t{2}).Item(uint64_t{1}).Item(uint64_t{0});
    if (sizes == "sprs") Item(uint64_t{2}).Item(uint64_t{0}).Item(uint64_t{1});
    return Text(std::string(code_bytes, 'c')).Item(int64_t{77});
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

std::vector<std::string> Seeds() {
  return {FaissBytes().Ivf("IwFl").Map(0).Lists("full", 12).bytes(),
          FaissBytes().Ivf("IwFl").Map(1).Lists("sprs", 12).bytes(),
          FaissBytes().Ivf("IwFl").Map(2).Lists("full", 12).bytes(),
          FaissBytes().Ivf("IwPQ").Map(0).Quantiser().Lists("full", 1).bytes()};
}

const Registration kTarget({"faiss_file", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
