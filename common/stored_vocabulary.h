// StoredVocabulary: a vocabulary as its register holds it (docs/formats.md), read and written by servers and clients.
#ifndef MNEME_COMMON_STORED_VOCABULARY_H_
#define MNEME_COMMON_STORED_VOCABULARY_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mneme {

// The session whose registers are vocabularies.
inline constexpr char kVocabularies[] = "vocabularies";

struct StoredVocabulary {
  std::vector<std::string> texts;  // of the tokens; empty: never allowed
  std::string break_characters;    // UTF-8
};

// u32 count, u32 bytes[count], the texts one after the other, and for the rest the break characters.
std::string EncodeVocabulary(const StoredVocabulary& vocabulary);
// Returns INVALID_ARGUMENT when `stored` ends within the texts.
absl::StatusOr<StoredVocabulary> DecodeVocabulary(std::string_view stored);

}  // namespace mneme

#endif  // MNEME_COMMON_STORED_VOCABULARY_H_
