// TokenTexts: what monitor-guided decoding needs to know of a tokenizer, and legal strings as a register holds them.
#ifndef MNEME_CLIENT_TOKEN_TEXTS_H_
#define MNEME_CLIENT_TOKEN_TEXTS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mneme {

// The text of a token of a byte-level vocabulary (GPT-2's, as vocab.json has it), which writes each byte as a letter of
// its own; empty where it is a part of a character, which is no text by itself, or not byte-level at all.
std::string ByteLevelText(std::string_view token);

// Every character of `texts` that is no part of an identifier (neither letter, number nor underscore), each once, by
// code point. What is no UTF-8 counts for nothing.
std::string BreakCharacters(const std::vector<std::string>& texts);

// Legal strings as a register, one a line. Returns INVALID_ARGUMENT, naming the string, if one is empty or holds a line
// break.
absl::StatusOr<std::string> EncodeFacts(const std::vector<std::string>& strings);
std::vector<std::string> DecodeFacts(std::string_view stored);

}  // namespace mneme

#endif  // MNEME_CLIENT_TOKEN_TEXTS_H_
