#include "common/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

namespace mneme {
namespace {

using Character = std::pair<uint32_t, size_t>;

TEST(Utf8, ReadsCharactersOfOneToFourBytes) {
  const std::string text = "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x99\x82";
  EXPECT_EQ(CharacterAt(text, 0), Character('a', 1));
  EXPECT_EQ(CharacterAt(text, 1), Character(0xE4, 2));
  EXPECT_EQ(CharacterAt(text, 3), Character(0x20AC, 3));
  EXPECT_EQ(CharacterAt(text, 6), Character(0x1F642, 4));
  EXPECT_TRUE(IsUtf8(text));
  EXPECT_TRUE(IsUtf8(""));
}

TEST(Utf8, FindsNoCharacterInWhatIsNone) {
  for (const std::string text : {"\x80", "\xC0\x80", "\xC3", "\xC3(", "\xE0\x80\x80", "\xE2\x82", "\xED\xA0\x80",
                                 "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", ""}) {
    EXPECT_EQ(CharacterAt(text, 0), Character(kNoCharacter, 1)) << text;
    EXPECT_EQ(IsUtf8("a" + text), text.empty()) << text;
  }
}

TEST(Utf8, CutsBetweenCharactersAlone) {
  const std::string text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
  EXPECT_EQ(Utf8Prefix(text, text.size()), text);
  EXPECT_EQ(Utf8Prefix(text, 99), text);
  for (size_t most = 0; most <= text.size(); ++most) {
    const std::string_view cut = Utf8Prefix(text, most);
    EXPECT_LE(cut.size(), most);
    EXPECT_GT(cut.size() + 4, most);
    EXPECT_TRUE(IsUtf8(cut)) << most;
  }
  EXPECT_EQ(Utf8Prefix("\x80\x80\x80", 2), "");
}

TEST(Utf8, TakesTheCharactersAtTheEdges) {
  EXPECT_EQ(CharacterAt("\xC2\x80", 0), Character(0x80, 2));
  EXPECT_EQ(CharacterAt("\xE0\xA0\x80", 0), Character(0x800, 3));
  EXPECT_EQ(CharacterAt("\xED\x9F\xBF", 0), Character(0xD7FF, 3));
  EXPECT_EQ(CharacterAt("\xEE\x80\x80", 0), Character(0xE000, 3));
  EXPECT_EQ(CharacterAt("\xF4\x8F\xBF\xBF", 0), Character(0x10FFFF, 4));
}

}  // namespace
}  // namespace mneme
