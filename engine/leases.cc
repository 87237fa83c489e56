#include "engine/leases.h"

#include <algorithm>
#include <array>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "index/tail.h"

namespace mneme {
namespace {

// Random: ids of another process are none of this one's, and who was not given one cannot guess it.
constexpr size_t kIdBytes = 16;

constexpr char kTakeAnother[] = "; take another with AcquireLease";

std::string MakeId() {
  std::random_device random;
  std::array<uint32_t, kIdBytes / sizeof(uint32_t)> words;
  for (uint32_t& word : words) word = random();
  return std::string(reinterpret_cast<const char*>(words.data()), kIdBytes);
}

absl::Status Ended(const std::string& why) {
  return WithReason(absl::FailedPreconditionError(absl::StrCat(why, kTakeAnother)), reason::kLeaseExpired);
}

bool IsBefore(const std::shared_ptr<const IndexVersion>& version, PartitionId partition) {
  return version->partition < partition;
}

}  // namespace

Shard::Snapshot HeldLease::Select(uint32_t shard, const PartitionSelection& selection) const {
  const auto held = snapshots.find(shard);
  if (held == snapshots.end()) return {};
  if (selection.all) return held->second;
  Shard::Snapshot selected;
  selected.sequence = held->second.sequence;
  const auto& versions = held->second.versions;
  for (const PartitionId partition : NamedBy(selection)) {
    const auto at = std::lower_bound(versions.begin(), versions.end(), partition, IsBefore);
    if (at != versions.end() && (*at)->partition == partition) selected.versions.push_back(*at);
  }
  return selected;
}

Version HeldLease::version() const {
  Version version;
  version.memory = memory;
  for (const auto& [shard, snapshot] : snapshots) version.parts.push_back({shard, snapshot.sequence});
  return version;
}

absl::StatusOr<Shard::Snapshot> TakeSnapshot(Shard& shard, const SnapshotRequest& request) {
  if (request.lease != nullptr) return Held(*request.lease).Select(shard.number(), request.partitions);
  return shard.TakeSnapshot(request.memory, request.partitions, request.limits);
}

HeldLeases::HeldLeases(LeaseOptions options) : options_(std::move(options)) {}

absl::StatusOr<Leases::Granted> HeldLeases::Acquire(const MemoryRecord& memory, const VisitCommand& command,
                                                int64_t lease_ms) {
  LetGo();
  auto lease = std::make_shared<HeldLease>();
  lease->memory = memory.number;
  lease->partitions = Ascending(command.partitions);
  for (const uint32_t owner : options_.routing->OwnersOf(memory, command.partitions)) {
    ASSIGN_OR_RETURN(Shard::Snapshot snapshot,
                     options_.shards[owner]->TakeSnapshot(memory.number, command.partitions, command.limits));
    std::sort(snapshot.versions.begin(), snapshot.versions.end(),
              [](const auto& a, const auto& b) { return a->partition < b->partition; });
    lease->snapshots[owner] = std::move(snapshot);
  }
  // After the versions: what has expired by now may be gone from them.
  lease->stamp_ms = options_.clock->NowMs();
  const Chunks chunks = ChunksOf(*lease);
  Granted granted{MakeId(), lease->version(), lease->stamp_ms + lease_ms};
  HeldById made;  // so that nothing fails once its chunks are counted
  made[granted.id] = {std::move(lease), options_.timer->NowMs() + lease_ms};
  MutexLock lock(&mutex_);
  RETURN_IF_ERROR(Admit(chunks));
  held_.merge(made);
  return granted;
}

HeldLeases::Chunks HeldLeases::ChunksOf(const HeldLease& lease) {
  Chunks chunks;
  for (const auto& [shard, snapshot] : lease.snapshots) {
    for (const auto& version : snapshot.versions) {
      for (const Tail::Snapshot::Part& part : version->tail.parts) {
        chunks.emplace_back(part.chunk.get(), RamBytesOf(part));
      }
    }
  }
  return chunks;
}

absl::Status HeldLeases::Admit(const Chunks& chunks) {
  if (held_.size() >= limits::kMaxLeases) {
    return WithReason(absl::ResourceExhaustedError(
                          absl::StrCat("there are ", held_.size(), " leases; the bound is ", limits::kMaxLeases)),
                      reason::kMemoryLimit);
  }
  uint64_t more = 0;
  for (const auto& [chunk, bytes] : chunks) more += chunks_.contains(chunk) ? 0 : bytes;
  if (ram_bytes_ + more > options_.ram_bytes) {
    return WithReason(
        absl::ResourceExhaustedError(absl::StrCat("leases would hold ", ram_bytes_ + more,
                                                  " bytes of unsealed entries; the bound is ", options_.ram_bytes,
                                                  ": seal them first (BuildIndex), or release a lease")),
        reason::kMemoryLimit);
  }
  chunks_.reserve(chunks_.size() + chunks.size());  // all of them are counted, or none
  for (const auto& [chunk, bytes] : chunks) {
    HeldChunk& held = chunks_[chunk];
    if (held.leases++ > 0) continue;
    held.bytes = bytes;
    ram_bytes_ += bytes;
  }
  return absl::OkStatus();
}

absl::StatusOr<HeldLeases::HeldById::const_iterator> HeldLeases::FindLive(std::string_view id) const {
  if (id.size() != kIdBytes) return absl::InvalidArgumentError("lease is not one that AcquireLease gave");
  const auto at = held_.find(id);
  if (at == held_.end()) return Ended("the lease has ended, was released, or is of a server before its restart");
  const int64_t late_ms = options_.timer->NowMs() - at->second.ends_ms;
  if (late_ms >= 0) return Ended(absl::StrCat("the lease ended ", late_ms, " ms ago"));
  return at;
}

absl::StatusOr<int64_t> HeldLeases::Renew(std::string_view id, int64_t lease_ms) {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const auto at, FindLive(id));
  held_.find(at->first)->second.ends_ms = options_.timer->NowMs() + lease_ms;
  return options_.clock->NowMs() + lease_ms;
}

absl::Status HeldLeases::Release(std::string_view id) {
  std::vector<LeaseHandle> ended;
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const auto at, FindLive(id));
  End(held_.find(at->first), ended);
  return absl::OkStatus();
}

absl::StatusOr<LeaseHandle> HeldLeases::Find(std::string_view id, const MemoryRecord& memory) const {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const auto at, FindLive(id));
  const LeaseHandle& lease = at->second.lease;
  if (lease->memory == memory.number) return lease;
  return Ended(absl::StrCat("the lease is of another memory than \"", memory.spec.name, "\""));
}

void HeldLeases::EndAllOf(MemoryNumber memory) {
  std::vector<LeaseHandle> ended;
  MutexLock lock(&mutex_);
  for (auto at = held_.begin(); at != held_.end();) {
    at = at->second.lease->memory == memory ? End(at, ended) : std::next(at);
  }
}

void HeldLeases::LetGo() {
  const int64_t now_ms = options_.timer->NowMs();
  std::vector<LeaseHandle> ended;
  MutexLock lock(&mutex_);
  for (auto at = held_.begin(); at != held_.end();) {
    at = at->second.ends_ms <= now_ms ? End(at, ended) : std::next(at);
  }
}

HeldLeases::HeldById::iterator HeldLeases::End(HeldById::iterator at, std::vector<LeaseHandle>& ended) {
  for (const auto& [chunk, bytes] : ChunksOf(Held(*at->second.lease))) {
    const auto held = chunks_.find(chunk);
    if (--held->second.leases > 0) continue;
    ram_bytes_ -= held->second.bytes;
    chunks_.erase(held);
  }
  ended.push_back(std::move(at->second.lease));
  return held_.erase(at);
}

HeldLeases::Counts HeldLeases::counts() const {
  const int64_t now_ms = options_.timer->NowMs();
  MutexLock lock(&mutex_);
  const auto live = std::count_if(held_.begin(), held_.end(),
                                  [&](const auto& each) { return each.second.ends_ms > now_ms; });
  return {static_cast<uint64_t>(live), ram_bytes_};
}

}  // namespace mneme
