// Utf8: text as code points.
#ifndef MNEME_COMMON_UTF8_H_
#define MNEME_COMMON_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace mneme {

inline constexpr uint32_t kNoCharacter = UINT32_MAX;

// The code point that begins at byte `at`, and its bytes; kNoCharacter and 1 where there is none, or no UTF-8 (a
// surrogate or a longer form than needed included).
std::pair<uint32_t, size_t> CharacterAt(std::string_view text, size_t at);

// True where all of `text` is UTF-8.
bool IsUtf8(std::string_view text);

// The first bytes of `text`, at most `most`, and no part of a character at their end: what a message shows of a text of
// any length. One that is no UTF-8 is none to protobuf, which then reads nothing of the details of an error.
std::string_view Utf8Prefix(std::string_view text, size_t most);

}  // namespace mneme

#endif  // MNEME_COMMON_UTF8_H_
