#include "engine/prune.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <limits>
#include <utility>

#include "absl/strings/str_format.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/merge_entries.h"
#include "index/search.h"
#include "readout/distribution.h"

namespace mneme {
namespace {

// Merged entries of one group, and bytes of the survivors that it writes anew: what the writer does in about ten
// milliseconds, between the writes of others.
constexpr size_t kMergeGroupRows = 4096;
constexpr size_t kMergeGroupBytes = 8 * 1024 * 1024;

// One shard's part of the partition.
struct Part {
  Shard* shard = nullptr;
  PartitionKey key;
  uint64_t generation = 0;
  std::shared_ptr<const IndexVersion> version;
  MergeEntries merges;
};

using Versions = std::vector<std::shared_ptr<const IndexVersion>>;

class Pruning {
 public:
  Pruning(MemoryHandle memory, const PruneCommand& command) : memory_(std::move(memory)), command_(command) {}

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
    Versions before;
    Versions after;
    for (const Part& part : parts_) {
      before.push_back(part.version);
      after.push_back(part.merges.VersionAfter());
    }
    const PruneGuard& guard = *command_.guard;
    ASSIGN_OR_RETURN(outcome_.perplexity_before, Perplexity(before, /*first_done=*/0));
    merged_weights_ = true;
    ASSIGN_OR_RETURN(outcome_.perplexity_after, Perplexity(after, guard.count));
    return command_.dry_run ? absl::OkStatus()
                            : CheckGuard(*outcome_.perplexity_before, *outcome_.perplexity_after,
                                         guard.max_perplexity_rise);
  }

  absl::StatusOr<double> Perplexity(const Versions& versions, uint64_t first_done) {
    const PruneGuard& guard = *command_.guard;
    double nats = 0.0;
    for (size_t first = 0; first < guard.count; first += limits::kMaxBatchedRows) {
      const size_t count = std::min(limits::kMaxBatchedRows, guard.count - first);
      ASSIGN_OR_RETURN(const NeighbourColumns found, Search(versions, first, count));
      for (size_t i = 0; i < count; ++i) nats += LogProb(found, i, first + i);
      if (!Tell("guarding", first_done + first + count, 2 * guard.count)) {
        return absl::CancelledError("pruning was cancelled");
      }
    }
    return std::exp(-nats / static_cast<double>(std::max<size_t>(1, guard.count)));
  }

  absl::StatusOr<NeighbourColumns> Search(const Versions& versions, size_t first, size_t count) const {
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
    ASSIGN_OR_RETURN(SearchResult found, mneme::Search(versions, request));
    return std::move(found.neighbours);
  }

  double LogProb(const NeighbourColumns& found, size_t row, size_t query) const {
    const PruneGuard& guard = *command_.guard;
    const size_t begin = found.offsets[row];
    const size_t count = found.offsets[row + 1] - begin;
    std::vector<float> weights(count);
    for (size_t i = 0; i < count; ++i) weights[i] = WeightOf(found, begin + i);
    const auto* tokens = reinterpret_cast<const Token*>(found.values.bytes.data());
    const ScoredTokens neighbours{absl::MakeConstSpan(found.scores).subspan(begin, count),
                                  absl::MakeConstSpan(tokens + begin, count), weights};
    double log_knn = 0.0;
    double mass = 0.0;
    TargetLogProbs(neighbours, guard.temperature, {guard.k}, guard.targets[query], /*allowed=*/nullptr,
                   absl::MakeSpan(&log_knn, 1), absl::MakeSpan(&mass, 1));
    const double log_lm = guard.lm_log_probs[query];
    return std::isinf(mass) ? log_lm : MixLogProbs(log_knn, log_lm, guard.knn_weight);
  }

  float WeightOf(const NeighbourColumns& found, size_t at) const {
    if (!merged_weights_) return found.weights.empty() ? 1.0F : found.weights[at];
    for (const Part& part : parts_) {
      if (const auto weight = part.merges.WeightAfter(found.ids[at])) return *weight;
    }
    return 1.0F;
  }

  // Step 3.
  absl::Status Write() {
    const uint64_t chosen = outcome_.merged;
    outcome_.merged = 0;
    for (const Part& part : parts_) {
      MergeEntries::Cursor cursor;
      while (auto operation = part.merges.Next(cursor, kMergeGroupRows, kMergeGroupBytes)) {
        RETURN_IF_ERROR(command_.limits.Check());
        if (!Tell("writing", outcome_.merged + outcome_.overtaken, chosen)) {
          return absl::CancelledError("pruning was cancelled");
        }
        operation->generation = part.generation;
        ASSIGN_OR_RETURN(const MergeResult written, SubmitAndWait(*part.shard, *std::move(operation)));
        outcome_.merged += written.merged;
        outcome_.overtaken += written.overtaken;
      }
    }
    return absl::OkStatus();
  }

  static absl::StatusOr<MergeResult> SubmitAndWait(Shard& shard, MergeOperation operation) {
    auto told = std::make_shared<std::promise<absl::StatusOr<MergeResult>>>();
    std::future<absl::StatusOr<MergeResult>> written = told->get_future();
    operation.done = [told](absl::StatusOr<MergeResult> result) { told->set_value(std::move(result)); };
    RETURN_IF_ERROR(shard.Submit(std::move(operation)));
    return written.get();
  }

  const MemoryHandle memory_;
  const PruneCommand& command_;
  std::vector<Part> parts_;
  bool merged_weights_ = false;
  PruneOutcome outcome_;
};

}  // namespace

absl::Status CheckPrunable(uint64_t entries) {
  if (entries <= limits::kMaxPrunedEntries) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat("the partition has %d entries; at most %d can be pruned at once",
                                                       entries, limits::kMaxPrunedEntries));
}

absl::Status CheckGuard(double before, double after, double max_rise) {
  if (std::isinf(before)) {
    return absl::FailedPreconditionError(
        "the guard's perplexity is beyond all numbers even before pruning, so it cannot tell a rise; nothing was "
        "pruned. Give log-probabilities of a language model that holds the targets for possible, and a knn_weight "
        "below 1");
  }
  if (std::isinf(after)) {
    return absl::FailedPreconditionError(
        absl::StrFormat("the guard's perplexity would rise from %.4f beyond all numbers; it may rise by %g, so nothing "
                        "was pruned",
                        before, max_rise));
  }
  if (after - before <= max_rise) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("the guard's perplexity would rise by %.4f, from %.4f to %.4f; it may rise by %g, so nothing was "
                      "pruned",
                      after - before, before, after, max_rise));
}

absl::StatusOr<PruneOutcome> Prune(absl::Span<Shard* const> shards, const MemoryHandle& memory,
                                   const PruneCommand& command) {
  return Pruning(memory, command).Run(shards);
}

}  // namespace mneme
