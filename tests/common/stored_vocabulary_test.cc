#include "common/stored_vocabulary.h"

#include <gtest/gtest.h>

namespace mneme {
namespace {

const std::string kStored(
    "\x03\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"
    "get(.(",
    22);

TEST(StoredVocabulary, IsTheseBytes) {
  EXPECT_EQ(EncodeVocabulary({{"ge", "", "t"}, "(.("}), kStored);
  const absl::StatusOr<StoredVocabulary> decoded = DecodeVocabulary(kStored);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->texts, std::vector<std::string>({"ge", "", "t"}));
  EXPECT_EQ(decoded->break_characters, "(.(");
}

TEST(StoredVocabulary, MayHaveNoTokens) {
  EXPECT_EQ(DecodeVocabulary(EncodeVocabulary({}))->texts.size(), 0U);
}

TEST(StoredVocabulary, IsRefusedWhereItEndsWithinTheTexts) {
  for (size_t bytes = 0; bytes < 19; ++bytes) {
    EXPECT_EQ(DecodeVocabulary(kStored.substr(0, bytes)).status().code(), absl::StatusCode::kInvalidArgument) << bytes;
  }
  EXPECT_TRUE(DecodeVocabulary(kStored.substr(0, 19)).ok());
  EXPECT_FALSE(DecodeVocabulary(std::string(64, '\xFF')).ok());
}

}  // namespace
}  // namespace mneme
