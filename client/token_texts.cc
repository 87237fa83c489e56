#include "client/token_texts.h"

#include <re2/re2.h>

#include <array>
#include <cstdint>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/utf8.h"

namespace mneme {
namespace {

constexpr int16_t kNoByte = -1;

// The byte that each letter below 2^9 stands for: a printable byte for itself, the others, in order, for 256, 257, ..
std::array<int16_t, 512> ByteOfLetter() {
  std::array<int16_t, 512> bytes;
  bytes.fill(kNoByte);
  size_t next = 256;
  for (int16_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    bytes[printable ? static_cast<size_t>(byte) : next++] = byte;
  }
  return bytes;
}

}  // namespace

std::string ByteLevelText(std::string_view token) {
  static const std::array<int16_t, 512> kByteOfLetter = ByteOfLetter();
  std::string text;
  for (size_t at = 0; at < token.size();) {
    const auto [letter, bytes] = CharacterAt(token, at);
    if (letter >= kByteOfLetter.size() || kByteOfLetter[letter] == kNoByte) return "";
    text += static_cast<char>(kByteOfLetter[letter]);
    at += bytes;
  }
  return IsUtf8(text) ? text : "";
}

std::string BreakCharacters(const std::vector<std::string>& texts) {
  std::set<std::string_view> characters;  // UTF-8 sorts as its code points do
  for (const std::string_view text : texts) {
    for (size_t at = 0; at < text.size();) {
      const auto [point, bytes] = CharacterAt(text, at);
      if (point != kNoCharacter) characters.insert(text.substr(at, bytes));
      at += bytes;
    }
  }
  const RE2 no_identifier("[^\\pL\\pN_]");
  std::string breaks;
  for (const std::string_view character : characters) {
    if (RE2::FullMatch(re2::StringPiece(character.data(), character.size()), no_identifier)) breaks += character;
  }
  return breaks;
}

absl::StatusOr<std::string> EncodeFacts(const std::vector<std::string>& strings) {
  for (const std::string& each : strings) {
    if (each.empty() || each.find('\n') != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the string \"", absl::Utf8SafeCEscape(each), "\" is empty or holds a line break; a legal string may not"));
    }
  }
  return absl::StrJoin(strings, "\n");
}

std::vector<std::string> DecodeFacts(std::string_view stored) {
  return absl::StrSplit(absl::string_view(stored.data(), stored.size()), '\n', absl::SkipEmpty());
}

}  // namespace mneme
