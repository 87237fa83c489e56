#include "engine/prune.h"

#include <algorithm>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/merge_entries.h"
#include "index/search.h"

namespace mneme {
namespace {

// Merged entries of one group, and bytes of the survivors that it writes anew: what the writer does in about ten
// milliseconds, between the writes of others.
constexpr size_t kMergeGroupRows = 4096;
constexpr size_t kMergeGroupBytes = 8 * 1024 * 1024;
// The same where a log has the group: the writer of every replica reads its rows from the store one by one.
constexpr size_t kLoggedGroupRows = 1024;

// One shard's part of the partition.
struct Part {
  Shard* shard = nullptr;
  PartitionKey key;
  uint64_t generation = 0;
  std::shared_ptr<const IndexVersion> version;
  MergeEntries merges;
};

using Versions = std::vector<std::shared_ptr<const IndexVersion>>;

absl::StatusOr<MergeResult> SubmitAndWait(Shard& shard, MergeOperation operation) {
  auto told = std::make_shared<std::promise<absl::StatusOr<MergeResult>>>();
  std::future<absl::StatusOr<MergeResult>> written = told->get_future();
  operation.done = [told](absl::StatusOr<MergeResult> result) { told->set_value(std::move(result)); };
  RETURN_IF_ERROR(shard.Submit(std::move(operation)));
  return written.get();
}

class Pruning {
 public:
  Pruning(MemoryHandle memory, const PruneCommand& command, const MergeWriter& writer)
      : memory_(std::move(memory)), command_(command), writer_(writer) {}

  absl::StatusOr<PruneOutcome> Run(absl::Span<Shard* const> shards) {
    RETURN_IF_ERROR(Choose(shards));
    if (command_.guard.has_value()) RETURN_IF_ERROR(Guard());
    if (!command_.dry_run) RETURN_IF_ERROR(Write());
    return outcome_;
  }

 private:
  bool Tell(const char* stage, uint64_t done, uint64_t total) const {
    return command_.progress == nullptr || command_.progress({stage, done, total});
  }

  // Step 1.
  absl::Status Choose(absl::Span<Shard* const> shards) {
    const PartitionKey key{memory_->number, command_.partition};
    uint64_t live_rows = 0;
    for (Shard* shard : shards) {
      ASSIGN_OR_RETURN(const auto published, shard->PublishedOf(key));
      if (published == nullptr) continue;
      parts_.push_back({shard, key, published->generation, published->version, {memory_, published->version}});
      live_rows += published->live_rows;
    }
    RETURN_IF_ERROR(CheckPrunable(live_rows));
    for (Part& part : parts_) {
      RETURN_IF_ERROR(part.merges.Collect(command_));
      outcome_.entries += part.merges.entries();
    }
    uint64_t before = 0;
    for (Part& part : parts_) {
      RETURN_IF_ERROR(part.merges.Choose(
          command_, [&](uint64_t done) { return Tell("searching", before + done, outcome_.entries); }));
      before += part.merges.entries();
      outcome_.merged += part.merges.merged();
    }
    return absl::OkStatus();
  }

  // Step 2.
  absl::Status Guard() {
    for (const Part& part : parts_) {
      before_.push_back(part.version);
      after_.push_back(part.merges.VersionAfter());
    }
    if (command_.share == nullptr) {
      const auto search = [this](bool pruned, size_t first, size_t count) { return Search(pruned, first, count); };
      return ReckonGuard(command_, search, outcome_);
    }
    const auto share = [this](bool pruned, size_t first, size_t count) -> absl::Status {
      ASSIGN_OR_RETURN(const NeighbourColumns found, Search(pruned, first, count));
      return command_.share(found);
    };
    RETURN_IF_ERROR(ForEachGuardBatch(*command_.guard, share));
    return command_.dry_run ? absl::OkStatus() : command_.decided();
  }

  absl::StatusOr<NeighbourColumns> Search(bool pruned, size_t first, size_t count) const {
    const PruneGuard& guard = *command_.guard;
    RowFilter visible;
    visible.stamp_ms = command_.stamp_ms;
    SearchRequest request;
    request.spec = MakeIndexSpec(memory_->spec);
    request.queries = guard.queries.as<float>() + first * request.spec.dimension;
    request.query_count = count;
    request.k = guard.k;
    request.exact = true;
    request.filter = &visible;
    request.stop = [this] { return command_.limits.Check(); };
    ASSIGN_OR_RETURN(SearchResult result, mneme::Search(pruned ? after_ : before_, request));
    NeighbourColumns& found = result.neighbours;
    found.weights.resize(found.size(), 1.0F);
    for (size_t i = 0; pruned && i < found.size(); ++i) found.weights[i] = WeightAfter(found.ids[i]);
    return std::move(found);
  }

  float WeightAfter(EntryId id) const {
    for (const Part& part : parts_) {
      if (const auto weight = part.merges.WeightAfter(id)) return *weight;
    }
    return 1.0F;
  }

  // Step 3.
  absl::Status Write() {
    const uint64_t chosen = outcome_.merged;
    outcome_.merged = 0;
    for (const Part& part : parts_) {
      MergeEntries::Cursor cursor;
      while (auto operation = part.merges.Next(cursor, writer_.group_rows, kMergeGroupBytes)) {
        RETURN_IF_ERROR(command_.limits.Check());
        if (!Tell("writing", outcome_.merged + outcome_.overtaken, chosen)) {
          return absl::CancelledError("pruning was cancelled");
        }
        operation->generation = part.generation;
        ASSIGN_OR_RETURN(const MergeResult written, writer_.write(*part.shard, *std::move(operation)));
        outcome_.merged += written.merged;
        outcome_.overtaken += written.overtaken;
        outcome_.sequence = std::max(outcome_.sequence, written.sequence);
      }
    }
    return absl::OkStatus();
  }

  const MemoryHandle memory_;
  const PruneCommand& command_;
  const MergeWriter& writer_;
  std::vector<Part> parts_;
  Versions before_;  // of the parts, for the guard
  Versions after_;
  PruneOutcome outcome_;
};

}  // namespace

absl::Status CheckPrunable(uint64_t entries) {
  if (entries <= limits::kMaxPrunedEntries) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat("the partition has %d entries; at most %d can be pruned at once",
                                                       entries, limits::kMaxPrunedEntries));
}

MergeWriter ByShards() {
  return {SubmitAndWait, kMergeGroupRows};
}

MergeWriter ByLog(const MergeLog& log, const CallLimits& limits) {
  return {[log, limits](Shard&, const MergeOperation& merges) { return log.Write(merges, limits); }, kLoggedGroupRows};
}

absl::StatusOr<PruneOutcome> Prune(absl::Span<Shard* const> shards, const MemoryHandle& memory,
                                   const PruneCommand& command, const MergeWriter& writer) {
  return Pruning(memory, command, writer).Run(shards);
}

}  // namespace mneme
