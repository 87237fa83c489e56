// StoreProgress: how far the work on the stores of a backup is, one store after the other.
#ifndef MNEME_STORAGE_STORE_PROGRESS_H_
#define MNEME_STORAGE_STORE_PROGRESS_H_

#include <algorithm>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "storage/backup.h"
#include "storage/metered_file_system.h"

namespace mneme {

// Borrows the sink. Thread-safe: RocksDB copies on threads of its own.
class StoreProgress {
 public:
  StoreProgress(const char* stage, uint64_t total, const BackupProgressSink& sink)
      : stage_(stage), total_(total), sink_(sink) {}

  // Bytes of the store that is worked on were read or written: no more of them count than it has.
  bool Moved(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    moved_ += bytes;
    moved_in_all_ += bytes;
    return Tell();
  }
  // The work on the next store, or on none.
  bool Begin(uint64_t store_bytes) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    done_ += store_bytes_;
    store_bytes_ = store_bytes;
    moved_ = 0;
    return Tell();
  }
  uint64_t moved_in_all() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return moved_in_all_;
  }

 private:
  bool Tell() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return sink_({stage_, std::min(total_, done_ + std::min(moved_, store_bytes_)), total_});
  }

  const char* const stage_;
  const uint64_t total_;
  const BackupProgressSink& sink_;
  mutable Mutex mu_;
  uint64_t done_ ABSL_GUARDED_BY(mu_) = 0;  // of the stores before
  uint64_t store_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t moved_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t moved_in_all_ ABSL_GUARDED_BY(mu_) = 0;
};

inline absl::Status GivenUp(const char* what) {
  return absl::CancelledError(absl::StrCat("the ", what, " was given up"));
}

// What an operation came to, whose file system may have stopped it.
inline absl::Status StoppedOr(const MeteredFileSystem& meter, const char* what, absl::Status status) {
  return status.ok() || !meter.stopped() ? status : GivenUp(what);
}

}  // namespace mneme

#endif  // MNEME_STORAGE_STORE_PROGRESS_H_
