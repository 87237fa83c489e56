#include "server/stored_quotas.h"

#include <iterator>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/absl_view.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/deployment.h"
#include "security/decide.h"
#include "server/access_control.h"
#include "server/request_error.h"

namespace mneme {
namespace {

// Who waits for writes that are under way has shards count so often.
constexpr std::chrono::milliseconds kLook(10);

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

StoredAmount Sum(StoredAmount a, const StoredAmount& b) {
  Add(b, a);
  return a;
}

StoredAmount Difference(const StoredAmount& a, const StoredAmount& b) {
  return {a.entries - b.entries, a.bytes - b.bytes};
}

std::string Where(const Addition& addition, std::optional<PartitionId> partition) {
  const std::string memory = absl::StrCat("memory \"", ToAbsl(addition.memory), "\"");
  return partition.has_value() ? absl::StrCat("partition ", *partition, " of ", memory) : memory;
}

absl::Status Refusal(const Principal& principal, const Kind& kind, const Addition& addition,
                     std::optional<PartitionId> partition, const StoredAmount& stored) {
  const uint64_t bound = principal.stored.*kind.bound;
  const uint64_t used = stored.*kind.amount;
  const absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat(Where(addition, partition), " holds ", used, " ", kind.name, ", and ", addition.amount.*kind.amount,
                   " more do not fit in the quota of ", bound, " stored ", kind.name, " of \"", principal.name,
                   "\"; waiting does not help: delete some"));
  return WithQuota(status, reason::kStoredQuota, {principal.name, kind.word, bound, used});
}

// What is under way has not ended in time; `most` is what there is if all of it comes to be stored.
absl::Status TooMuchUnderWay(const Principal& principal, const Kind& kind, const Addition& addition,
                             std::optional<PartitionId> partition, const StoredAmount& most) {
  const uint64_t bound = principal.stored.*kind.bound;
  const uint64_t used = most.*kind.amount;
  const absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat(Where(addition, partition), " holds up to ", used, " ", kind.name,
                   " with writes that are under way, beside which ", addition.amount.*kind.amount,
                   " more may not fit in the quota of ", bound, " stored ", kind.name, " of \"", principal.name,
                   "\"; try again once they have ended"));
  return WithRetry(WithQuota(status, reason::kRateLimit, {principal.name, kind.word, bound, used}),
                   absl::Milliseconds(limits::kStoredWaitMs));
}

// `error` is why shards cannot be asked; `most` is what there may be by their last count.
absl::Status NotCounted(const absl::Status& error, const Principal& principal, const Kind& kind,
                        const Addition& addition, std::optional<PartitionId> partition, const StoredAmount& most) {
  absl::Status status(
      error.code(),
      absl::StrCat(Where(addition, partition), " cannot be counted now, and by its last count holds up to ",
                   most.*kind.amount, " ", kind.name, ", beside which ", addition.amount.*kind.amount,
                   " more may not fit in the quota of ", principal.stored.*kind.bound, " stored ", kind.name, " of \"",
                   principal.name, "\"; try again: ", error.message()));
  error.ForEachPayload([&](const auto& type, const absl::Cord& payload) { status.SetPayload(type, payload); });
  return status;
}

}  // namespace

StoredQuotas::Ticket& StoredQuotas::Ticket::operator=(Ticket&& other) noexcept {
  if (this == &other) return *this;
  Release();
  quotas_ = std::exchange(other.quotas_, nullptr);
  key_ = other.key_;
  amount_ = other.amount_;
  return *this;
}

void StoredQuotas::Ticket::Release() {
  if (StoredQuotas* const quotas = std::exchange(quotas_, nullptr); quotas != nullptr) quotas->End(key_, amount_);
}

StoredQuotas::Ticket StoredQuotas::Give(const Key& key, const StoredAmount& amount, Counted& counted) {
  Add(amount, counted.under_way);
  return Ticket(this, key, amount);
}

void StoredQuotas::End(const Key& key, const StoredAmount& amount) {
  MutexLock lock(&mutex_);
  Counted& counted = counts_[key];  // it stays while anything of it is under way
  counted.under_way.entries -= amount.entries;
  counted.under_way.bytes -= amount.bytes;
  Add(amount, counted.settled);
  Add(amount, counted.ended);
}

void StoredQuotas::Tidy() {
  if (counts_.size() < limits::kMaxStoredCounts) return;
  for (auto at = counts_.begin(); at != counts_.end();) {
    const StoredAmount& under_way = at->second.under_way;
    const auto next = std::next(at);
    if (under_way.entries == 0 && under_way.bytes == 0 && at->second.counting == 0) counts_.erase(at);
    at = next;
  }
}

absl::StatusOr<StoredQuotas::Ticket> StoredQuotas::Admit(const Principal& principal, const Addition& addition,
                                                         const MemoryRecord& memory, const CallLimits& limits,
                                                         const Counter& count, Time now) {
  const bool whole = !addition.partition.has_value() || MayWriteWhole(principal, addition.memory);
  const std::optional<PartitionId> partition = whole ? std::nullopt : addition.partition;
  const Key key(memory.number, partition);
  const auto passed_by = [&](const StoredAmount& stored) {
    return FirstPassed(principal.stored, stored, addition.amount);
  };
  const Time gives_up = std::chrono::steady_clock::now() + std::chrono::milliseconds(limits::kStoredWaitMs);
  StoredAmount ended;
  {
    MutexLock lock(&mutex_);
    Tidy();
    Counted& counted = counts_[key];
    const bool fresh = counted.at.has_value() && now - *counted.at < std::chrono::milliseconds(limits::kStoredCountMs);
    if (fresh && passed_by(Sum(counted.settled, counted.under_way)) == nullptr) {
      return Give(key, addition.amount, counted);
    }
    ended = counted.ended;
    ++counted.counting;
  }
  while (true) {
    absl::Cleanup not_counted = [&] {  // what counts may throw: then nobody does any more
      MutexLock lock(&mutex_);
      --counts_[key].counting;
    };
    const absl::StatusOr<StoredAmount> stored = count(partition);
    std::move(not_counted).Cancel();
    {
      MutexLock lock(&mutex_);
      Counted& counted = counts_[key];  // it stays while anybody counts
      --counted.counting;
      const StoredAmount ended_meanwhile = Difference(counted.ended, ended);
      if (stored.ok()) {
        counted.settled = Sum(*stored, ended_meanwhile);  // the count may have it, or not
        counted.at = now;
      } else if (!counted.at.has_value()) {
        return stored.status();
      }
      const StoredAmount most = Sum(counted.settled, counted.under_way);
      const Kind* const may_pass = passed_by(most);
      if (may_pass == nullptr) return Give(key, addition.amount, counted);
      if (!stored.ok()) return NotCounted(stored.status(), principal, *may_pass, addition, partition, most);
      if (const Kind* const passed = passed_by(*stored); passed != nullptr) {
        return Refusal(principal, *passed, addition, partition, *stored);
      }
      // It fits, unless what is under way comes to be stored: that is known in a moment, most often.
      RETURN_IF_ERROR(limits.Check());
      if (std::chrono::steady_clock::now() >= gives_up) {
        return TooMuchUnderWay(principal, *may_pass, addition, partition, most);
      }
      ended = counted.ended;
      ++counted.counting;
    }
    std::this_thread::sleep_for(kLook);
  }
}

bool BoundsWrites(const Caller& caller) {
  const Principal* const principal = caller.principal();
  return principal != nullptr && (principal->stored.entries != 0 || principal->stored.bytes != 0);
}

absl::StatusOr<StoredQuotas::Ticket> AdmitAddition(StoredQuotas& quotas, const Caller& caller,
                                                   const Deployment& deployment,
                                                   const std::optional<Addition>& addition, const CallLimits& limits) {
  if (!addition.has_value() || !BoundsWrites(caller)) return StoredQuotas::Ticket();
  const absl::StatusOr<MemoryHandle> memory = deployment.FindMemory(addition->memory);
  if (!memory.ok()) return StoredQuotas::Ticket();
  return quotas.Admit(*caller.principal(), *addition, **memory, limits, [&](std::optional<PartitionId> partition) {
    return deployment.CountStored(*memory, partition, limits);
  });
}

}  // namespace mneme
