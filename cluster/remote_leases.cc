#include "cluster/remote_leases.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/flat_commands.h"

namespace mneme {
namespace {

using Async = ShardChannel::Async;

// Told to clients within the id of a lease.
constexpr uint8_t kIdFormat = 2;
constexpr std::chrono::seconds kAskWithin{30};

std::string EncodeId(const RemoteLease& lease) {
  return Flat(kIdFormat, lease.memory, lease.stamp_ms, lease.partitions, lease.holders);
}

absl::StatusOr<std::shared_ptr<RemoteLease>> DecodeId(const ShardFan& shards, std::string_view id) {
  auto lease = std::make_shared<RemoteLease>();
  uint8_t format = 0;
  bool known = Unflat(id, format, lease->memory, lease->stamp_ms, lease->partitions, lease->holders).ok() &&
               format == kIdFormat && !lease->holders.empty();
  for (const auto& [shard, holder] : lease->holders) {
    known = known && shard < shards.size() && holder.first < limits::kMaxReplicas;
  }
  if (!known) return absl::InvalidArgumentError("lease is not one that AcquireLease gave");
  return lease;
}

std::vector<uint32_t> ShardsOf(const RemoteLease& lease) {
  std::vector<uint32_t> shards;
  for (const auto& [shard, holder] : lease.holders) shards.push_back(shard);
  return shards;
}

// What a shard is asked that is to release its part.
ShardFan::Body Releases(std::shared_ptr<const RemoteLease> lease) {
  return [lease = std::move(lease)](uint32_t shard) {
    const auto& [replica, of_shard] = lease->holders.at(shard);
    return Question(Flat(of_shard), replica);
  };
}

// Of which a part is to be released: what a replica gave that is none any more ends by itself.
std::vector<uint32_t> Holders(const ShardFan& shards, const RemoteLease& lease) {
  std::vector<uint32_t> holders = ShardsOf(lease);
  std::erase_if(holders, [&](uint32_t shard) { return !shards.shard(shard).Has(lease.holders.at(shard).first); });
  return holders;
}

// LEASE_EXPIRED when a replica that gave a part is none any more.
absl::Status CheckHolders(const ShardFan& shards, const RemoteLease& lease) {
  for (const auto& [shard, holder] : lease.holders) {
    if (shards.shard(shard).Has(holder.first)) continue;
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat("the lease is of a process that is no replica of shard ", shard,
                                                   " any more; take another with AcquireLease")),
        reason::kLeaseExpired);
  }
  return absl::OkStatus();
}

// Asks a replica of the shard for its part of a lease, which that one alone will have: the first that is there.
absl::StatusOr<std::string> AcquireOf(const ShardChannel& shard, const std::string& body, const CallLimits& limits,
                                      uint32_t& replica) {
  replica = shard.at();
  for (uint32_t left = shard.replicas(); true; replica = shard.Next(replica)) {
    auto answer = shard.AskAndWait(&Async::AcquireLease, Question(body, replica), limits);
    const bool lags = ReasonOf(answer.status()) == reason::kReplicaLagging;
    if ((!lags && !absl::IsUnavailable(answer.status())) || --left == 0) return answer;
  }
}

}  // namespace

std::string LeaseOn(const LeaseHandle& lease, uint32_t shard) {
  if (lease == nullptr) return "";
  const auto& holders = static_cast<const RemoteLease&>(*lease).holders;
  const auto at = holders.find(shard);
  return at == holders.end() ? "none of this shard" : at->second.second;
}

uint32_t HolderOf(const LeaseHandle& lease, uint32_t shard) {
  if (lease == nullptr) return kAnyReplica;
  const auto& holders = static_cast<const RemoteLease&>(*lease).holders;
  const auto at = holders.find(shard);
  return at == holders.end() ? kAnyReplica : at->second.first;
}

absl::StatusOr<Leases::Granted> RemoteLeases::Acquire(const MemoryRecord& memory, const VisitCommand& command,
                                                      int64_t lease_ms) {
  RETURN_IF_ERROR(shards_->CheckVersion(command.at_least));
  RemoteLease lease;
  lease.memory = memory.number;
  lease.partitions = Ascending(command.partitions);
  Granted granted;
  granted.version.memory = memory.number;
  granted.expires_ms = std::numeric_limits<int64_t>::max();
  // One after the other: what was given before a refusal is given back.
  for (const uint32_t shard : shards_->routing().OwnersOf(memory, command.partitions)) {
    VisitCommand part = command;
    part.at_least = shards_->PartOf(command.at_least, shard);
    Granted on_shard;
    int64_t stamp_ms = 0;
    uint32_t replica = 0;
    const auto answer =
        AcquireOf(shards_->shard(shard), Flat(memory.number, part, lease_ms), command.limits, replica);
    const absl::Status got = answer.ok() ? Unflat(*answer, on_shard.id, on_shard.version, on_shard.expires_ms, stamp_ms)
                                         : answer.status();
    if (!got.ok()) {
      if (!lease.holders.empty()) (void)Release(EncodeId(lease));
      return got;
    }
    lease.holders[shard] = {replica, std::move(on_shard.id)};
    // What has expired by the latest is hidden on all, whether it was there when its shard gave its part or not.
    lease.stamp_ms = std::max(lease.stamp_ms, stamp_ms);
    granted.expires_ms = std::min(granted.expires_ms, on_shard.expires_ms);
    granted.version.parts.insert(granted.version.parts.end(), on_shard.version.parts.begin(),
                                 on_shard.version.parts.end());
  }
  granted.id = EncodeId(lease);
  return granted;
}

absl::StatusOr<int64_t> RemoteLeases::Renew(std::string_view id, int64_t lease_ms) {
  ASSIGN_OR_RETURN(const auto lease, DecodeId(*shards_, id));
  RETURN_IF_ERROR(CheckHolders(*shards_, *lease));
  const std::vector<uint32_t> shards = ShardsOf(*lease);
  const auto body = [&](uint32_t shard) {
    const auto& [replica, of_shard] = lease->holders.at(shard);
    return Question(Flat(of_shard, lease_ms), replica);
  };
  ASSIGN_OR_RETURN(const auto answers,
                   shards_->AskAndWait(&Async::RenewLease, shards, body, CallLimits().Within(kAskWithin)));
  int64_t expires_ms = std::numeric_limits<int64_t>::max();
  for (const std::string& answer : answers) {
    int64_t on_shard_ms = 0;
    RETURN_IF_ERROR(Unflat(answer, on_shard_ms));
    expires_ms = std::min(expires_ms, on_shard_ms);
  }
  return expires_ms;
}

absl::Status RemoteLeases::Release(std::string_view id) {
  ASSIGN_OR_RETURN(const auto lease, DecodeId(*shards_, id));
  return shards_
      ->AskAndWait(&Async::ReleaseLease, Holders(*shards_, *lease), Releases(lease), CallLimits().Within(kAskWithin))
      .status();
}

void RemoteLeases::ReleaseThen(std::string_view id, std::function<void(absl::Status)> done) {
  const auto lease = DecodeId(*shards_, id);
  if (!lease.ok()) return done(lease.status());
  shards_->Ask(&Async::ReleaseLease, Holders(*shards_, **lease), Releases(*lease), CallLimits().Within(kAskWithin),
               [done = std::move(done)](const absl::StatusOr<std::vector<std::string>>& answers) {
                 done(answers.status());
               });
}

absl::StatusOr<LeaseHandle> RemoteLeases::Find(std::string_view id, const MemoryRecord& memory) const {
  ASSIGN_OR_RETURN(const auto lease, DecodeId(*shards_, id));
  RETURN_IF_ERROR(CheckHolders(*shards_, *lease));
  if (lease->memory == memory.number) return LeaseHandle(lease);
  return WithReason(absl::FailedPreconditionError(absl::StrCat("the lease is of another memory than \"",
                                                               memory.spec.name,
                                                               "\"; take another with AcquireLease")),
                    reason::kLeaseExpired);
}

}  // namespace mneme
