#include "client/cli/vocabulary.h"

#include <fstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mneme::cli {

absl::StatusOr<Vocabulary> Vocabulary::Open(const std::string& path) {
  Vocabulary vocabulary;
  if (path.empty()) return vocabulary;
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) vocabulary.words_.push_back(line);
  if (vocabulary.words_.empty()) return absl::NotFoundError(absl::StrCat(path, ": no vocabulary can be read there"));
  return vocabulary;
}

std::string Vocabulary::Text(uint32_t token) const {
  return token < words_.size() ? words_[token] : absl::StrCat("<", token, ">");
}

}  // namespace mneme::cli
