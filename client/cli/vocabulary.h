// Vocabulary: tokens as text.
#ifndef MNEME_CLIENT_CLI_VOCABULARY_H_
#define MNEME_CLIENT_CLI_VOCABULARY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace mneme::cli {

// The lines of a vocab.txt: the text of token i is line i + 1. Immutable, thread-safe.
class Vocabulary {
 public:
  // An empty path gives an empty vocabulary. Returns NOT_FOUND if the file cannot be read.
  static absl::StatusOr<Vocabulary> Open(const std::string& path);

  bool empty() const { return words_.empty(); }
  // The text of `token`; "<17>" for one that the file does not have.
  std::string Text(uint32_t token) const;

 private:
  std::vector<std::string> words_;
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_VOCABULARY_H_
