// MemoryLog: the log of a shard in ram, the oracle of tests: what any log of a shard does, at once, and what one may do
// to its users at its worst, when a test says so.
#ifndef MNEME_TESTS_ENGINE_MEMORY_LOG_H_
#define MNEME_TESTS_ENGINE_MEMORY_LOG_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "engine/shard_log.h"

namespace mneme::testing {

// Thread-safe. Its readers may outlive it.
class MemoryLog final : public ShardLog {
 public:
  explicit MemoryLog(size_t most_record_bytes = limits::kMaxLogRecordBytes);
  // After everybody was told.
  ~MemoryLog() override;

  size_t most_record_bytes() const override { return most_record_bytes_; }
  void Append(std::string record, Appended appended) override;
  absl::StatusOr<LogOffset> End(const CallLimits& limits) const override;
  absl::StatusOr<LogOffset> Begin(const CallLimits& limits) const override;
  absl::StatusOr<std::unique_ptr<LogReader>> Read(LogOffset from) override;

  // --- What a test may do to it

  // Which of the two becomes of a record whose append fails: as UNAVAILABLE says, nobody can know.
  enum class Fate { kLost, kAppended };
  // The next `count` appends fail with `error`.
  void FailAppends(absl::Status error, size_t count, Fate fate);
  // Records are appended, and nobody is told, until ReleaseAppends().
  void HoldAppends();
  void ReleaseAppends();
  // The log cannot be read, nor asked for its end, until GoOnReading(), and says why.
  void StopReading(absl::Status why = absl::UnavailableError("the log cannot be reached"));
  void GoOnReading();
  // Keeps nothing below `offset`, as retention does.
  void DropBefore(LogOffset offset);
  // The next `count` offsets are of no record.
  void LeaveGap(LogOffset count);

 private:
  struct Records;
  class Reader;

  void Tell();

  const size_t most_record_bytes_;
  const std::shared_ptr<Records> records_;

  Mutex mutex_;
  CondVar untold_more_;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  size_t failing_ ABSL_GUARDED_BY(mutex_) = 0;
  Fate fate_ ABSL_GUARDED_BY(mutex_) = Fate::kLost;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::pair<Appended, absl::StatusOr<LogOffset>>> untold_ ABSL_GUARDED_BY(mutex_);
  std::thread teller_;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_MEMORY_LOG_H_
