// VocabularyFile: vocabularies for token masks as files hold them.
#ifndef MNEME_CLIENT_CLI_VOCABULARY_FILE_H_
#define MNEME_CLIENT_CLI_VOCABULARY_FILE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/stored_vocabulary.h"

namespace mneme::cli {

struct VocabularyFiles {
  std::string json;   // {"token": id} or a list; or
  std::string texts;  // lines
  bool byte_level = false;
  std::vector<std::string> special;  // ids and ranges of ids
  std::string break_characters;      // empty: all that are no part of an identifier
};

// Both ends included.
struct IdRange {
  uint64_t first = 0;
  uint64_t last = 0;
};
// "7" or "0-4"; nullopt for anything else.
std::optional<IdRange> ParseIdRange(const std::string& text);

// Returns INVALID_ARGUMENT, naming flag or file, value and bound, for what is no vocabulary.
absl::StatusOr<StoredVocabulary> ReadVocabulary(const VocabularyFiles& files);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_VOCABULARY_FILE_H_
