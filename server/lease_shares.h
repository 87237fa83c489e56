// LeaseShares: how many leases each caller holds here, so that one who may only read cannot take all that there are.
// Another front end does not know of them: it counts a lease that is renewed at it as one of its own.
#ifndef MNEME_SERVER_LEASE_SHARES_H_
#define MNEME_SERVER_LEASE_SHARES_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "security/grant.h"

namespace mneme {

// Thread-safe.
class LeaseShares {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // Counts the lease as one of the principal's for `lease_ms` from now, or on, when he has it. RESOURCE_EXHAUSTED
  // (MEMORY_LIMIT) when he has kMaxLeasesOfOne others. Null: nobody is asked who he is, and nothing is counted.
  absl::Status Take(const Principal* principal, const std::string& lease, int64_t lease_ms,
                    Time now = std::chrono::steady_clock::now()) ABSL_LOCKS_EXCLUDED(mutex_);
  void GiveBack(const Principal* principal, const std::string& lease) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Ends = absl::flat_hash_map<std::string, Time>;  // by lease

  Mutex mutex_;
  // By name, which a token file bounds.
  absl::flat_hash_map<std::string, Ends> held_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_SERVER_LEASE_SHARES_H_
