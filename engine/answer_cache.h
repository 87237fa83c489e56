// AnswerCache: what a version answered to a key, for when the same key is asked again: the prompt that many requests
// begin with, beams that have not parted yet, a call that is retried.
//
// An answer belongs to one version of one partition and to everything that decided it, compared bit by bit; a write
// makes another version, so that nothing is ever stale. What is asked for the first time is only noted: answers are
// kept from the second time on, and the least recently used go first.
#ifndef MNEME_ENGINE_ANSWER_CACHE_H_
#define MNEME_ENGINE_ANSWER_CACHE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "index/search.h"

namespace mneme {

// Thread-safe.
class AnswerCache {
 public:
  // Keeps answers in about `bytes` of ram; 0: keeps none, and every search is passed on.
  explicit AnswerCache(uint64_t bytes);
  ~AnswerCache();

  // What Search() answers, from here where it is known. Searches of several partitions, with a filter, exclusions or
  // stored keys, and of entries that expire are passed on.
  absl::StatusOr<SearchResult> Search(absl::Span<const std::shared_ptr<const IndexVersion>> versions,
                                      const SearchRequest& request);

  struct Counts {
    uint64_t asked = 0;     // queries that could have been answered from here
    uint64_t answered = 0;  // and those that were
    uint64_t ram_bytes = 0;
  };
  Counts counts() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_ANSWER_CACHE_H_
