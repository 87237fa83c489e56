#include "server/vocabulary_cache.h"

#include <utility>

#include "common/checksum.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/stored_vocabulary.h"

namespace mneme {

absl::StatusOr<TokenVocabulary> ParseVocabulary(std::string_view stored) {
  ASSIGN_OR_RETURN(StoredVocabulary vocabulary, DecodeVocabulary(stored));
  return TokenVocabulary::Make(std::move(vocabulary.texts), vocabulary.break_characters);
}

absl::StatusOr<std::shared_ptr<const TokenVocabulary>> VocabularyCache::Get(MemoryNumber memory,
                                                                            const std::string& name, uint64_t version,
                                                                            std::string_view stored) {
  const std::pair key(memory, name);
  const uint64_t checksum = Checksum64(stored, version);
  {
    absl::MutexLock lock(&mutex_);
    const auto found = known_.find(key);
    if (found != known_.end() && found->second.version == version && found->second.checksum == checksum) {
      return found->second.vocabulary;
    }
  }
  ASSIGN_OR_RETURN(TokenVocabulary parsed, ParseVocabulary(stored));
  auto vocabulary = std::make_shared<const TokenVocabulary>(std::move(parsed));
  absl::MutexLock lock(&mutex_);
  if (known_.size() >= limits::kMaxKnownVocabularies) known_.clear();
  known_[key] = {checksum, version, vocabulary};
  return vocabulary;
}

}  // namespace mneme
