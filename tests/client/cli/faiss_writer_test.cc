#include "client/cli/faiss_writer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "client/cli/columns.h"
#include "client/cli/faiss_file.h"
#include "tests/storage/temporary_directory.h"

namespace mneme::cli {
namespace {

using Pieces = std::vector<v1::ExportIndexResponse>;

// Two components, three lists of 2, 0 and 1 entries; each column in two pieces.
Pieces Good() {
  Pieces pieces(7);
  v1::ExportedShape& shape = *pieces[0].mutable_shape();
  shape.set_dimension(2);
  shape.set_metric(v1::METRIC_INNER_PRODUCT);
  shape.set_lists(3);
  shape.set_entries(3);
  pieces[1].set_centroids(PackColumn(std::vector<float>{1, 2}));
  pieces[2].set_centroids(PackColumn(std::vector<float>{3, 4, 5, 6}));
  pieces[3].set_list_sizes(PackColumn(std::vector<uint64_t>{2}));
  pieces[4].set_list_sizes(PackColumn(std::vector<uint64_t>{0, 1}));
  pieces[5].set_ids(PackColumn(std::vector<uint64_t>{70}));
  pieces[5].set_keys(PackColumn(std::vector<float>{0.5F, 0.25F}));
  pieces[6].set_ids(PackColumn(std::vector<uint64_t>{80, 90}));
  pieces[6].set_keys(PackColumn(std::vector<float>{8, 9, 10, 11}));
  return pieces;
}

class FaissWriterTest : public ::testing::Test {
 protected:
  absl::Status Write(const Pieces& pieces) {
    auto writer = FaissWriter::Create(path_);
    if (!writer.ok()) return writer.status();
    for (const v1::ExportIndexResponse& piece : pieces) {
      if (const absl::Status added = writer->Add(piece); !added.ok()) return added;
    }
    return writer->Finish();
  }
  void ExpectNoFile() {
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "index.faiss";
};

TEST_F(FaissWriterTest, WritesWhatIsReadBackAndEachListsIdsAfterItsKeys) {
  ASSERT_TRUE(Write(Good()).ok());
  const auto file = ReadFaissTraining(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->dimension, 2U);
  EXPECT_EQ(file->metric, v1::METRIC_INNER_PRODUCT);
  EXPECT_EQ(file->lists, 3U);
  EXPECT_EQ(file->centroids, (std::vector<float>{1, 2, 3, 4, 5, 6}));
  const std::string lists = PackColumn(std::vector<float>{0.5F, 0.25F, 8, 9}) +
                            PackColumn(std::vector<uint64_t>{70, 80}) + PackColumn(std::vector<float>{10, 11}) +
                            PackColumn(std::vector<uint64_t>{90});
  const std::string bytes = ReadBytes(path_);
  EXPECT_EQ(bytes.substr(bytes.size() - lists.size()), lists);
}

TEST_F(FaissWriterTest, AnIndexOfNoEntriesIsOneToo) {
  Pieces pieces = Good();
  pieces.resize(4);
  pieces[0].mutable_shape()->set_entries(0);
  pieces[3].set_list_sizes(PackColumn(std::vector<uint64_t>{0, 0, 0}));
  ASSERT_TRUE(Write(pieces).ok());
  EXPECT_TRUE(ReadFaissTraining(path_).ok());
}

TEST_F(FaissWriterTest, WhatDoesNotFitTogetherIsAnErrorAndLeavesNoFile) {
  std::vector<Pieces> wrong;
  // Without any one piece, with any twice, or with two that changed places.
  for (size_t i = 0; i < Good().size(); ++i) {
    wrong.push_back(Good());
    wrong.back().erase(wrong.back().begin() + static_cast<ptrdiff_t>(i));
    wrong.push_back(Good());
    wrong.back().insert(wrong.back().begin() + static_cast<ptrdiff_t>(i), Good()[i]);
  }
  for (const size_t i : {0, 2, 4}) {
    wrong.push_back(Good());
    std::swap(wrong.back()[i], wrong.back()[i + 1]);
  }
  wrong.push_back(Good());
  wrong.back()[5].set_keys("");
  wrong.push_back(Good());
  wrong.back()[0].mutable_shape()->set_lists(0);
  wrong.push_back(Good());
  wrong.back()[4].set_list_sizes(PackColumn(std::vector<uint64_t>{~uint64_t{0}, 1}));
  for (size_t i = 0; i < wrong.size(); ++i) {
    EXPECT_EQ(Write(wrong[i]).code(), absl::StatusCode::kInternal) << i;
    ExpectNoFile();
  }
}

TEST_F(FaissWriterTest, SaysWhereItCannotWrite) {
  const auto writer = FaissWriter::Create(directory_ / "none/index.faiss");
  EXPECT_EQ(writer.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(writer.status().message().find("none/index.faiss"), absl::string_view::npos);
}

}  // namespace
}  // namespace mneme::cli
