// WriteAdmission: how many bytes of writes a front end holds for one shard.
#ifndef MNEME_CLUSTER_WRITE_ADMISSION_H_
#define MNEME_CLUSTER_WRITE_ADMISSION_H_

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "cluster/admitted.h"
#include "common/mutex.h"

namespace mneme {

// Thread-safe. A shard that is slow or away does not fill the ram of a front end.
class WriteAdmission {
 public:
  explicit WriteAdmission(uint64_t most_bytes) : most_bytes_(most_bytes) {}

  // A write that was admitted, until it has been told.
  using Ticket = Admitted<WriteAdmission>;
  // RESOURCE_EXHAUSTED (QUEUE_FULL) beyond the bound, naming `who`.
  absl::StatusOr<Ticket> Admit(uint64_t bytes, const std::string& who) ABSL_LOCKS_EXCLUDED(mutex_);
  uint64_t bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend Ticket;
  void Leave(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);

  const uint64_t most_bytes_;
  mutable Mutex mutex_;
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_WRITE_ADMISSION_H_
