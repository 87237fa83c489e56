#include "engine/sweep_log.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;

// After a record was lost: the log may be away.
constexpr std::chrono::seconds kRetryDelay(10);

}  // namespace

struct SweepLog::Appended {
  Mutex mutex;
  size_t untold ABSL_GUARDED_BY(mutex) = 0;
  Sequence last ABSL_GUARDED_BY(mutex) = 0;
  Steady::time_point again ABSL_GUARDED_BY(mutex) = Steady::time_point::min();

  void Tell(const absl::StatusOr<LogOffset>& offset) ABSL_LOCKS_EXCLUDED(mutex) {
    MutexLock lock(&mutex);
    --untold;
    if (offset.ok()) {
      last = std::max(last, SequenceAt(*offset));
    } else {
      again = Steady::now() + kRetryDelay;
    }
  }
};

SweepLog::SweepLog(SweepLogOptions options)
    : options_(std::move(options)), appended_(std::make_shared<Appended>()) {}

void SweepLog::Append(LogRecord record) {
  record.deployment = options_.deployment;
  {
    MutexLock lock(&appended_->mutex);
    ++appended_->untold;
  }
  options_.log->Append(EncodeLogRecord(record),
                       [appended = appended_](const absl::StatusOr<LogOffset>& offset) { appended->Tell(offset); });
}

bool SweepLog::Settled() const {
  const Sequence handled = options_.handled();
  MutexLock lock(&appended_->mutex);
  return appended_->untold == 0 && appended_->last <= handled && Steady::now() >= appended_->again;
}

}  // namespace mneme
