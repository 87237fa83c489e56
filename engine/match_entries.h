// Match: the best counterpart of each entry of two selections, by CSLS (readout/match.h), and what is remembered of it.
//
// A match compares every entry of one side with every one of the other: the means that correct for hubs are over whole
// sides, whichever entries are asked for. So it is made whole and kept by what both sides had alive, and whoever asks
// again, for all entries or for a few, gets it without a product.
#ifndef MNEME_ENGINE_MATCH_ENTRIES_H_
#define MNEME_ENGINE_MATCH_ENTRIES_H_

#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "engine/match_rows.h"
#include "engine/query_execution.h"
#include "readout/match.h"

namespace mneme {

// Rows are ordered by (id, partition). Keys of a cosine memory count as unit vectors.
struct MatchedEntries {
  std::vector<EntryId> source_ids;
  std::vector<EntryId> target_ids;
  MatrixMatch match;  // rows: the source side; empty when a side is
};

struct MatchOutcome {
  std::shared_ptr<const MatchedEntries> entries;
  Version version;         // of the target side
  uint64_t rows_read = 0;  // keys that were looked at for this answer, and
  uint64_t products = 0;   // multiplications; 0 when it was known
};

// What decides a match: parameters, and the rows that were alive.
struct MatchKey {
  // Two versions of one history with the same end and as many dead rows have the same rows alive.
  struct Content {
    std::shared_ptr<const RowHistory> history;
    Row end_row = 0;
    uint64_t dead = 0;
    friend bool operator==(const Content&, const Content&) = default;
  };
  struct Side {
    MemoryNumber memory = 0;
    std::vector<uint32_t> components;
    RowFilter filter;
    std::vector<Content> contents;
  };

  Side source;
  Side target;
  uint32_t csls_k = 0;
  CslsForm form = CslsForm::kHalf;
};

// Thread-safe. The lock is held to look up alone: who asks alike at the same time may make the same match twice.
class MatchCache {
 public:
  using Versions = std::vector<std::shared_ptr<const IndexVersion>>;

  // Keeps the matches used last within `budget_bytes`.
  explicit MatchCache(uint64_t budget_bytes = limits::kMaxMatchCacheBytes) : budget_bytes_(budget_bytes) {}

  // Null when `key` is not known. The versions of each side show what of it expired between the stamps.
  std::shared_ptr<const MatchedEntries> Find(const MatchKey& key, const Versions& sources, const Versions& targets);
  void Keep(MatchKey key, std::shared_ptr<const MatchedEntries> entries);
  // Drops what is known of a memory, on either side.
  void Forget(MemoryNumber memory);
  uint64_t ram_bytes() const;

 private:
  struct Known {
    MatchKey key;
    std::shared_ptr<const MatchedEntries> entries;
    uint64_t bytes = 0;
  };

  void Drop(std::list<Known>::iterator known) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const uint64_t budget_bytes_;
  mutable Mutex mutex_;
  std::list<Known> known_ ABSL_GUARDED_BY(mutex_);  // the most recently used first
  uint64_t ram_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

// As Deployment::Match, which has waited for the versions and set the stamps.
absl::StatusOr<MatchOutcome> MatchEntries(const QueryContext& context, const MatchCommand& command);

}  // namespace mneme

#endif  // MNEME_ENGINE_MATCH_ENTRIES_H_
