#include "cluster/query_admission.h"

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"

namespace mneme {

absl::StatusOr<QueryAdmission::Ticket> QueryAdmission::Admit(uint64_t bytes) {
  MutexLock lock(&mutex_);
  if (queries_ != 0 && (queries_ >= most_queries_ || bytes_ + bytes > most_bytes_)) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(queries_, " queries of ", bytes_,
                                                                " bytes are with the shards; the bounds are ",
                                                                most_queries_, " and ", most_bytes_)),
                      reason::kQueueFull);
  }
  ++queries_;
  bytes_ += bytes;
  return Ticket(this, bytes);
}

void QueryAdmission::Leave(uint64_t bytes) {
  MutexLock lock(&mutex_);
  --queries_;
  bytes_ -= bytes;
}

size_t QueryAdmission::queries() const {
  MutexLock lock(&mutex_);
  return queries_;
}

uint64_t QueryAdmission::bytes() const {
  MutexLock lock(&mutex_);
  return bytes_;
}

}  // namespace mneme
