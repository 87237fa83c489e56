#include "server/checkpoint_handlers.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/catalogue_teller.h"
#include "engine/flat_checkpoints.h"
#include "engine/shard_checkpoints.h"
#include "engine/shard_log.h"
#include "server/hosted_shard.h"

namespace mneme {
namespace {

using internal::v1::Answer;
using internal::v1::Call;

// How far the work is, until there is a result.
template <typename Result>
bool Say(const Tell<Answer>& tell, const char* stage, uint64_t done, uint64_t total,
         const std::optional<Result>& result = std::nullopt) {
  Answer answer;
  answer.set_body(Flat(FlatProgress{stage, done, total}, result));
  return tell(std::move(answer));
}

absl::Status NotHeard() { return absl::CancelledError("nobody reads the checkpoint any more"); }

}  // namespace

// Also while it replays: who asks wants to know how far it is. One of shard 0 that applies no more of the log of names
// tells none, whatever its entries do.
absl::Status HandleDescribeReplica(const CallContext& call, const Call& request, Answer* response) {
  const LocalDeployment& shard = Hosted(call.deployment);
  RETURN_IF_ERROR(CheckTarget(shard, request.target()));
  RETURN_IF_ERROR(Unflat(request.body()));
  const bool replays = !call.front_end.CheckReplayed().ok();
  return shard.DescribeReplicas({.limits = call.limits}, [&](const ReplicaDescription& told) {
    ReplicaDescription replica = told;
    if (replays && replica.state == ReplicaState::kServing) replica.state = ReplicaState::kReplaying;
    const CatalogueTeller* const names = call.front_end.catalogue_teller();
    if (const absl::Status told_names = names == nullptr ? absl::OkStatus() : names->applier().status();
        !told_names.ok()) {
      replica.state = ReplicaState::kFailed;
      replica.detail = absl::StrCat("it tells no names: ", told_names.message());
    }
    response->set_body(Flat(replica));
    return absl::OkStatus();
  });
}

absl::Status HandleDigest(const CallContext& call, const Call& request, const Tell<Answer>& tell) {
  std::optional<LogOffset> at;
  RETURN_IF_ERROR(Open(call, request, at));
  const auto waits = [&] { (void)Say<ShardDigest>(tell, "waiting", 0, 0); };
  const auto taken = [&] { (void)Say<ShardDigest>(tell, "reading", 0, 0); };
  const auto progress = [&](uint64_t bytes, uint64_t of_bytes) {
    return Say<ShardDigest>(tell, "reading", bytes, of_bytes);
  };
  ASSIGN_OR_RETURN(const ShardDigest digest,
                   Hosted(call.deployment).checkpoints()->Digest(at, call.limits, waits, taken, progress));
  (void)Say<ShardDigest>(tell, "done", 0, 0, digest);
  return absl::OkStatus();
}

absl::Status HandleOpenCheckpoint(const CallContext& call, const Call& request, const Tell<Answer>& tell) {
  RETURN_IF_ERROR(Open(call, request));
  const auto progress = [&](uint64_t bytes, uint64_t of_bytes) {
    return Say<CheckpointManifest>(tell, "reading", bytes, of_bytes);
  };
  ASSIGN_OR_RETURN(const CheckpointManifest manifest,
                   Hosted(call.deployment).checkpoints()->Open(call.limits, progress));
  (void)Say<CheckpointManifest>(tell, "done", 0, 0, manifest);
  return absl::OkStatus();
}

absl::Status HandleReadCheckpoint(const CallContext& call, const Call& request, const Tell<Answer>& tell) {
  uint64_t id = 0;
  uint64_t file = 0;
  uint64_t offset = 0;
  RETURN_IF_ERROR(Open(call, request, id, file, offset));
  ShardCheckpoints& checkpoints = *Hosted(call.deployment).checkpoints();
  size_t bytes = 0;
  do {
    absl::StatusOr<CheckpointChunk> chunk = checkpoints.Read(id, file, offset, call.limits);
    // A file whose length is a multiple of a chunk ends so.
    if (bytes != 0 && absl::IsOutOfRange(chunk.status())) return absl::OkStatus();
    RETURN_IF_ERROR(chunk.status());
    bytes = chunk->bytes.size();
    offset += bytes;
    Answer answer;
    answer.set_body(Flat(*chunk));
    if (!tell(std::move(answer))) return NotHeard();
  } while (bytes == limits::kCheckpointChunkBytes);
  return absl::OkStatus();
}

absl::Status HandleCloseCheckpoint(const CallContext& call, const Call& request, Answer*) {
  uint64_t id = 0;
  bool useless = false;
  RETURN_IF_ERROR(Open(call, request, id, useless));
  Hosted(call.deployment).checkpoints()->Close(id, useless);
  return absl::OkStatus();
}

}  // namespace mneme
