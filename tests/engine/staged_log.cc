#include "tests/engine/staged_log.h"

#include <chrono>
#include <utility>

namespace mneme::testing {

class StagedLog::Reader final : public LogReader {
 public:
  explicit Reader(StagedLog* log) : log_(log) {}

  absl::Status Next(std::chrono::milliseconds wait, size_t, std::vector<LoggedBytes>& records) override {
    {
      MutexLock lock(&log_->mutex_);
      log_->handed_ = log_->delivered_;  // who asks again has handed over what it was given
    }
    log_->changed_.NotifyAll();
    MutexLock lock(&log_->mutex_);
    const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(log_->mutex_) {
      return log_->open_ || (!log_->batches_.empty() && log_->committing_ == log_->delivered_);
    };
    if (!log_->changed_.AwaitFor(&log_->mutex_, wait, ready) || log_->open_) return absl::OkStatus();
    records = std::move(log_->batches_.front());
    log_->batches_.pop_front();
    ++log_->delivered_;
    return absl::OkStatus();
  }
  // What was not fed is still to come.
  LogOffset next() const override { return 0; }
  LogOffset seen_end() const override { return log_->End({}).value_or(0); }

 private:
  StagedLog* const log_;
};

absl::StatusOr<std::unique_ptr<LogReader>> StagedLog::Read(LogOffset) { return std::make_unique<Reader>(this); }

void StagedLog::Feed(std::vector<std::vector<LoggedBytes>> batches) {
  {
    MutexLock lock(&mutex_);
    for (auto& batch : batches) batches_.push_back(std::move(batch));
  }
  changed_.NotifyAll();
}

void StagedLog::Commits() {
  {
    MutexLock lock(&mutex_);
    committing_ = delivered_;
  }
  changed_.NotifyAll();
  MutexLock lock(&mutex_);
  changed_.Await(&mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return open_ || (batches_.empty() && handed_ == delivered_) || (delivered_ > committing_ && handed_ == delivered_);
  });
}

void StagedLog::Open() {
  {
    MutexLock lock(&mutex_);
    open_ = true;
  }
  changed_.NotifyAll();
}

}  // namespace mneme::testing
