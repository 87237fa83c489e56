#include "client/cli/faiss_file.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace mneme::cli {
namespace {

constexpr int32_t kDimension = 3;
constexpr uint64_t kLists = 2;
const std::vector<float> kCentroids = {1, 2, 3, -4, 5, 6};

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
  FaissBytes& Header(int32_t dimension, int64_t rows, int32_t metric, uint8_t trained = 1) {
    return Item(dimension).Item(rows).Item(int64_t{1 << 20}).Item(int64_t{1 << 20}).Item(trained).Item(metric);
  }
  FaissBytes& Quantiser(const std::string& kind, int32_t metric) {
    Text(kind).Header(kDimension, kLists, metric).Item(uint64_t{kCentroids.size()});
    for (const float component : kCentroids) Item(component);
    return *this;
  }
  // No direct map, then lists of one and of no row.
  FaissBytes& NoDirectMap() { return Item(uint8_t{0}).Item(uint64_t{0}); }
  FaissBytes& ListsOf(const std::string& sizes, uint64_t code_bytes) {
    Text("ilar").Item(kLists).Item(code_bytes).Text(sizes);
    if (sizes == "full") Item(uint64_t{2}).Item(uint64_t{1}).Item(uint64_t{0});
    if (sizes == "sprs") Item(uint64_t{2}).Item(uint64_t{0}).Item(uint64_t{1});
    return *this;
  }
  FaissBytes& Lists(const std::string& sizes) {
    NoDirectMap().ListsOf(sizes, kDimension * sizeof(float));
    return Item(1.0F).Item(2.0F).Item(3.5F).Item(int64_t{77});
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

std::string Good(const std::string& sizes = "full", int32_t metric = 1, const std::string& quantiser = "IxF2") {
  FaissBytes file;
  file.Text("IwFl").Header(kDimension, 1, metric).Item(kLists).Item(uint64_t{1});
  return file.Quantiser(quantiser, metric).Lists(sizes).bytes();
}

// A product quantiser of three columns of two bits, whose sub-vectors have one component each.
std::string GoodPq() {
  FaissBytes file;
  file.Text("IwPQ").Header(kDimension, 1, 1).Item(kLists).Item(uint64_t{1}).Quantiser("IxF2", 1).NoDirectMap();
  file.Item(uint8_t{1}).Item(uint64_t{1});
  file.Item(uint64_t{kDimension}).Item(uint64_t{3}).Item(uint64_t{2}).Item(uint64_t{12});
  for (int i = 0; i < 12; ++i) file.Item(static_cast<float>(i));
  return file.ListsOf("full", 1).Item(uint8_t{0x15}).Item(int64_t{77}).bytes();
}

class FaissFile : public ::testing::Test {
 protected:
  ~FaissFile() override { std::filesystem::remove(path_); }
  absl::StatusOr<FaissTraining> Read(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    return ReadFaissTraining(path_);
  }
  const std::string path_ =
      std::filesystem::temp_directory_path() / ("mneme-faiss-file-test-" + std::to_string(::getpid()));
};

TEST_F(FaissFile, GivesItsCentroidsWhateverTheSizesOfItsListsAreWrittenAs) {
  for (const std::string sizes : {"full", "sprs"}) {
    const auto file = Read(Good(sizes));
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->dimension, 3U);
    EXPECT_EQ(file->lists, 2U);
    EXPECT_EQ(file->metric, v1::METRIC_L2);
    EXPECT_EQ(file->centroids, kCentroids);
  }
}

TEST_F(FaissFile, TellsTheInnerProductFromTheDistance) {
  const auto file = Read(Good("full", 0, "IxFI"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->metric, v1::METRIC_INNER_PRODUCT);
}

TEST_F(FaissFile, GivesItsProductQuantiser) {
  const auto flat = Read(Good());
  ASSERT_TRUE(flat.ok()) << flat.status();
  EXPECT_EQ(flat->columns, 0U);
  const auto file = Read(GoodPq());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->centroids, kCentroids);
  EXPECT_TRUE(file->by_residual);
  EXPECT_EQ(file->columns, 3U);
  EXPECT_EQ(file->bits, 2U);
  EXPECT_EQ(file->subvectors, (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
}

TEST_F(FaissFile, IsDamagedWhereverItIsCutAndWhenSomethingFollows) {
  for (const std::string& whole : {Good(), GoodPq()}) {
    for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
      EXPECT_EQ(Read(whole.substr(0, bytes)).status().code(), absl::StatusCode::kDataLoss) << bytes;
    }
    EXPECT_EQ(Read(whole + "x").status().code(), absl::StatusCode::kDataLoss);
  }
}

// Every bit, one at a time: read or refused, never a crash, and never another shape.
TEST_F(FaissFile, KeepsItsShapeWhateverBitFlips) {
  for (const std::string& whole : {Good(), GoodPq()}) {
    for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
      std::string flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      const auto file = Read(flipped);
      if (!file.ok()) continue;
      EXPECT_EQ(file->dimension, 3U) << bit;
      EXPECT_EQ(file->centroids.size(), kCentroids.size()) << bit;
      EXPECT_EQ(file->subvectors.size(), whole == GoodPq() ? 12U : 0U) << bit;
    }
  }
}

TEST_F(FaissFile, NamesWhatItDoesNotTake) {
  const auto message = [&](const std::string& bytes) { return std::string(Read(bytes).status().message()); };
  std::string other = Good();
  EXPECT_NE(message(other.replace(0, 4, "IwSq")).find("kind \"IwSq\"; must be IVFFlat (\"IwFl\") or IVFPQ"),
            std::string::npos);
  EXPECT_NE(message(Good("full", 1, "IHNf")).find("quantiser of kind \"IHNf\"; must be flat"), std::string::npos);
  EXPECT_NE(message(Good("full", 7)).find("metric is FAISS's number 7"), std::string::npos);
  FaissBytes untrained;
  untrained.Text("IwFl").Header(kDimension, 0, 1, 0);
  EXPECT_NE(message(untrained.bytes()).find("not trained"), std::string::npos);
  FaissBytes many;
  many.Text("IwFl").Header(kDimension, 0, 1).Item(uint64_t{1} << 60).Item(uint64_t{1});
  EXPECT_NE(message(many.bytes()).find("must be in [1, 65536]"), std::string::npos);
  FaissBytes wide;
  wide.Text("IwFl").Header(1 << 30, 0, 1);
  EXPECT_NE(message(wide.bytes()).find("dimension is 1073741824; must be in [1, 16384]"), std::string::npos);
  EXPECT_EQ(ReadFaissTraining("/nowhere/index.faiss").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace mneme::cli
