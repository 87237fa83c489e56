// Pruning: each shard merges its own part, one after the other, by one of its replicas. A guard over several parts is
// reckoned here:
//
// 1. Each shard chooses, and then waits with what it chose.
// 2. Each answers the guard's queries from its part, as it is and as it would be; the answers merged are what one
//    process would read (engine/prune_guard.h).
// 3. Unless the guard refuses, each in turn is told to go on. Whatever ends this ends those that wait.
//
// Shards are asked in the order of their numbers: two prunes that each hold a worker of one shard never wait for each
// other's.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cluster/progress_teller.h"
#include "cluster/remote_deployment_state.h"
#include "cluster/shard_stream.h"
#include "common/random_number.h"
#include "common/status_macros.h"
#include "engine/flat_progress.h"
#include "engine/prune_guard.h"
#include "index/search.h"

namespace mneme {
namespace {

using Async = ShardChannel::Async;
using Stub = ShardChannel::Stub;

absl::Status Cancelled() { return absl::CancelledError("pruning was cancelled"); }

class RemotePrune {
 public:
  // Borrows all. `command` tells its progress to the teller.
  RemotePrune(const ShardFan& shards, const MemoryRecord& memory, const PruneCommand& command, ProgressTeller& teller)
      : shards_(shards), memory_(memory), command_(command), teller_(teller) {}

  absl::StatusOr<PruneOutcome> Run(const std::vector<uint32_t>& owners) {
    const bool guards_all = owners.size() > 1 && command_.guard.has_value();
    if (guards_all) number_ = RandomNumber();
    for (const uint32_t owner : owners) {
      Ask(owner);
      RETURN_IF_ERROR(guards_all ? HearAnswer(parts_.back()) : End(parts_.back()));
      if (guards_all) sum_.entries += parts_.back().entries;
    }
    if (!guards_all) return sum_;
    const auto search = [this](bool, size_t, size_t count) { return Search(count); };
    RETURN_IF_ERROR(ReckonGuard(command_, search, sum_));
    sum_.entries = 0;
    for (Part& part : parts_) {
      if (!command_.dry_run) RETURN_IF_ERROR(GoOn(part));
      RETURN_IF_ERROR(End(part));
    }
    return sum_;
  }

 private:
  struct Part {
    const ShardChannel* shard = nullptr;
    std::unique_ptr<ShardStream> stream;
    uint64_t entries = 0;                        // as far as is known
    std::optional<NeighbourColumns> found = {};  // of the guard's next queries, heard and not taken
    std::optional<PruneOutcome> outcome = {};
    Sequence sequence = 0;                       // of the outcome
  };

  void Ask(uint32_t owner) {
    Part& part = parts_.emplace_back();
    part.shard = &shards_.shard(owner);
    const std::string body = Flat(memory_.number, command_, shards_.PartOf({}, owner), number_);
    part.stream = std::make_unique<ShardStream>(*part.shard, &Stub::Prune, body, teller_.limits());
  }

  // Takes the next answer of a part.
  absl::Status Hear(Part& part) {
    ASSIGN_OR_RETURN(const std::optional<std::string> bytes, part.stream->Next());
    if (!bytes.has_value()) return absl::DataLossError("a shard did not say what pruning came to");
    FlatProgress told;
    RETURN_IF_ERROR(Unflat(*bytes, told, part.found, part.outcome, part.sequence));
    if (part.found.has_value() || part.outcome.has_value()) return absl::OkStatus();
    part.entries = std::max(part.entries, told.total);
    told.done += sum_.entries;
    told.total += sum_.entries;
    return teller_.Tell(std::move(told)) ? absl::OkStatus() : Cancelled();
  }

  // Until it has an answer for the guard: the first says that the shard has chosen.
  absl::Status HearAnswer(Part& part) {
    while (!part.found.has_value()) {
      RETURN_IF_ERROR(Hear(part));
      if (part.outcome.has_value()) return absl::DataLossError("a shard ended a prune before its guard was answered");
    }
    return absl::OkStatus();
  }

  // Step 2: of the next `count` queries, which each shard answers in the same order.
  absl::StatusOr<NeighbourColumns> Search(size_t count) {
    std::vector<NeighbourColumns> found;
    for (Part& part : parts_) {
      RETURN_IF_ERROR(HearAnswer(part));
      found.push_back(*std::exchange(part.found, std::nullopt));
      RETURN_IF_ERROR(CheckAnswer(found.back(), count));
    }
    std::vector<const NeighbourColumns*> parts;
    for (const NeighbourColumns& each : found) parts.push_back(&each);
    return MergeNeighbours(parts, command_.guard->k);
  }

  static absl::Status CheckAnswer(const NeighbourColumns& answer, size_t count) {
    RETURN_IF_ERROR(CheckWhole(answer));
    const bool whole = answer.queries() == count && answer.ids.size() == answer.size() &&
                       answer.values.width == sizeof(Token) && answer.key_bytes == 0;
    return whole ? absl::OkStatus() : absl::DataLossError("a shard's answer to a guard is not whole");
  }

  // Step 3.
  absl::Status GoOn(const Part& part) const {
    return part.shard->AskAndWait(&Async::GoOnPrune, Question(Flat(number_), part.stream->replica()), teller_.limits())
        .status();
  }

  // Hears a part to its end.
  absl::Status End(Part& part) {
    while (!part.outcome.has_value()) RETURN_IF_ERROR(Hear(part));
    part.stream.reset();
    sum_.entries += part.outcome->entries;
    sum_.merged += part.outcome->merged;
    sum_.overtaken += part.outcome->overtaken;
    if (part.outcome->perplexity_before.has_value()) {
      sum_.perplexity_before = part.outcome->perplexity_before;
      sum_.perplexity_after = part.outcome->perplexity_after;
    }
    if (part.sequence != 0) part.shard->Saw(part.sequence);
    return absl::OkStatus();
  }

  const ShardFan& shards_;
  const MemoryRecord& memory_;
  const PruneCommand& command_;
  ProgressTeller& teller_;
  uint64_t number_ = 0;  // names the prune to the shards that wait for it; 0: each decides for itself
  std::vector<Part> parts_;
  PruneOutcome sum_;
};

}  // namespace

absl::StatusOr<PruneOutcome> RemoteDeployment::Prune(const MemoryHandle& memory, PruneCommand command) {
  command.stamp_ms = state_->clock.NowMs();
  PartitionSelection partition;
  partition.partitions = {command.partition};
  ProgressTeller teller(command.limits, {"searching", 0, 0},
                        [progress = std::move(command.progress)](const FlatProgress& told) {
                          return progress == nullptr || progress({StageOf(told), told.done, told.total});
                        });
  command.progress = [&teller](const PruneProgress& step) {
    return teller.Tell({step.stage, step.entries_done, step.entries_total});
  };
  return RemotePrune(state_->shards, *memory, command, teller)
      .Run(state_->routing().OwnersOf(*memory, partition));
}

}  // namespace mneme
