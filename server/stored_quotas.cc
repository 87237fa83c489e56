#include "server/stored_quotas.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/deployment.h"
#include "security/decide.h"
#include "server/access_control.h"
#include "server/request_error.h"

namespace mneme {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

struct Kind {
  const char* word;  // of the token file
  const char* name;
  uint64_t StoredBounds::*bound;
  uint64_t StoredAmount::*amount;
};
constexpr Kind kKinds[] = {{"stored-entries", "entries", &StoredBounds::entries, &StoredAmount::entries},
                           {"stored-bytes", "bytes", &StoredBounds::bytes, &StoredAmount::bytes}};

// The first bound that `added` would pass; null when it passes none. What adds none of a kind is not held against it.
const Kind* FirstPassed(const StoredBounds& bounds, const StoredAmount& stored, const StoredAmount& added) {
  for (const Kind& kind : kKinds) {
    const uint64_t bound = bounds.*kind.bound;
    if (bound == 0 || added.*kind.amount == 0) continue;
    if (stored.*kind.amount >= bound || added.*kind.amount > bound - stored.*kind.amount) return &kind;
  }
  return nullptr;
}

void Add(const StoredAmount& added, StoredAmount& sum) {
  sum.entries += added.entries;
  sum.bytes += added.bytes;
}

absl::Status Refusal(const Principal& principal, const Kind& kind, const Addition& addition,
                     std::optional<PartitionId> partition, const StoredAmount& stored) {
  std::string where = absl::StrCat("memory \"", View(addition.memory), "\"");
  if (partition.has_value()) where = absl::StrCat("partition ", *partition, " of ", where);
  const uint64_t bound = principal.stored.*kind.bound;
  const uint64_t used = stored.*kind.amount;
  const absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat(where, " holds ", used, " ", kind.name, ", and ", addition.amount.*kind.amount,
                   " more do not fit in the quota of ", bound, " stored ", kind.name, " of \"", principal.name,
                   "\"; waiting does not help: delete some"));
  return WithQuota(status, reason::kStoredQuota, {principal.name, kind.word, bound, used});
}

}  // namespace

absl::Status StoredQuotas::Admit(const Principal& principal, const Addition& addition, const MemoryRecord& memory,
                                 const Counter& count, Time now) {
  const bool whole = !addition.partition.has_value() || MayWriteWhole(principal, addition.memory);
  const std::optional<PartitionId> partition = whole ? std::nullopt : addition.partition;
  const Key key(memory.number, partition);
  {
    MutexLock lock(&mutex_);
    const auto known = counts_.find(key);
    const bool fresh = known != counts_.end() && known->second.at.has_value() &&
                       now - *known->second.at < std::chrono::milliseconds(limits::kStoredCountMs);
    if (fresh && FirstPassed(principal.stored, known->second.amount, addition.amount) == nullptr) {
      Add(addition.amount, known->second.amount);
      return absl::OkStatus();
    }
  }
  const absl::StatusOr<StoredAmount> stored = count(partition);
  MutexLock lock(&mutex_);
  if (counts_.size() >= limits::kMaxStoredCounts) counts_.clear();
  Counted& counted = counts_[key];
  if (stored.ok()) {
    counted = {*stored, now};
  } else if (!counted.at.has_value()) {
    counts_.erase(key);
    return stored.status();
  }
  if (const Kind* const passed = FirstPassed(principal.stored, counted.amount, addition.amount); passed != nullptr) {
    return Refusal(principal, *passed, addition, partition, counted.amount);
  }
  Add(addition.amount, counted.amount);
  return absl::OkStatus();
}

bool BoundsWrites(const Caller& caller) {
  const Principal* const principal = caller.principal();
  return principal != nullptr && (principal->stored.entries != 0 || principal->stored.bytes != 0);
}

absl::Status AdmitAddition(StoredQuotas& quotas, const Caller& caller, const Deployment& deployment,
                           const std::optional<Addition>& addition, const CallLimits& limits) {
  if (!addition.has_value() || !BoundsWrites(caller)) return absl::OkStatus();
  const absl::StatusOr<MemoryHandle> memory = deployment.FindMemory(addition->memory);
  if (!memory.ok()) return absl::OkStatus();
  return quotas.Admit(*caller.principal(), *addition, **memory, [&](std::optional<PartitionId> partition) {
    return deployment.CountStored(*memory, partition, limits);
  });
}

absl::Status AdmitMemory(const Caller& caller, const Deployment& deployment, std::string_view name) {
  const Principal* const principal = caller.principal();
  if (principal == nullptr || principal->stored.memories == 0) return absl::OkStatus();
  if (deployment.FindMemory(name).ok()) return absl::OkStatus();  // who makes it tells that it is there
  ASSIGN_OR_RETURN(const std::vector<MemoryHandle> memories, deployment.ListMemories());
  const auto his = [&](const MemoryHandle& memory) { return MayAdminister(*principal, memory->spec.name); };
  const auto used = static_cast<uint64_t>(std::count_if(memories.begin(), memories.end(), his));
  const uint64_t bound = principal->stored.memories;
  if (used < bound) return absl::OkStatus();
  const absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("there are ", used, " memories of the names that \"", principal->name,
                   "\" may create, and his quota is ", bound, "; waiting does not help: drop one"));
  return WithQuota(status, reason::kStoredQuota, {principal->name, "memories", bound, used});
}

}  // namespace mneme
