#include "cluster/write_admission.h"

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"

namespace mneme {

absl::StatusOr<WriteAdmission::Ticket> WriteAdmission::Admit(uint64_t bytes, const std::string& who) {
  MutexLock lock(&mutex_);
  if (bytes_ + bytes > most_bytes_) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(who, " has ", bytes_,
                                                                " bytes of writes to answer; the bound is ",
                                                                most_bytes_)),
                      reason::kQueueFull);
  }
  bytes_ += bytes;
  return Ticket(this, bytes);
}

void WriteAdmission::Leave(uint64_t bytes) {
  MutexLock lock(&mutex_);
  bytes_ -= bytes;
}

uint64_t WriteAdmission::bytes() const {
  MutexLock lock(&mutex_);
  return bytes_;
}

}  // namespace mneme
