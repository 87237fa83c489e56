// MemoryQuotas: whether who creates a memory may have one more, where his line in the token file bounds their number.
//
// The truth is the names that there are. Beside them stand those that are being made here: a name is held from before
// it is counted until who makes it has ended, and then the deployment lists it. So creations of one front end do not
// pass a bound, however many are made at once; those of several may, and so may one of which nobody knew whether it
// was made (UNAVAILABLE).
#ifndef MNEME_SERVER_MEMORY_QUOTAS_H_
#define MNEME_SERVER_MEMORY_QUOTAS_H_

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "security/grant.h"

namespace mneme {

class Deployment;

// Thread-safe.
class MemoryQuotas {
 public:
  // A name that is being made. Outlived by the quotas.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(MemoryQuotas* quotas, std::string name) : quotas_(quotas), name_(std::move(name)) {}
    Ticket(Ticket&& other) noexcept { *this = std::move(other); }
    Ticket& operator=(Ticket&& other) noexcept;
    ~Ticket() { Release(); }
    void Release();

   private:
    MemoryQuotas* quotas_ = nullptr;
    std::string name_;
  };

  // Lets him make `name`, until the ticket goes. RESOURCE_EXHAUSTED: STORED_QUOTA when as many memories have names that
  // he may create as he may have, RATE_LIMIT when those that are being made may come to be as many. An empty ticket for
  // who has no bound.
  absl::StatusOr<Ticket> Admit(const Principal& principal, const Deployment& deployment, std::string_view name)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void End(const std::string& name) ABSL_LOCKS_EXCLUDED(mutex_);

  Mutex mutex_;
  // Of who has a bound; one that several make is here as often.
  std::multiset<std::string, std::less<>> making_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_SERVER_MEMORY_QUOTAS_H_
