#include "server/memory_quotas.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/deployment.h"
#include "security/decide.h"
#include "server/request_error.h"

namespace mneme {
namespace {

constexpr char kWord[] = "memories";  // of the token file

absl::Status Full(const Principal& principal, uint64_t used) {
  const uint64_t bound = principal.stored.memories;
  const absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("there are ", used, " memories of the names that \"", principal.name,
                   "\" may create, and his quota is ", bound, "; waiting does not help: drop one"));
  return WithQuota(status, reason::kStoredQuota, {principal.name, kWord, bound, used});
}

absl::Status TooManyBeingMade(const Principal& principal, uint64_t used, uint64_t making) {
  const uint64_t bound = principal.stored.memories;
  const absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("there are ", used, " memories of the names that \"", principal.name, "\" may create, and ", making,
                   " are being made, beside which one more may not fit in his quota of ", bound,
                   "; try again once they are there"));
  return WithRetry(WithQuota(status, reason::kRateLimit, {principal.name, kWord, bound, used + making}),
                   absl::Milliseconds(limits::kStoredWaitMs));
}

}  // namespace

MemoryQuotas::Ticket& MemoryQuotas::Ticket::operator=(Ticket&& other) noexcept {
  if (this == &other) return *this;
  Release();
  quotas_ = std::exchange(other.quotas_, nullptr);
  name_ = std::move(other.name_);
  return *this;
}

void MemoryQuotas::Ticket::Release() {
  if (MemoryQuotas* const quotas = std::exchange(quotas_, nullptr); quotas != nullptr) quotas->End(name_);
}

void MemoryQuotas::End(const std::string& name) {
  MutexLock lock(&mutex_);
  making_.erase(making_.find(name));
}

absl::StatusOr<MemoryQuotas::Ticket> MemoryQuotas::Admit(const Principal& principal, const Deployment& deployment,
                                                         std::string_view name) {
  const uint64_t bound = principal.stored.memories;
  if (bound == 0) return Ticket();
  std::string own(name);  // before it is held: then nothing fails until the ticket has it
  std::set<std::string, std::less<>> making;  // others of his, before this one
  {
    MutexLock lock(&mutex_);
    for (const std::string& other : making_) {
      if (other != name && MayAdminister(principal, other)) making.insert(other);
    }
    making_.insert(own);
  }
  Ticket ticket(this, std::move(own));
  if (deployment.FindMemory(name).ok()) return ticket;  // who makes it tells that it is there
  // After those that are being made: one that is not among them any more is listed.
  ASSIGN_OR_RETURN(const std::vector<MemoryHandle> memories, deployment.ListMemories());
  uint64_t used = 0;
  for (const MemoryHandle& memory : memories) {
    if (!MayAdminister(principal, memory->spec.name)) continue;
    ++used;
    making.erase(memory->spec.name);
  }
  if (used >= bound) return Full(principal, used);
  if (used + making.size() >= bound) return TooManyBeingMade(principal, used, making.size());
  return ticket;
}

}  // namespace mneme
