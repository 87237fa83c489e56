// DurableDb: one RocksDB whose every write carries where the store stands, with a commit watermark beside it.
//
// What the entry store and the catalogue share: opening with all checks, one way to write, one way to sync, and no way
// on after a failure.
#ifndef MNEME_STORAGE_DURABLE_DB_H_
#define MNEME_STORAGE_DURABLE_DB_H_

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "storage/commit_watermark.h"
#include "storage/format.h"
#include "storage/log_guard.h"
#include "storage/rocksdb_options.h"
#include "storage/write_chain.h"

namespace mneme {

struct DurableDbOptions {
  struct Family {
    const char* name;
    FamilyUse use;
    uint32_t since = 1;  // the store format that brought it
  };
  std::string path;
  const StoreResources::State* resources = nullptr;
  std::shared_ptr<rocksdb::FileSystem> file_system;  // null: the machine's
  bool accept_truncated_log = false;
  std::vector<Family> families;  // beside meta
  uint32_t new_format = format::kStoreFormat;  // of a database that is made
};

// Thread-safe, but for Sync(), which one thread calls at a time. `resources` must outlive it.
class DurableDb {
 public:
  // Errors as OpenRocksDbEntryStore().
  static absl::StatusOr<std::unique_ptr<DurableDb>> Open(DurableDbOptions options);
  // Syncs what was written, unless a failure came before.
  ~DurableDb();

  rocksdb::DB& db() const { return *db_; }
  // In the order of DurableDbOptions::families.
  rocksdb::ColumnFamilyHandle* family(size_t i) const { return families_[i + 1]; }
  const std::string& path() const { return path_; }

  // One of format.h.
  uint32_t store_format() const { return store_format_; }

  format::StoreState state() const ABSL_LOCKS_EXCLUDED(mu_);

  // Writes `batch` atomically together with the new state: `applied` when given, and `counter_change` added to the
  // counter. After an error every later Write() and Sync() returns that error.
  absl::Status Write(rocksdb::WriteBatch& batch, std::optional<Sequence> applied, int64_t counter_change)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Syncs the log up to the last write, and leaves the watermark. Errors as of Sync(); any thread.
  absl::Status SyncLog() ABSL_LOCKS_EXCLUDED(mu_);
  // Syncs the log up to the last write, then raises the watermark; returns the sequence that is now durable.
  absl::StatusOr<Sequence> Sync() ABSL_LOCKS_EXCLUDED(mu_);
  // Moves what is in the log alone to tables. Errors as of Sync().
  absl::Status Flush() ABSL_LOCKS_EXCLUDED(mu_);
  // Makes `path`, which must not exist, a copy of the database as of a moment during the call: links to its tables,
  // which never change, and copies of the rest, the log since the last flush included.
  absl::Status Checkpoint(const std::string& path) const;
  // Fails every later write and sync with `status`; the first failure stays.
  absl::Status Fail(absl::Status status) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  explicit DurableDb(const DurableDbOptions& options);
  absl::StatusOr<std::optional<Sequence>> ReadWatermark(bool accept_damage) const;
  // The names of the stored families. `whole`: the store was finished once, so all of format 1 must be there: what is
  // missing would be created empty, and RocksDB would drop what the log holds for it.
  absl::StatusOr<std::vector<std::string>> CheckFamilies(const DurableDbOptions& options, bool whole) const;
  // The same for families of later formats, whose format only the opened database tells; those that were created for
  // nothing go again.
  absl::Status CheckCreated(const DurableDbOptions& options, const std::vector<std::string>& stored);
  // Opens RocksDB once; `tables` as for WriteChain. Without it what was recovered stays in the log for now.
  absl::Status OpenDb(const DurableDbOptions& options, Sequence watermark, std::optional<format::StoreState> tables);
  absl::Status Recover(const DurableDbOptions& options, std::optional<Sequence> watermark);
  absl::Status FlushRecovered();
  void CloseDb();
  absl::Status ReadState(uint32_t new_format) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status OpenWatermark(std::optional<Sequence> watermark, bool accept_truncated_log) ABSL_LOCKS_EXCLUDED(mu_);
  std::string WatermarkPath() const;

  // Constant after Open().
  const std::string path_;
  const std::shared_ptr<LogGuard> logs_;
  const std::unique_ptr<rocksdb::Env> env_;  // over logs_
  std::unique_ptr<WriteChain> chain_;  // RocksDB keeps a pointer to it
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> families_;  // meta first
  uint32_t store_format_ = format::kStoreFormat;

  // Used by Sync() alone.
  std::unique_ptr<CommitWatermark> watermark_;

  mutable Mutex mu_;  // held while RocksDB writes, so that numbers enter the log in order
  format::StoreState state_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mneme

#endif  // MNEME_STORAGE_DURABLE_DB_H_
