#include "server/vocabulary_cache.h"

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {

absl::StatusOr<TokenVocabulary> ParseVocabulary(std::string_view stored) {
  uint32_t count = 0;
  if (stored.size() >= sizeof(count)) std::memcpy(&count, stored.data(), sizeof(count));
  if (stored.size() < sizeof(count) + uint64_t{count} * sizeof(uint32_t)) {
    return absl::InvalidArgumentError(absl::StrCat("has ", stored.size(), " bytes, too few for ", count, " tokens"));
  }
  std::vector<uint32_t> bytes(count);
  stored.remove_prefix(sizeof(count));
  if (count != 0) std::memcpy(bytes.data(), stored.data(), count * sizeof(uint32_t));
  stored.remove_prefix(count * sizeof(uint32_t));
  std::vector<std::string> texts;
  texts.reserve(count);
  for (const uint32_t length : bytes) {
    if (length > stored.size()) {
      return absl::InvalidArgumentError(absl::StrCat("ends within the text of token ", texts.size()));
    }
    texts.emplace_back(stored.substr(0, length));
    stored.remove_prefix(length);
  }
  return TokenVocabulary::Make(std::move(texts), stored);
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
