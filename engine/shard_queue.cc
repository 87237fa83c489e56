// What goes into a shard and when it is told: the queue of operations, the writer's loop that takes from it, and the
// syncer's, which acknowledges once the log is durable (I1).
#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/shard.h"

namespace mneme {
namespace {

// Bytes that one group commits at most: more would only delay the first of it.
constexpr uint64_t kGroupBytes = 8 * 1024 * 1024;

}  // namespace

absl::Status Shard::Submit(WriteOperation operation) {
  const uint64_t bytes = BytesOf(operation);
  {
    MutexLock lock(&queue_mutex_);
    if (stopping_) return absl::UnavailableError("the server is shutting down");
    RETURN_IF_ERROR(write_status_);
    if (const auto moment = MomentOf(operation); moment.has_value() && (moment->position != 0) != logged_) {
      return absl::FailedPreconditionError(absl::StrCat(
          "shard ", number_, logged_ ? " takes writes from its log alone" : " has no log whose places it could take"));
    }
    // Background work must get through under overload: it is what frees ram. Who reads a log waits for room.
    const bool of_client =
        !logged_ &&
        (std::holds_alternative<InsertOperation>(operation) || std::holds_alternative<DeleteOperation>(operation) ||
         std::holds_alternative<StateOperation>(operation) || std::holds_alternative<RememberOperation>(operation));
    if (of_client && queued_bytes_ + bytes > limits::kMaxQueuedWriteBytes) {
      return WithReason(absl::ResourceExhaustedError(absl::StrCat("shard ", number_, " has ", queued_bytes_,
                                                                  " bytes of writes waiting; the bound is ",
                                                                  limits::kMaxQueuedWriteBytes)),
                        reason::kQueueFull);
    }
    queued_bytes_ += bytes;
    queue_.push_back(std::move(operation));
  }
  queued_.NotifyOne();
  return absl::OkStatus();
}

void Shard::RunWriter() {
  std::deque<WriteOperation> operations;
  while (true) {
    uint64_t bytes = 0;
    {
      MutexLock lock(&queue_mutex_);
      queued_.Await(
          &queue_mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(queue_mutex_) { return !queue_.empty() || stopping_; });
      if (queue_.empty()) return;
      while (!queue_.empty() && (operations.empty() || bytes < kGroupBytes)) {
        bytes += BytesOf(queue_.front());
        operations.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
    }
    Apply(operations);
    operations.clear();
    MutexLock lock(&queue_mutex_);
    queued_bytes_ -= std::min(bytes, queued_bytes_);
  }
}

void Shard::RunSyncer() {
  while (true) {
    std::vector<std::function<void(absl::Status)>> waiting;
    {
      MutexLock lock(&sync_mutex_);
      sync_wanted_.Await(&sync_mutex_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(sync_mutex_) {
        return !unsynced_.empty() || writer_done_;
      });
      if (unsynced_.empty()) return;
      waiting.swap(unsynced_);
    }
    absl::Status synced = store_->Sync().status();
    if (!synced.ok()) {
      Refuse(synced);
      synced = write_status();
    }
    for (auto& done : waiting) done(synced);
  }
}

void Shard::Refuse(absl::Status status) {
  if (absl::IsResourceExhausted(status)) status = WithReason(std::move(status), reason::kStorageFull);
  MutexLock lock(&queue_mutex_);
  if (write_status_.ok()) write_status_ = std::move(status);
}

absl::Status Shard::write_status() const {
  MutexLock lock(&queue_mutex_);
  return write_status_;
}

uint64_t Shard::queued_bytes() const {
  MutexLock lock(&queue_mutex_);
  return queued_bytes_;
}

void Shard::AfterSync(std::function<void(absl::Status)> done) {
  {
    MutexLock lock(&sync_mutex_);
    unsynced_.push_back(std::move(done));
  }
  sync_wanted_.NotifyOne();
}

}  // namespace mneme
