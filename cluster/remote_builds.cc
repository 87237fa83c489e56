// Work that takes minutes, one shard after the other, and of each one replica: it has the cores of its machine to
// itself, and progress is that of the shard which is at work, as it is in one process.
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "cluster/progress_teller.h"
#include "cluster/remote_deployment_state.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/flat_progress.h"

namespace mneme {
namespace {

using Stub = ShardChannel::Stub;

std::vector<float> ColumnOf(absl::Span<const float> values) { return {values.begin(), values.end()}; }

}  // namespace

absl::StatusOr<bool> RemoteDeployment::Build(const MemoryHandle& memory, bool retrain, const GivenParts& given,
                                             const std::function<bool(const BuildProgress&)>& progress) const {
  const std::string body = Flat(memory->number, retrain, ColumnOf(given.centroids), ColumnOf(given.subvectors));
  bool any = false;
  ProgressTeller teller({}, {"reading", 0, 0}, [&](const FlatProgress& told) {
    return progress == nullptr || progress({StageOf(told), told.done, told.total});
  });
  for (const uint32_t number : state_->shards.all()) {
    const ShardChannel& shard = state_->shards.shard(number);
    // Replicas have the same rows, and each an index of its own.
    for (uint32_t replica = 0; replica < shard.replicas(); ++replica) {
      const auto hear = [&](std::string_view bytes) -> absl::Status {
        FlatProgress told;
        std::optional<bool> built;
        RETURN_IF_ERROR(Unflat(bytes, told, built));
        any |= built.value_or(false);
        told.done += told.total * replica;
        told.total *= shard.replicas();
        if (built.has_value() || teller.Tell(std::move(told))) return absl::OkStatus();
        return absl::CancelledError("the build was cancelled");
      };
      RETURN_IF_ERROR(shard.AskForMany(&Stub::BuildIndex, Question(body, replica), teller.limits(), hear));
    }
  }
  return any;
}

absl::Status RemoteDeployment::BuildIndex(const MemoryHandle& memory, bool retrain,
                                          std::function<bool(const BuildProgress&)> progress) {
  return Build(memory, retrain, {}, progress).status();
}

absl::Status RemoteDeployment::BuildIndexOn(const MemoryHandle& memory, const GivenParts& given,
                                            std::function<bool(const BuildProgress&)> progress) {
  ASSIGN_OR_RETURN(const bool taken, Build(memory, /*retrain=*/false, given, progress));
  if (taken) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("no partition has the ", limits::kMinIndexedRows,
                                                    " entries that an index needs, so nothing takes the centroids"));
}

absl::StatusOr<PruneOutcome> RemoteDeployment::Prune(const MemoryHandle& memory, PruneCommand command) {
  if (!state_->logs.empty()) {
    return absl::UnimplementedError(
        "pruning chooses what to merge by an index, and each replica of a shard has one of its own, so it is not "
        "served where shards have a replicated log");
  }
  command.stamp_ms = state_->clock.NowMs();
  PartitionSelection partition;
  partition.partitions = {command.partition};
  const std::vector<uint32_t> owners = state_->routing().OwnersOf(*memory, partition);
  if (owners.size() > 1 && command.guard.has_value()) {
    return absl::UnimplementedError(
        absl::StrCat("a guard over partition ", command.partition, ", which is spread over ", owners.size(),
                     " shards of other processes, is not served yet; prune without it, or a partition of one shard"));
  }
  PruneOutcome sum;
  const std::string body = Flat(memory->number, command);
  ProgressTeller teller(command.limits, {"searching", 0, 0}, [&](const FlatProgress& told) {
    return command.progress == nullptr || command.progress({StageOf(told), told.done, told.total});
  });
  for (const uint32_t owner : owners) {
    std::optional<PruneOutcome> outcome;
    const auto hear = [&, before = sum.entries](std::string_view bytes) -> absl::Status {
      FlatProgress told;
      RETURN_IF_ERROR(Unflat(bytes, told, outcome));
      if (outcome.has_value()) return absl::OkStatus();
      told.done += before;
      told.total += before;
      return teller.Tell(std::move(told)) ? absl::OkStatus() : absl::CancelledError("pruning was cancelled");
    };
    RETURN_IF_ERROR(state_->shards.shard(owner).AskForMany(&Stub::Prune, body, teller.limits(), hear));
    if (!outcome.has_value()) return absl::DataLossError("a shard did not say what pruning came to");
    sum.entries += outcome->entries;
    sum.merged += outcome->merged;
    sum.overtaken += outcome->overtaken;
    sum.perplexity_before = outcome->perplexity_before;
    sum.perplexity_after = outcome->perplexity_after;
  }
  return sum;
}

}  // namespace mneme
