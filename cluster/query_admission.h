// QueryAdmission: how many queries a front end has with its shards at once, and how many bytes they hold here.
#ifndef MNEME_CLUSTER_QUERY_ADMISSION_H_
#define MNEME_CLUSTER_QUERY_ADMISSION_H_

#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "cluster/admitted.h"
#include "common/limits.h"
#include "common/mutex.h"

namespace mneme {

// Thread-safe. Shards bound what waits with them; what waits for shards that are slow, or lies here to be merged, is
// bounded here.
class QueryAdmission {
 public:
  explicit QueryAdmission(size_t most_queries = limits::kMaxAdmittedQueries,
                          uint64_t most_bytes = limits::kMaxAdmittedBytes)
      : most_queries_(most_queries), most_bytes_(most_bytes) {}

  // A query that was admitted, until it has ended.
  using Ticket = Admitted<QueryAdmission>;
  // RESOURCE_EXHAUSTED (QUEUE_FULL) beyond the bounds; one query alone is admitted whatever it holds.
  absl::StatusOr<Ticket> Admit(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);

  size_t queries() const ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend Ticket;
  void Leave(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);

  const size_t most_queries_;
  const uint64_t most_bytes_;
  mutable Mutex mutex_;
  size_t queries_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_QUERY_ADMISSION_H_
