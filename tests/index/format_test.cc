// docs/formats.md is read here: its examples of index files are written and read, byte for byte.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "index/segment.h"
#include "tests/index/random_index.h"

namespace mneme {
namespace {

using testing::Encode;
using testing::ScratchDirectory;

const IndexSpec kSpec{2, Metric::kL2, Dtype::kF16, 4};
const EnvelopeIdentity kCodebookIdentity{0xABCDEF, 3, 258, 2};
const EnvelopeIdentity kSegmentIdentity{0xABCDEF, 3, 258, 7};

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The file that the document shows under `title`: lines of an offset, bytes in hex and a remark, two spaces between.
std::string Example(const std::string& title) {
  const char* source = std::getenv("MNEME_SOURCE_DIR");
  std::ifstream document(std::string(source != nullptr ? source : ".") + "/docs/formats.md");
  std::string line;
  while (std::getline(document, line) && line != "### Example: " + title) {
  }
  while (std::getline(document, line) && line != "```") {
  }
  std::string bytes;
  while (std::getline(document, line) && line != "```") {
    std::istringstream words(line);
    std::string first;
    words >> first;
    if (first == "size") {
      size_t size = 0;
      words >> size;
      bytes.assign(size, '\0');
      continue;
    }
    size_t at = std::stoul(first);
    const size_t begin = line.find(first) + first.size() + 2;
    std::istringstream hex(line.substr(begin, line.find("  ", begin) - begin));
    for (std::string byte; hex >> byte; ++at) bytes.at(at) = static_cast<char>(std::stoi(byte, nullptr, 16));
  }
  EXPECT_FALSE(bytes.empty()) << "docs/formats.md has no example of " << title << "; MNEME_SOURCE_DIR says where it is";
  return bytes;
}

class IndexFormatTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(path_, std::ios::binary) << Example("a codebook");
    auto opened = Codebook::Open(path_, kSpec, kCodebookIdentity);
    ASSERT_TRUE(opened.ok()) << opened.status();
    codebook_ = *std::move(opened);
  }

  ScratchDirectory scratch_;
  const std::string path_ = scratch_.File("file");
  std::shared_ptr<Codebook> codebook_;
};

TEST_F(IndexFormatTest, TheCodebookOfTheDocumentIsReadAsItSays) {
  EXPECT_EQ(codebook_->number(), 2U);
  ASSERT_EQ(codebook_->lists(), 2U);
  const float keys[] = {5.0F, -4.0F, 1.0F, 2.0F, 2.0F, 2.0F};
  uint32_t lists[3];
  codebook_->Assign(keys, 3, lists);
  EXPECT_EQ(std::vector<uint32_t>(lists, lists + 3), (std::vector<uint32_t>{1, 0, 0}));
  EXPECT_EQ(codebook_->ProbesFor(10, 0.3), 1U);
  EXPECT_EQ(codebook_->ProbesFor(10, 0.9), 2U);
}

TEST_F(IndexFormatTest, TheCodebookOfTheDocumentIsWrittenAgain) {
  const std::string path = scratch_.File("again");
  ASSERT_TRUE(codebook_->Save(path, kCodebookIdentity).ok());
  EXPECT_TRUE(ReadFile(path) == Example("a codebook"));
}

TEST_F(IndexFormatTest, TheSegmentOfTheDocumentIsWritten) {
  SegmentBuilder builder(kSpec, codebook_, 1000, 1004);
  const Row rows[] = {1000, 1002, 1003};
  const std::vector<float> keys[] = {{5.0F, -4.0F}, {1.0F, 2.0F}, {6.0F, -4.0F}};
  const auto for_each = [&](const auto& visit) {
    for (size_t i = 0; i < 3; ++i) {
      const std::string key = Encode(Dtype::kF16, keys[i]);
      const Token token = 7 + static_cast<Token>(i);
      EntryView entry;
      entry.id = 300 + i;
      entry.key = key;
      entry.value = {reinterpret_cast<const char*>(&token), sizeof(token)};
      entry.attributes.source = i == 1 ? 5 : 0;
      visit(rows[i], entry);
    }
  };
  for_each([&](Row row, const EntryView& entry) { builder.Add(row, entry); });
  ASSERT_TRUE(builder.Begin(path_, kSegmentIdentity).ok());
  for_each([&](Row row, const EntryView& entry) { builder.Place(row, entry); });
  ASSERT_TRUE(builder.Finish({}).ok());
  EXPECT_TRUE(ReadFile(path_) == Example("a segment"));
}

TEST_F(IndexFormatTest, TheSegmentOfTheDocumentIsReadAsItSays) {
  std::ofstream(path_, std::ios::binary) << Example("a segment");
  const auto segment = Segment::Open(path_, kSpec, kSegmentIdentity);
  ASSERT_TRUE(segment.ok()) << segment.status();
  EXPECT_EQ((*segment)->first_row(), 1000U);
  EXPECT_EQ((*segment)->end_row(), 1004U);
  EXPECT_EQ((*segment)->codebook_number(), 2U);
  EXPECT_EQ((*segment)->List(0).count, 1U);
  EXPECT_EQ((*segment)->List(1).count, 2U);
  EXPECT_EQ((*segment)->PositionOf(1001), std::nullopt);
  const RowBlock all = (*segment)->All();
  const Row rows[] = {1002, 1000, 1003};
  const EntryId ids[] = {301, 300, 302};
  const char tokens[] = {8, 7, 9};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ((*segment)->PositionOf(rows[i]), i);
    EXPECT_EQ(all.ids[i], ids[i]);
    EXPECT_EQ(all.ValueAt(i, 4), std::string({tokens[i], 0, 0, 0}));
    EXPECT_EQ(all.AttributesAt(i).source, i == 0 ? 5U : 0U);
  }
}

}  // namespace
}  // namespace mneme
