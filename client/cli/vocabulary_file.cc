#include "client/cli/vocabulary_file.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/bytes_file.h"
#include "client/cli/exit_code.h"
#include "client/cli/json_text.h"
#include "client/token_texts.h"
#include "common/limits.h"
#include "common/option_text.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

absl::Status NoVocabulary(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

// Tokens by their ids; ids that none has are empty.
absl::StatusOr<std::vector<std::string>> ReadJsonTokens(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadBytes(path));
  const Json json = ParseJson(text).value_or(Json());
  if (!json.is_object() && !json.is_array()) return NoVocabulary(path, "is neither a JSON object nor a list");
  std::vector<std::string> tokens;
  for (const auto& [key, value] : json.items()) {
    if (json.is_array()) {
      if (!value.is_string()) {
        return NoVocabulary(path, absl::StrCat("token ", key, " is ", value.dump(), "; must be a string"));
      }
      tokens.push_back(value.get<std::string>());
      continue;
    }
    if (!value.is_number_unsigned() || value.get<uint64_t>() >= limits::kMaxVocabularySize) {
      return NoVocabulary(path, absl::StrCat("the id of \"", key, "\" is ", value.dump(), "; must be in [0, ",
                                             limits::kMaxVocabularySize, ")"));
    }
    const auto id = value.get<size_t>();
    if (id >= tokens.size()) tokens.resize(id + 1);
    tokens[id] = key;
  }
  return tokens;
}

// Empties the texts of special tokens.
absl::Status EmptySpecial(const std::string& text, std::vector<std::string>& texts) {
  const std::optional<IdRange> range = ParseIdRange(text);
  if (!range.has_value() || range->last >= texts.size()) {
    return UsageError(NotTaken("--special", text,
                               absl::StrCat("an id below ", texts.size(), ", or a range of them, as 0-4")));
  }
  std::fill(texts.begin() + static_cast<int64_t>(range->first), texts.begin() + static_cast<int64_t>(range->last) + 1,
            "");
  return absl::OkStatus();
}

}  // namespace

std::optional<IdRange> ParseIdRange(const std::string& text) {
  const std::vector<std::string> ends = absl::StrSplit(text, '-');
  IdRange range;
  if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &range.first) || !absl::SimpleAtoi(ends.back(), &range.last) ||
      range.first > range.last) {
    return std::nullopt;
  }
  return range;
}

absl::StatusOr<StoredVocabulary> ReadVocabulary(const VocabularyFiles& files) {
  if (files.json.empty() && files.texts.empty()) return UsageError("vocabulary put needs --json or --texts");
  StoredVocabulary vocabulary;
  if (files.json.empty()) {
    ASSIGN_OR_RETURN(vocabulary.texts, ReadLines(files.texts));
  } else {
    ASSIGN_OR_RETURN(vocabulary.texts, ReadJsonTokens(files.json));
  }
  for (const std::string& range : files.special) RETURN_IF_ERROR(EmptySpecial(range, vocabulary.texts));
  if (files.byte_level) {
    for (std::string& text : vocabulary.texts) text = ByteLevelText(text);
  }
  vocabulary.break_characters =
      files.break_characters.empty() ? BreakCharacters(vocabulary.texts) : files.break_characters;
  return vocabulary;
}

}  // namespace mneme::cli
