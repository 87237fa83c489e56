// LogGuard: the file system below a RocksDB, which keeps a log that has failed from being touched again.
//
// RocksDB 7.8 asserts, as Debian builds it, that a file of which a write or sync has failed is not written or synced
// another time. It does not keep to that itself:
// - Its text log (LOG) takes the next line whatever became of the last one. On a full disk the process would end at one
//   of the next lines, at the latest at those about closing. Mended in later versions.
// - SyncWAL() syncs a write-ahead log (*.log) whose write fails in another thread meanwhile, or of which a flush in the
//   background could not be synced.
// - It takes up writing by itself when a full disk has room again, out of the buffer of a log that ends amid a record.
// So lines of the text log that cannot be written are dropped here without a word, and after the first failure of a
// write-ahead log none is written or synced any more, whoever asks: each gets that failure.
#ifndef MNEME_STORAGE_LOG_GUARD_H_
#define MNEME_STORAGE_LOG_GUARD_H_

#include <rocksdb/db.h>
#include <rocksdb/file_system.h>
#include <rocksdb/listener.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace mneme {

// Of one database, which is the only one to sync its logs through SyncLogs(). Thread-safe.
class LogGuard final : public rocksdb::FileSystemWrapper {
 public:
  explicit LogGuard(std::shared_ptr<rocksdb::FileSystem> base)
      : FileSystemWrapper(base), base_(std::move(base)) {}

  // DB::SyncWAL(), and nothing but the failure once a log has failed. A write that fails waits for its end.
  rocksdb::Status SyncLogs(rocksdb::DB& db) ABSL_LOCKS_EXCLUDED(syncing_, mu_);
  // The first failure of a write or sync of a write-ahead log; OK while there was none.
  rocksdb::IOStatus failure() const ABSL_LOCKS_EXCLUDED(mu_);

  const char* Name() const override { return "LogGuard"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  // The text log: never an error, at most a log without lines.
  rocksdb::IOStatus NewLogger(const std::string& path, const rocksdb::IOOptions& options,
                              std::shared_ptr<rocksdb::Logger>* logger, rocksdb::IODebugContext* debug) override;

 private:
  friend class GuardedLog;
  // Keeps the first failure.
  void Fail(const rocksdb::IOStatus& status) ABSL_LOCKS_EXCLUDED(mu_);
  void AwaitSync() ABSL_LOCKS_EXCLUDED(syncing_);

  const std::shared_ptr<rocksdb::FileSystem> base_;
  Mutex syncing_;  // held while RocksDB syncs
  mutable Mutex mu_;
  rocksdb::IOStatus failure_ ABSL_GUARDED_BY(mu_);
};

// Makes every error that stops a database final: without it RocksDB flushes and goes on once a full disk has room.
// A compaction that found none may be taken up again: it reads and writes tables alone.
class StayStopped final : public rocksdb::EventListener {
 public:
  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override;
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason reason, rocksdb::Status error, bool* recover) override;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_LOG_GUARD_H_
