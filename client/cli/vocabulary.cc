#include "client/cli/vocabulary.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "common/status_macros.h"

namespace mneme::cli {

absl::StatusOr<Vocabulary> Vocabulary::Open(const std::string& path) {
  Vocabulary vocabulary;
  if (path.empty()) return vocabulary;
  ASSIGN_OR_RETURN(vocabulary.words_, ReadLines(path));
  if (vocabulary.words_.empty()) return absl::NotFoundError(absl::StrCat(path, ": no vocabulary can be read there"));
  return vocabulary;
}

std::string Vocabulary::Text(uint32_t token) const {
  return token < words_.size() ? words_[token] : absl::StrCat("<", token, ">");
}

}  // namespace mneme::cli
