// Order of opening:
// 1. Read the watermark: damage is refused before anything is touched. So is a store that has lost a column family:
//    RocksDB takes a flipped bit in the length of any record of its MANIFEST for a torn end.
// 2. Open RocksDB; WriteChain looks for holes in the log while it recovers. Nothing is moved from the log to tables
//    before the whole was looked at; at a hole behind all that was acknowledged, RocksDB is opened a second time, to
//    recover up to the hole only and to discard the rest.
// 3. Read the state record and compare: a log that ends before the watermark has lost acknowledged writes.
// 4. Create or open the watermark for writing.
#include "storage/durable_db.h"

#include <rocksdb/utilities/checkpoint.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

rocksdb::ReadOptions Verified() {
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  return options;
}

// The bytes under `key` in the meta family; nullopt when there are none.
absl::StatusOr<std::optional<std::string>> ReadMeta(rocksdb::DB& db, const char* key) {
  std::string value;
  const rocksdb::Status status = db.Get(Verified(), key, &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  RETURN_IF_ERROR(FromRocksDb(status, "read its state"));
  return std::optional<std::string>(std::move(value));
}

absl::Status LostFamily(const std::string& path, const char* name) {
  return absl::DataLossError(
      absl::StrCat(path, " has lost its column family ", name, ": its manifest is damaged; restore from a backup"));
}

absl::Status EnsureDirectory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("could not create ", path, ": ", error.message()));
}

}  // namespace

DurableDb::DurableDb(const DurableDbOptions& options)
    : path_(options.path),
      logs_(std::make_shared<LogGuard>(options.file_system != nullptr ? options.file_system
                                                                      : rocksdb::FileSystem::Default())),
      env_(rocksdb::NewCompositeEnv(logs_)) {}

absl::StatusOr<std::unique_ptr<DurableDb>> DurableDb::Open(DurableDbOptions options) {
  std::unique_ptr<DurableDb> store(new DurableDb(options));
  RETURN_IF_ERROR(EnsureDirectory(options.path));
  ASSIGN_OR_RETURN(const std::optional<Sequence> watermark, store->ReadWatermark(options.accept_truncated_log));  // 1
  RETURN_IF_ERROR(store->Recover(options, watermark));                                                           // 1, 2
  RETURN_IF_ERROR(store->ReadState(options.new_format));                                                         // 3
  RETURN_IF_ERROR(store->OpenWatermark(watermark, options.accept_truncated_log));                                // 3, 4
  return store;
}

DurableDb::~DurableDb() {
  // A clean end needs no sync for what was acknowledged; it spares the rest a power loss soon after. After a failure
  // nothing is synced, and what RocksDB would write while it closes stops at the guard of the logs.
  if (watermark_ != nullptr) (void)Sync();
  CloseDb();
}

void DurableDb::CloseDb() {
  for (rocksdb::ColumnFamilyHandle* family : families_) (void)db_->DestroyColumnFamilyHandle(family);
  families_.clear();
  if (db_ != nullptr) (void)db_->Close();
  db_.reset();
}

std::string DurableDb::WatermarkPath() const { return path_ + "/" + format::kWatermarkFile; }

absl::StatusOr<std::optional<Sequence>> DurableDb::ReadWatermark(bool accept_damage) const {
  absl::StatusOr<std::optional<Sequence>> watermark = CommitWatermark::Read(WatermarkPath());
  if (accept_damage && absl::IsDataLoss(watermark.status())) return std::optional<Sequence>();
  RETURN_IF_ERROR(watermark.status());
  // RocksDB would create an empty database here: the log of one that acknowledged writes is gone.
  std::error_code error;
  if (watermark->value_or(0) > 0 && !accept_damage && !std::filesystem::exists(path_ + "/CURRENT", error)) {
    return absl::DataLossError(absl::StrCat(path_, " holds no database, but writes up to ", **watermark,
                                            " were acknowledged as durable; restore from a backup"));
  }
  return *watermark;
}

absl::StatusOr<std::vector<std::string>> DurableDb::CheckFamilies(const DurableDbOptions& options, bool whole) const {
  std::error_code error;
  std::vector<std::string> stored;
  if (!std::filesystem::exists(path_ + "/CURRENT", error)) return stored;
  rocksdb::DBOptions db_options;
  db_options.env = env_.get();
  RETURN_IF_ERROR(FromRocksDb(rocksdb::DB::ListColumnFamilies(db_options, path_, &stored), "open"));
  for (const std::string& name : stored) {
    const bool known = name == format::kMetaFamily ||
                       std::any_of(options.families.begin(), options.families.end(),
                                   [&](const DurableDbOptions::Family& family) { return family.name == name; });
    if (!known) {
      return absl::FailedPreconditionError(
          absl::StrCat(path_, " holds the column family ", name,
                       ", which this program does not know; use a newer one"));
    }
  }
  for (const DurableDbOptions::Family& family : options.families) {
    if (whole && family.since == 1 && std::find(stored.begin(), stored.end(), family.name) == stored.end()) {
      return LostFamily(path_, family.name);
    }
  }
  return stored;
}

absl::Status DurableDb::CheckCreated(const DurableDbOptions& options, const std::vector<std::string>& stored) {
  if (stored.empty()) return absl::OkStatus();  // all of the database is new
  ASSIGN_OR_RETURN(const std::optional<std::string> version, ReadMeta(*db_, format::kFormatKey));
  if (!version.has_value()) return absl::OkStatus();  // nothing was ever written; ReadState() has the last word
  ASSIGN_OR_RETURN(const uint32_t written, format::DecodeStoreFormat(*version));
  for (size_t i = 0; i < options.families.size(); ++i) {
    const DurableDbOptions::Family& family = options.families[i];
    if (family.since > written || std::find(stored.begin(), stored.end(), family.name) != stored.end()) continue;
    if (family.since == 1 || options.accept_truncated_log) continue;
    RETURN_IF_ERROR(FromRocksDb(db_->DropColumnFamily(families_[i + 1]), "drop an empty family"));
    return LostFamily(path_, family.name);
  }
  return absl::OkStatus();
}

absl::Status DurableDb::OpenDb(const DurableDbOptions& options, Sequence watermark,
                               std::optional<format::StoreState> tables) {
  chain_ = std::make_unique<WriteChain>(watermark, options.accept_truncated_log, tables);
  rocksdb::DBOptions db_options = DatabaseOptions(*options.resources);
  db_options.env = env_.get();
  db_options.wal_filter = chain_.get();
  db_options.avoid_flush_during_recovery = !tables.has_value();
  if (options.accept_truncated_log) {
    db_options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
    db_options.track_and_verify_wals_in_manifest = false;
  }
  rocksdb::ColumnFamilyOptions meta = FamilyOptions(*options.resources, FamilyUse::kOrdered);
  meta.table_properties_collector_factories.push_back(NewStateCollectorFactory());
  meta.disable_auto_compactions = true;  // until StateInTables() has seen the tables as they were
  std::vector<rocksdb::ColumnFamilyDescriptor> families = {{format::kMetaFamily, meta}};
  for (const DurableDbOptions::Family& family : options.families) {
    families.emplace_back(family.name, FamilyOptions(*options.resources, family.use));
  }
  rocksdb::DB* db = nullptr;
  RETURN_IF_ERROR(FromRocksDb(rocksdb::DB::Open(db_options, path_, families, &families_, &db), "open"));
  db_.reset(db);
  return absl::OkStatus();
}

absl::Status DurableDb::Recover(const DurableDbOptions& options, std::optional<Sequence> mark) {
  const Sequence watermark = mark.value_or(0);
  ASSIGN_OR_RETURN(const std::vector<std::string> stored,
                   CheckFamilies(options, mark.has_value() && !options.accept_truncated_log));
  RETURN_IF_ERROR(OpenDb(options, watermark, std::nullopt));
  RETURN_IF_ERROR(CheckCreated(options, stored));
  ASSIGN_OR_RETURN(const format::StoreState tables, StateInTables(*db_));
  const uint64_t first = chain_->first_write();
  const bool hole_first = first > tables.writes + 1;
  if (!hole_first && !chain_->stopped()) return FlushRecovered();
  if (hole_first && !options.accept_truncated_log && tables.applied < watermark) {
    return absl::DataLossError(absl::StrCat("the log of ", path_, " begins at write ", first,
                                            ", but the tables end at ", tables.writes, "; restore from a backup"));
  }
  CloseDb();
  RETURN_IF_ERROR(OpenDb(options, watermark, tables));
  ASSIGN_OR_RETURN(const format::StoreState tables_again, StateInTables(*db_));
  if (hole_first && tables_again != tables) {
    return absl::DataLossError(absl::StrCat("the log of ", path_, " has a hole before write ", first,
                                            " that was seen too late; restore from a backup"));
  }
  return FlushRecovered();
}

absl::Status DurableDb::FlushRecovered() {
  // RocksDB syncs the log that it writes, never one that it has read: what was recovered becomes durable as tables.
  if (chain_->first_write() != 0) {
    RETURN_IF_ERROR(FromRocksDb(db_->Flush(rocksdb::FlushOptions(), families_), "flush"));
  }
  return FromRocksDb(db_->EnableAutoCompaction({families_[0]}), "start compactions");
}

absl::Status DurableDb::ReadState(uint32_t new_format) {
  ASSIGN_OR_RETURN(const std::optional<std::string> version, ReadMeta(*db_, format::kFormatKey));
  ASSIGN_OR_RETURN(const std::optional<std::string> state, ReadMeta(*db_, format::kStateKey));
  if (!version.has_value() && !state.has_value()) {
    store_format_ = new_format;
    rocksdb::WriteBatch batch;
    batch.Put(families_[0], format::kFormatKey, format::EncodeStoreFormat(store_format_));
    return Write(batch, std::nullopt, 0);
  }
  if (!version.has_value() || !state.has_value()) return absl::DataLossError(absl::StrCat(path_, " lacks its state"));
  ASSIGN_OR_RETURN(const uint32_t stored, format::DecodeStoreFormat(*version));
  if (stored == 0 || stored > format::kReshardedStoreFormat) {
    return absl::FailedPreconditionError(absl::StrCat(path_, " has store format ", stored,
                                                      "; this program reads formats 1 to ",
                                                      format::kReshardedStoreFormat));
  }
  {
    MutexLock lock(&mu_);
    ASSIGN_OR_RETURN(state_, format::DecodeState(*state));
  }
  store_format_ = std::max(stored, format::kStoreFormat);
  if (store_format_ == stored) return absl::OkStatus();
  rocksdb::WriteBatch batch;
  batch.Put(families_[0], format::kFormatKey, format::EncodeStoreFormat(store_format_));
  return Write(batch, std::nullopt, 0);
}

absl::Status DurableDb::OpenWatermark(std::optional<Sequence> watermark, bool accept_truncated_log) {
  const Sequence applied = state().applied;
  const bool fresh = !watermark.has_value() && applied == 0;
  if (!fresh && !accept_truncated_log) {
    // The file is synced into place before the first write is acknowledged, so with writes there must be one.
    if (!watermark.has_value()) {
      return absl::DataLossError(absl::StrCat(WatermarkPath(), " is missing, so the log cannot be checked; restore it, "
                                              "or open with accept_truncated_log"));
    }
    if (applied < *watermark) {
      return absl::DataLossError(absl::StrCat("the log ends at sequence ", applied, ", but writes up to ", *watermark,
                                              " were acknowledged as durable; restore from a backup, or open with "
                                              "accept_truncated_log"));
    }
  }
  if (fresh || accept_truncated_log) {
    // What is stored now becomes the truth: it must be durable before the file says so.
    RETURN_IF_ERROR(FromRocksDb(logs_->SyncLogs(*db_), "sync"));
    ASSIGN_OR_RETURN(watermark_, CommitWatermark::Create(WatermarkPath(), applied));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(watermark_, CommitWatermark::Open(WatermarkPath()));
  return absl::OkStatus();
}

format::StoreState DurableDb::state() const {
  MutexLock lock(&mu_);
  return state_;
}

absl::Status DurableDb::Write(rocksdb::WriteBatch& batch, std::optional<Sequence> applied, int64_t counter_change) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(failure_);
  format::StoreState next = state_;
  next.applied = applied.value_or(state_.applied);
  next.writes += 1;
  next.counter += static_cast<uint64_t>(counter_change);
  if (next.applied < state_.applied) {
    failure_ = absl::InternalError(
        absl::StrCat("sequence is ", next.applied, "; must be at least ", state_.applied, ", which was applied"));
    return failure_;
  }
  rocksdb::Status status = batch.Put(families_[0], format::kStateKey, format::EncodeState(next));
  rocksdb::WriteOptions options;
  options.sync = false;
  if (status.ok()) status = db_->Write(options, &batch);
  failure_ = FromRocksDb(status, "commit");
  RETURN_IF_ERROR(failure_);
  state_ = next;
  return absl::OkStatus();
}

absl::Status DurableDb::SyncLog() {
  {
    MutexLock lock(&mu_);
    RETURN_IF_ERROR(failure_);
  }
  const absl::Status synced = FromRocksDb(logs_->SyncLogs(*db_), "sync");
  return synced.ok() ? synced : Fail(synced);
}

absl::StatusOr<Sequence> DurableDb::Sync() {
  Sequence applied;
  {
    MutexLock lock(&mu_);
    RETURN_IF_ERROR(failure_);
    applied = state_.applied;
  }
  // After a failed sync the kernel may have thrown the pages away and report success next time: no second try.
  absl::Status status = FromRocksDb(logs_->SyncLogs(*db_), "sync");
  if (status.ok()) status = watermark_->Advance(applied);
  if (!status.ok()) return Fail(std::move(status));
  return applied;
}

absl::Status DurableDb::Flush() {
  {
    MutexLock lock(&mu_);
    RETURN_IF_ERROR(failure_);
  }
  // A log may have failed in the background; RocksDB would begin another one.
  if (const absl::Status logs = FromRocksDb(logs_->failure(), "flush"); !logs.ok()) return Fail(logs);
  const absl::Status flushed = FromRocksDb(db_->Flush(rocksdb::FlushOptions(), families_), "flush");
  // It may have failed on the log.
  return flushed.ok() ? flushed : Fail(flushed);
}

absl::Status DurableDb::Checkpoint(const std::string& path) const {
  rocksdb::Checkpoint* made = nullptr;
  RETURN_IF_ERROR(FromRocksDb(rocksdb::Checkpoint::Create(db_.get(), &made), "make a checkpoint"));
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  constexpr uint64_t kNeverFlush = std::numeric_limits<uint64_t>::max();
  return FromRocksDb(checkpoint->CreateCheckpoint(path, kNeverFlush), "make a checkpoint");
}

absl::Status DurableDb::Fail(absl::Status status) {
  MutexLock lock(&mu_);
  if (failure_.ok()) failure_ = std::move(status);
  return failure_;
}

}  // namespace mneme
