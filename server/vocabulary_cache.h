// VocabularyCache: parsed vocabularies by (memory, name), each of the version of the register that it was read from.
#ifndef MNEME_SERVER_VOCABULARY_CACHE_H_
#define MNEME_SERVER_VOCABULARY_CACHE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/types.h"
#include "readout/token_mask.h"

namespace mneme {

// A vocabulary as its register holds it (common/stored_vocabulary.h). Returns INVALID_ARGUMENT when it is none.
absl::StatusOr<TokenVocabulary> ParseVocabulary(std::string_view stored);

// Thread-safe.
class VocabularyCache {
 public:
  // The vocabulary of these bytes; errors as ParseVocabulary().
  absl::StatusOr<std::shared_ptr<const TokenVocabulary>> Get(MemoryNumber memory, const std::string& name,
                                                             uint64_t version, std::string_view stored);

 private:
  struct Known {
    uint64_t checksum = 0;
    uint64_t version = 0;
    std::shared_ptr<const TokenVocabulary> vocabulary;
  };
  absl::Mutex mutex_;
  std::map<std::pair<MemoryNumber, std::string>, Known> known_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_SERVER_VOCABULARY_CACHE_H_
