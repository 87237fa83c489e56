#include "client/token_texts.h"

#include <gtest/gtest.h>

namespace mneme {
namespace {

TEST(ByteLevelText, ReadsLettersAsBytes) {
  EXPECT_EQ(ByteLevelText("get"), "get");
  EXPECT_EQ(ByteLevelText("\u0120get"), " get");       // a space
  EXPECT_EQ(ByteLevelText(")\u010A"), ")\n");          // a line break
  EXPECT_EQ(ByteLevelText("\u00C3\u0141"), "\u00DF");  // both bytes of one letter
  EXPECT_EQ(ByteLevelText("\u0143"), "");              // 173 alone, the last letter
}

TEST(ByteLevelText, IsEmptyForPartsOfCharactersAndForOtherLetters) {
  EXPECT_EQ(ByteLevelText("\u00C3"), "");
  EXPECT_EQ(ByteLevelText("\u0144"), "");
  EXPECT_EQ(ByteLevelText("a b"), "");  // a space is never written as itself
  EXPECT_EQ(ByteLevelText("\u20AC"), "");
  EXPECT_EQ(ByteLevelText("\xFF"), "");
}

TEST(BreakCharacters, AreWhatIsNoPartOfAnIdentifier) {
  EXPECT_EQ(BreakCharacters({"get_1(", " x.", "", "(", "\u00E4\u00B2\u4E00\u00AB\u20AC", "\xFF"}), " (.\u00AB\u20AC");
}

TEST(Facts, AreOneALine) {
  const std::vector<std::string> strings = {"withIp", "build"};
  EXPECT_EQ(EncodeFacts(strings).value(), "withIp\nbuild");
  EXPECT_EQ(DecodeFacts("withIp\nbuild"), strings);
  EXPECT_TRUE(DecodeFacts("").empty());
  for (const char* bad : {"", "a\nb"}) {
    EXPECT_EQ(EncodeFacts({"withIp", bad}).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace mneme
