#include "engine/prune_guard.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "readout/distribution.h"

namespace mneme {
namespace {

// ln of the mixture's probability of the target of `query`, whose neighbours are row `row` of `found`.
double LogProb(const PruneGuard& guard, const NeighbourColumns& found, size_t row, size_t query) {
  const size_t begin = found.offsets[row];
  const size_t count = found.offsets[row + 1] - begin;
  const auto* tokens = reinterpret_cast<const Token*>(found.values.bytes.data());
  const ScoredTokens neighbours{absl::MakeConstSpan(found.scores).subspan(begin, count),
                                absl::MakeConstSpan(tokens + begin, count),
                                absl::MakeConstSpan(found.weights).subspan(begin, count)};
  double log_knn = 0.0;
  double mass = 0.0;
  TargetLogProbs(neighbours, guard.temperature, {guard.k}, guard.targets[query], /*allowed=*/nullptr,
                 absl::MakeSpan(&log_knn, 1), absl::MakeSpan(&mass, 1));
  const double log_lm = guard.lm_log_probs[query];
  return std::isinf(mass) ? log_lm : MixLogProbs(log_knn, log_lm, guard.knn_weight);
}

}  // namespace

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

absl::Status ForEachGuardBatch(const PruneGuard& guard,
                               const std::function<absl::Status(bool pruned, size_t first, size_t count)>& each) {
  for (const bool pruned : {false, true}) {
    for (size_t first = 0; first < guard.count; first += limits::kMaxBatchedRows) {
      RETURN_IF_ERROR(each(pruned, first, std::min<size_t>(limits::kMaxBatchedRows, guard.count - first)));
    }
  }
  return absl::OkStatus();
}

absl::Status ReckonGuard(const PruneCommand& command, const GuardSearch& search, PruneOutcome& outcome) {
  const PruneGuard& guard = *command.guard;
  double nats[2] = {0.0, 0.0};  // as it is, and as it would be
  const auto reckon = [&](bool pruned, size_t first, size_t count) -> absl::Status {
    ASSIGN_OR_RETURN(const NeighbourColumns found, search(pruned, first, count));
    for (size_t i = 0; i < count; ++i) nats[pruned ? 1 : 0] += LogProb(guard, found, i, first + i);
    const PruneProgress done{"guarding", (pruned ? guard.count : 0) + first + count, 2 * guard.count};
    if (command.progress == nullptr || command.progress(done)) return absl::OkStatus();
    return absl::CancelledError("pruning was cancelled");
  };
  RETURN_IF_ERROR(ForEachGuardBatch(guard, reckon));
  const auto queries = static_cast<double>(std::max<size_t>(1, guard.count));
  outcome.perplexity_before = std::exp(-nats[0] / queries);
  outcome.perplexity_after = std::exp(-nats[1] / queries);
  if (command.dry_run) return absl::OkStatus();
  return CheckGuard(*outcome.perplexity_before, *outcome.perplexity_after, guard.max_perplexity_rise);
}

}  // namespace mneme
