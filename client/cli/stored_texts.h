// StoredTexts: vocabularies for token masks as registers of a memory.
#ifndef MNEME_CLIENT_CLI_STORED_TEXTS_H_
#define MNEME_CLIENT_CLI_STORED_TEXTS_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/cli/describe.h"
#include "client/cli/session.h"
#include "common/stored_vocabulary.h"

namespace mneme::cli {

// Returns NOT_FOUND if the memory has no vocabulary of this name.
absl::StatusOr<StoredVocabulary> FetchVocabulary(const std::string& memory, const std::string& name, Session& session);

// How many tokens there are and how many of them have a text; `json` is what the JSON begins with.
void PrintVocabulary(const StoredVocabulary& vocabulary, Json json, Session& session);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_STORED_TEXTS_H_
