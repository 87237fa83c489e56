// ProgressTeller: tells a caller how far the work of a shard is, and notices when it wants no more.
#ifndef MNEME_CLUSTER_PROGRESS_TELLER_H_
#define MNEME_CLUSTER_PROGRESS_TELLER_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "engine/commands.h"
#include "engine/flat_progress.h"

namespace mneme {

// Tells each step, and the last again when a shard has said nothing for a while: its queue may be long, or a training.
// So a caller that has gone, or a server that stops, ends the work within `again`. Thread-safe.
class ProgressTeller {
 public:
  // `tell` is called by one thread at a time; false: the caller wants no more. `first` is told until a shard says more.
  ProgressTeller(const CallLimits& limits, FlatProgress first, std::function<bool(const FlatProgress&)> tell,
                 std::chrono::milliseconds again = std::chrono::milliseconds(1'000));
  ~ProgressTeller();

  // Of the calls that do the work: those given, and cancelled when the caller wants no more.
  CallLimits limits() const;
  // False once the caller wants no more.
  bool Tell(FlatProgress step) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  bool TellLast() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();

  const CallLimits given_;
  const std::function<bool(const FlatProgress&)> tell_;
  const std::chrono::milliseconds again_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  Mutex mutex_;  // held while the caller is told
  CondVar ending_;
  FlatProgress last_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_PROGRESS_TELLER_H_
