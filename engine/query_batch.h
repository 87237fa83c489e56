// QueryBatch: parts of several queries that one pass over the same versions answers, each as if it had been alone.
#ifndef MNEME_ENGINE_QUERY_BATCH_H_
#define MNEME_ENGINE_QUERY_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/answer_cache.h"
#include "engine/commands.h"
#include "index/search.h"

namespace mneme {

// Rows [begin, begin + count) of a query.
struct BatchMember {
  const QueryCommand* command = nullptr;  // lives until `answer` was called
  size_t begin = 0;
  size_t count = 0;
  std::function<void(absl::StatusOr<SearchResult>)> answer;
};

// True when both may be members of one SearchTogether(): of one lease, or of none. Deadlines, exclusions and stamps may
// differ.
bool SearchableTogether(const QueryCommand& a, const QueryCommand& b);
// Equal for queries of one memory and shard that are searchable together, and hardly ever for others. Never 0.
uint64_t BatchAffinity(MemoryNumber memory, uint32_t shard, const QueryCommand& command);

// What the index is asked for rows [begin, begin + count) of a query. Borrows `command`; `stop` is left empty.
SearchRequest MakeSearchRequest(const IndexSpec& spec, const QueryCommand& command, size_t begin, size_t count);

// Searches `versions` for all members (at least one); all are searchable together. In one pass, unless an entry expires
// between their stamps: each sees what lives at its own. Calls each member's `answer` exactly once before it returns:
// as soon as it is seen that its time is over or it was cancelled (the others go on), else at the end of its pass.
// RESOURCE_EXHAUSTED when there is too little ram even for the member alone; else what Search() says.
void SearchTogether(AnswerCache& answers, absl::Span<const std::shared_ptr<const IndexVersion>> versions,
                    const IndexSpec& spec, std::vector<BatchMember> members);

}  // namespace mneme

#endif  // MNEME_ENGINE_QUERY_BATCH_H_
