#include "common/utf8.h"

namespace mneme {

std::pair<uint32_t, size_t> CharacterAt(std::string_view text, size_t at) {
  constexpr std::pair<uint32_t, size_t> kNone = {kNoCharacter, 1};
  if (at >= text.size()) return kNone;
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[at + i])); };
  const uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || at + length > text.size()) return kNone;
  uint32_t point = first & (0xFFU >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80) return kNone;
    point = point << 6 | (byte(i) & 0x3FU);
  }
  const uint32_t least = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80;
  const bool surrogate = point >= 0xD800 && point < 0xE000;
  if (point < least || point > 0x10FFFF || surrogate) return kNone;
  return {point, length};
}

bool IsUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const auto [point, bytes] = CharacterAt(text, at);
    if (point == kNoCharacter) return false;
    at += bytes;
  }
  return true;
}

std::string_view Utf8Prefix(std::string_view text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<uint8_t>(text[most]) & 0xC0U) == 0x80) --most;
  return text.substr(0, most);
}

}  // namespace mneme
