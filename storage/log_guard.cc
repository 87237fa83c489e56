#include "storage/log_guard.h"

#include <string_view>
#include <utility>

namespace mneme {
namespace {

using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr std::string_view kLogSuffix = ".log";

bool IsLog(std::string_view path) {
  return path.size() >= kLogSuffix.size() && path.substr(path.size() - kLogSuffix.size()) == kLogSuffix;
}

// Takes everything, and writes what it can.
class LossyFile final : public FSWritableFile {
 public:
  explicit LossyFile(std::unique_ptr<FSWritableFile> file) : file_(std::move(file)) {}

  using FSWritableFile::Append;
  IOStatus Append(const Slice& bytes, const IOOptions& options, IODebugContext* debug) override {
    if (file_ != nullptr) file_->Append(bytes, options, debug).PermitUncheckedError();
    return IOStatus::OK();
  }
  IOStatus Flush(const IOOptions& options, IODebugContext* debug) override {
    if (file_ != nullptr) file_->Flush(options, debug).PermitUncheckedError();
    return IOStatus::OK();
  }
  IOStatus Sync(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    if (file_ != nullptr) file_->Close(options, debug).PermitUncheckedError();
    file_.reset();
    return IOStatus::OK();
  }

 private:
  std::unique_ptr<FSWritableFile> file_;  // null: there is none, or it was closed
};

class LossyFiles final : public rocksdb::FileSystemWrapper {
 public:
  using FileSystemWrapper::FileSystemWrapper;
  const char* Name() const override { return "LossyFiles"; }
  IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                           std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) override {
    std::unique_ptr<FSWritableFile> opened;
    FileSystemWrapper::NewWritableFile(path, options, &opened, debug).PermitUncheckedError();
    *file = std::make_unique<LossyFile>(std::move(opened));
    return IOStatus::OK();
  }
};

}  // namespace

class GuardedLog final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  GuardedLog(std::unique_ptr<FSWritableFile> file, LogGuard* guard)
      : FSWritableFileOwnerWrapper(std::move(file)), guard_(guard) {}

  IOStatus Append(const Slice& bytes, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = guard_->failure();
    if (status.ok()) status = FSWritableFileOwnerWrapper::Append(bytes, options, debug);
    if (!status.ok()) {
      guard_->Fail(status);
      // SyncWAL() may be past IsSyncThreadSafe(), and has to reach it before RocksDB knows. It waits for no writer.
      guard_->AwaitSync();
    }
    return status;
  }
  IOStatus Append(const Slice& bytes, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(bytes, options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = guard_->failure();
    if (status.ok()) status = FSWritableFileOwnerWrapper::Sync(options, debug);
    if (!status.ok()) guard_->Fail(status);
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override { return Sync(options, debug); }
  // SyncWAL() asks after it has waited for a flush that syncs the same log, and ends with an error when it may not.
  bool IsSyncThreadSafe() const override {
    return guard_->failure().ok() && FSWritableFileOwnerWrapper::IsSyncThreadSafe();
  }

 private:
  LogGuard* const guard_;
};

rocksdb::Status LogGuard::SyncLogs(rocksdb::DB& db) {
  MutexLock lock(&syncing_);
  IOStatus failed = failure();
  if (!failed.ok()) return failed;
  const rocksdb::Status synced = db.SyncWAL();
  if (synced.ok()) return synced;
  failed = failure();  // what came first tells more
  return failed.ok() ? synced : failed;
}

IOStatus LogGuard::failure() const {
  MutexLock lock(&mu_);
  return failure_;
}

void LogGuard::Fail(const IOStatus& status) {
  MutexLock lock(&mu_);
  if (failure_.ok()) failure_ = status;
}

void LogGuard::AwaitSync() { MutexLock lock(&syncing_); }

IOStatus LogGuard::NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                   std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) {
  const IOStatus opened = FileSystemWrapper::NewWritableFile(path, options, file, debug);
  if (opened.ok() && IsLog(path)) *file = std::make_unique<GuardedLog>(std::move(*file), this);
  return opened;
}

IOStatus LogGuard::NewLogger(const std::string& path, const IOOptions& options,
                             std::shared_ptr<rocksdb::Logger>* logger, IODebugContext* debug) {
  LossyFiles files(base_);
  return files.FileSystem::NewLogger(path, options, logger, debug);  // RocksDB's own, over a file of `files`
}

void StayStopped::OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* error) {
  if (error->severity() == rocksdb::Status::Severity::kHardError) {
    *error = rocksdb::Status(*error, rocksdb::Status::Severity::kFatalError);
  }
}

void StayStopped::OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status error, bool* recover) {
  if (error.severity() >= rocksdb::Status::Severity::kHardError) *recover = false;
}

}  // namespace mneme
