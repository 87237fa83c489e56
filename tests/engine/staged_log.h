// StagedLog: the log of a shard as one replica sees it, at the pace that a test sets. Records come in the batches in
// which they are fed, and with the store of the same stage each batch is one group of the shard's writer, whatever the
// threads do: the next comes while the writer commits the one before it, and the writer goes on when it has come.
#ifndef MNEME_TESTS_ENGINE_STAGED_LOG_H_
#define MNEME_TESTS_ENGINE_STAGED_LOG_H_

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "engine/shard_log.h"

namespace mneme::testing {

// Thread-safe. Borrows the log that is appended to.
class StagedLog final : public ShardLog {
 public:
  explicit StagedLog(ShardLog* log) : log_(log) {}

  size_t most_record_bytes() const override { return log_->most_record_bytes(); }
  void Append(std::string record, Appended appended) override { log_->Append(std::move(record), std::move(appended)); }
  absl::StatusOr<LogOffset> End(const CallLimits& limits) const override { return log_->End(limits); }
  absl::StatusOr<LogOffset> Begin(const CallLimits& limits) const override { return log_->Begin(limits); }
  // One reader at a time: of what is fed.
  absl::StatusOr<std::unique_ptr<LogReader>> Read(LogOffset from) override;

  // The first batch must be one record: the writer takes whatever is there when it is idle.
  void Feed(std::vector<std::vector<LoggedBytes>> batches) ABSL_LOCKS_EXCLUDED(mutex_);
  // Of the store, before it commits.
  void Commits() ABSL_LOCKS_EXCLUDED(mutex_);
  // Nobody is held up any more, and nothing more comes.
  void Open() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Reader;

  ShardLog* const log_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::vector<LoggedBytes>> batches_ ABSL_GUARDED_BY(mutex_);
  size_t delivered_ ABSL_GUARDED_BY(mutex_) = 0;   // batches that a reader took
  size_t handed_ ABSL_GUARDED_BY(mutex_) = 0;      // of them those that the writer has in its queue
  size_t committing_ ABSL_GUARDED_BY(mutex_) = 0;  // batches of which one commit at least has begun
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_STAGED_LOG_H_
