#include "tests/engine/memory_log.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace mneme::testing {

// Shared with the readers.
struct MemoryLog::Records {
  mutable Mutex mutex;
  CondVar changed;
  std::deque<LoggedBytes> kept ABSL_GUARDED_BY(mutex);
  LogOffset first ABSL_GUARDED_BY(mutex) = 0;  // nothing below it is kept
  LogOffset end ABSL_GUARDED_BY(mutex) = 0;
  absl::Status reach ABSL_GUARDED_BY(mutex);

  absl::Status Check(LogOffset next) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (next >= first && next <= end) return absl::OkStatus();
    return absl::OutOfRangeError(absl::StrCat("offset is ", next, "; the log has [", first, ", ", end, "]"));
  }
  LogOffset Add(std::string bytes) ABSL_LOCKS_EXCLUDED(mutex) {
    MutexLock lock(&mutex);
    kept.push_back({end, std::move(bytes)});
    return end++;
  }
};

class MemoryLog::Reader final : public LogReader {
 public:
  Reader(std::shared_ptr<Records> records, LogOffset next) : records_(std::move(records)), next_(next) {}

  absl::Status Next(std::chrono::milliseconds wait, size_t most_bytes, std::vector<LoggedBytes>& records) override {
    MutexLock lock(&records_->mutex);
    const auto first = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(records_->mutex) {
      return std::lower_bound(records_->kept.begin(), records_->kept.end(), next_,
                              [](const LoggedBytes& record, LogOffset offset) { return record.offset < offset; });
    };
    records_->changed.AwaitFor(&records_->mutex, wait, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(records_->mutex) {
      return records_->reach.ok() && (first() != records_->kept.end() || !records_->Check(next_).ok());
    });
    RETURN_IF_ERROR(records_->reach);
    RETURN_IF_ERROR(records_->Check(next_));
    size_t bytes = 0;
    for (auto record = first(); record != records_->kept.end(); ++record) {
      if (bytes != 0 && bytes + record->bytes.size() > most_bytes) return absl::OkStatus();
      bytes += std::max<size_t>(record->bytes.size(), 1);
      records.push_back(*record);
      next_ = record->offset + 1;
    }
    next_ = records_->end;
    return absl::OkStatus();
  }
  LogOffset next() const override { return next_; }
  LogOffset seen_end() const override {
    MutexLock lock(&records_->mutex);
    return records_->reach.ok() ? records_->end : 0;
  }

 private:
  const std::shared_ptr<Records> records_;
  LogOffset next_;
};

MemoryLog::MemoryLog(size_t most_record_bytes)
    : most_record_bytes_(most_record_bytes), records_(std::make_shared<Records>()), teller_([this] { Tell(); }) {}

MemoryLog::~MemoryLog() {
  {
    MutexLock lock(&mutex_);
    ending_ = true;
  }
  untold_more_.NotifyAll();
  teller_.join();
}

void MemoryLog::Append(std::string record, Appended appended) {
  {
    // Held over both, so that who appends one after the other is told so.
    MutexLock lock(&mutex_);
    if (record.size() > most_record_bytes_) {
      untold_.emplace_back(std::move(appended),
                           absl::InvalidArgumentError(absl::StrCat("record has ", record.size(),
                                                                   " bytes; must have at most ", most_record_bytes_)));
    } else if (const bool fails = failing_ > 0; fails && fate_ == Fate::kLost) {
      --failing_;
      untold_.emplace_back(std::move(appended), error_);
    } else {
      const LogOffset offset = records_->Add(std::move(record));
      if (fails) --failing_;
      untold_.emplace_back(std::move(appended), fails ? absl::StatusOr<LogOffset>(error_) : offset);
    }
  }
  records_->changed.NotifyAll();
  untold_more_.NotifyAll();
}

void MemoryLog::Tell() {
  while (true) {
    std::deque<std::pair<Appended, absl::StatusOr<LogOffset>>> told;
    {
      MutexLock lock(&mutex_);
      untold_more_.Await(&mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return ending_ || (!held_ && !untold_.empty());
      });
      if (ending_ && untold_.empty()) return;
      told.swap(untold_);
    }
    for (auto& [appended, result] : told) appended(std::move(result));
  }
}

absl::StatusOr<LogOffset> MemoryLog::End(const CallLimits& limits) const {
  RETURN_IF_ERROR(limits.Check());
  MutexLock lock(&records_->mutex);
  RETURN_IF_ERROR(records_->reach);
  return records_->end;
}

absl::StatusOr<LogOffset> MemoryLog::Begin(const CallLimits& limits) const {
  RETURN_IF_ERROR(limits.Check());
  MutexLock lock(&records_->mutex);
  RETURN_IF_ERROR(records_->reach);
  return records_->first;
}

absl::StatusOr<std::unique_ptr<LogReader>> MemoryLog::Read(LogOffset from) {
  return std::make_unique<Reader>(records_, from);
}

void MemoryLog::FailAppends(absl::Status error, size_t count, Fate fate) {
  MutexLock lock(&mutex_);
  error_ = std::move(error);
  failing_ = count;
  fate_ = fate;
}

void MemoryLog::HoldAppends() {
  MutexLock lock(&mutex_);
  held_ = true;
}

void MemoryLog::ReleaseAppends() {
  {
    MutexLock lock(&mutex_);
    held_ = false;
  }
  untold_more_.NotifyAll();
}

void MemoryLog::StopReading(absl::Status why) {
  MutexLock lock(&records_->mutex);
  records_->reach = std::move(why);
}

void MemoryLog::GoOnReading() {
  {
    MutexLock lock(&records_->mutex);
    records_->reach = absl::OkStatus();
  }
  records_->changed.NotifyAll();
}

void MemoryLog::DropBefore(LogOffset offset) {
  {
    MutexLock lock(&records_->mutex);
    records_->first = std::max(records_->first, std::min(offset, records_->end));
    while (!records_->kept.empty() && records_->kept.front().offset < records_->first) records_->kept.pop_front();
  }
  records_->changed.NotifyAll();
}

void MemoryLog::LeaveGap(LogOffset count) {
  MutexLock lock(&records_->mutex);
  records_->end += count;
}

}  // namespace mneme::testing
