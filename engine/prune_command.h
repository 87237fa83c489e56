// PruneCommand: what can be asked of pruning, and what it answers. Plain data, validated by who builds it.
#ifndef MNEME_ENGINE_PRUNE_COMMAND_H_
#define MNEME_ENGINE_PRUNE_COMMAND_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "common/aligned_buffer.h"
#include "common/columns.h"
#include "engine/commands.h"

namespace mneme {

// Queries with what followed them, and by how much their perplexity may rise. TOKEN values only.
struct PruneGuard {
  AlignedBuffer queries;  // [count x dimension] f32
  size_t count = 0;
  std::vector<Token> targets;        // [count]
  std::vector<float> lm_log_probs;   // [count]
  uint32_t k = 0;
  double temperature = 1.0;
  double knn_weight = 0.0;
  double max_perplexity_rise = 0.0;
};

struct PruneProgress {
  const char* stage = "searching";  // "searching", "guarding", "writing"
  uint64_t entries_done = 0;
  uint64_t entries_total = 0;
};

struct PruneCommand {
  PartitionId partition = 0;
  uint32_t neighbours = 0;
  bool exact = false;
  double recall_target = 0.95;
  uint32_t probes = 0;
  std::optional<PruneGuard> guard;
  bool dry_run = false;
  int64_t stamp_ms = 0;  // what expired before it is left alone
  CallLimits limits;
  std::function<bool(const PruneProgress&)> progress;  // false cancels
  // Of one part of a partition, whose guard another process reckons over all parts (prune_guard.h); empty: it is
  // reckoned here. `share` is given the neighbours of the guard's queries in this part, batch by batch, and ends the
  // work with its error. `decided`, not for a dry run, then blocks until what was chosen may be written, or ends it.
  std::function<absl::Status(const NeighbourColumns& found)> share;
  std::function<absl::Status()> decided;
};

struct PruneOutcome {
  uint64_t entries = 0;    // before
  uint64_t merged = 0;     // into others; would be, in a dry run
  uint64_t overtaken = 0;  // merges left out because an entry was written or removed meanwhile
  std::optional<double> perplexity_before;  // infinite where the exponential overflows
  std::optional<double> perplexity_after;
  Sequence sequence = 0;  // of the last merges, where the log of their shard has them; 0: it has none, or no merges
};

}  // namespace mneme

#endif  // MNEME_ENGINE_PRUNE_COMMAND_H_
