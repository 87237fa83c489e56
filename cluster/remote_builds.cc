// Work that takes minutes, one shard after the other, and of each one replica: it has the cores of its machine to
// itself, and progress is that of the shard which is at work, as it is in one process.
#include <optional>
#include <string_view>
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
    const std::vector<ShardChannel::Place> replicas = shard.places();
    bool asked = false;
    for (size_t at = 0; at < replicas.size(); ++at) {
      const auto hear = [&](std::string_view bytes) -> absl::Status {
        FlatProgress told;
        std::optional<bool> built;
        RETURN_IF_ERROR(Unflat(bytes, told, built));
        any |= built.value_or(false);
        told.done += told.total * at;
        told.total *= replicas.size();
        if (built.has_value() || teller.Tell(std::move(told))) return absl::OkStatus();
        return absl::CancelledError("the build was cancelled");
      };
      const absl::Status ended = shard.AskForMany(&Stub::BuildIndex, Question(body, replicas[at].replica),
                                                  teller.limits(), hear);
      if (absl::IsUnavailable(ended) && !shard.Has(replicas[at].replica)) continue;  // it was drained meanwhile
      RETURN_IF_ERROR(ended);
      asked = true;
    }
    if (!asked) return ReplicasChanged(number);
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

}  // namespace mneme
