// LogHalts: who wants to know what a shard is at an offset of its log has the applying of it stand still there.
#ifndef MNEME_ENGINE_LOG_HALTS_H_
#define MNEME_ENGINE_LOG_HALTS_H_

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "engine/shard_log.h"

namespace mneme {

// Thread-safe. Work is called with no lock held.
class LogHalts {
 public:
  using Work = std::function<absl::Status()>;

  // Has `work` called by the applying thread when every record before `offset` has had its outcome and none from there
  // on was handed over; blocks, and returns its error. OUT_OF_RANGE when records from `offset` on were handed over
  // already. While it waits, what `limits` say, and `over`, which is asked now and then and must not block.
  absl::Status At(LogOffset offset, const CallLimits& limits, const std::function<absl::Status()>& over, Work work)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // --- Of the applying thread ---
  // Whether anybody waits for `next` or an offset before it.
  bool Wanted(LogOffset next) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Everything before `from` has had its outcome, and the next record is at `next` or behind it: does the work of who
  // waits for `from` to `next`, and tells those who wait for less.
  void Run(LogOffset from, LogOffset next) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Guarded by mutex_, but for offset and work.
  struct Halt {
    Halt(LogOffset at, Work what) : offset(at), work(std::move(what)) {}
    const LogOffset offset;
    const Work work;
    bool taken = false;
    std::optional<absl::Status> ended = {};
  };

  mutable Mutex mutex_;
  CondVar ended_;
  std::vector<std::shared_ptr<Halt>> waiting_ ABSL_GUARDED_BY(mutex_);  // that were not taken
};

}  // namespace mneme

#endif  // MNEME_ENGINE_LOG_HALTS_H_
