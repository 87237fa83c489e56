#include "tests/storage/fault_file_system.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using rocksdb::FSDirectory;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

// One spelling of a path: no doubled or trailing slashes.
std::string Normal(const std::string& path) {
  const std::filesystem::path normal = std::filesystem::path(path).lexically_normal();
  return normal.has_filename() ? normal.string() : normal.parent_path().string();
}
std::string Parent(const std::string& path) { return std::filesystem::path(Normal(path)).parent_path().string(); }

class FaultFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  FaultFile(std::unique_ptr<FSWritableFile> file, std::string path, const FaultFileSystem::Intercept& intercept)
      : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), intercept_(intercept) {}

  IOStatus Append(const rocksdb::Slice& bytes, const IOOptions& options, IODebugContext* debug) override {
    const IOStatus refused = intercept_(FileOperation::kAppend, path_);
    return refused.ok() ? FSWritableFileOwnerWrapper::Append(bytes, options, debug) : refused;
  }
  IOStatus Append(const rocksdb::Slice& bytes, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(bytes, options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    const IOStatus refused = intercept_(FileOperation::kSync, path_);
    return refused.ok() ? FSWritableFileOwnerWrapper::Sync(options, debug) : refused;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override { return Sync(options, debug); }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    const IOStatus refused = intercept_(FileOperation::kClose, path_);
    return refused.ok() ? FSWritableFileOwnerWrapper::Close(options, debug) : refused;
  }

 private:
  const std::string path_;
  const FaultFileSystem::Intercept& intercept_;
};

class FaultDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  FaultDirectory(std::unique_ptr<FSDirectory> directory, std::string path, const FaultFileSystem::Intercept& intercept)
      : FSDirectoryWrapper(std::move(directory)), path_(std::move(path)), intercept_(intercept) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    const IOStatus refused = intercept_(FileOperation::kSyncDirectory, path_);
    return refused.ok() ? FSDirectoryWrapper::Fsync(options, debug) : refused;
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions&) override {
    return Fsync(options, debug);
  }

 private:
  const std::string path_;
  const FaultFileSystem::Intercept& intercept_;
};

}  // namespace

IOStatus FaultFileSystem::NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                          std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) {
  IOStatus status = intercept_(FileOperation::kCreate, path);
  if (!status.ok()) return status;
  std::unique_ptr<FSWritableFile> real;
  status = target()->NewWritableFile(path, options, &real, debug);
  if (status.ok()) *file = std::make_unique<FaultFile>(std::move(real), path, intercept_);
  return status;
}

IOStatus FaultFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                       std::unique_ptr<FSDirectory>* directory, IODebugContext* debug) {
  std::unique_ptr<FSDirectory> real;
  IOStatus status = target()->NewDirectory(path, options, &real, debug);
  if (status.ok()) *directory = std::make_unique<FaultDirectory>(std::move(real), path, intercept_);
  return status;
}

IOStatus FaultFileSystem::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                                     IODebugContext* debug) {
  const IOStatus refused = intercept_(FileOperation::kRename, to);
  return refused.ok() ? target()->RenameFile(from, to, options, debug) : refused;
}

IOStatus FaultFileSystem::DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* debug) {
  const IOStatus refused = intercept_(FileOperation::kDelete, path);
  return refused.ok() ? target()->DeleteFile(path, options, debug) : refused;
}

class PowerLossFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  PowerLossFile(std::unique_ptr<FSWritableFile> file, PowerLossFileSystem& system,
                std::shared_ptr<PowerLossFileSystem::Inode> inode)
      : FSWritableFileOwnerWrapper(std::move(file)), system_(system), inode_(std::move(inode)) {}

  IOStatus Append(const rocksdb::Slice& bytes, const IOOptions& options, IODebugContext* debug) override {
    MutexLock lock(&system_.mu_);
    system_.Step();
    IOStatus status = FSWritableFileOwnerWrapper::Append(bytes, options, debug);
    if (status.ok()) inode_->written += bytes.size();
    return status;
  }
  IOStatus Append(const rocksdb::Slice& bytes, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(bytes, options, debug);
  }
  // Real syncs are left out: nothing here survives the test, and they are slow.
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    MutexLock lock(&system_.mu_);
    system_.Step();
    inode_->synced = inode_->written;
    return IOStatus::OK();
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override { return Sync(options, debug); }

 private:
  PowerLossFileSystem& system_;
  const std::shared_ptr<PowerLossFileSystem::Inode> inode_;
};

class PowerLossDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  PowerLossDirectory(std::unique_ptr<FSDirectory> directory, std::string path, PowerLossFileSystem& system)
      : FSDirectoryWrapper(std::move(directory)), path_(std::move(path)), system_(system) {}

  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    MutexLock lock(&system_.mu_);
    system_.Step();
    std::erase_if(system_.durable_, [&](const auto& item) { return Parent(item.first) == path_; });
    for (const auto& [path, inode] : system_.live_) {
      if (Parent(path) == path_) system_.durable_[path] = inode;
    }
    return IOStatus::OK();
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions&) override {
    return Fsync(options, debug);
  }

 private:
  const std::string path_;
  PowerLossFileSystem& system_;
};

void PowerLossFileSystem::CutAfter(uint64_t operations, std::function<void()> cut) {
  MutexLock lock(&mu_);
  countdown_ = operations;
  cut_ = std::move(cut);
}

void PowerLossFileSystem::Step() {
  if (cut_ == nullptr || --countdown_ != 0) return;
  cut_();
  cut_ = nullptr;
}

void PowerLossFileSystem::Image(const std::string& directory, const std::string& target, Survival survival,
                                std::mt19937_64& random) const {
  std::filesystem::create_directories(target);
  const std::string from = Normal(directory);
  for (const auto& [path, inode] : survival == Survival::kNames ? live_ : durable_) {
    if (Parent(path) != from) continue;
    uint64_t size = inode->synced;
    if (survival == Survival::kBytes) size += random() % (inode->written - inode->synced + 1);
    std::string bytes = ReadBytes(inode->attic_path);
    bytes.resize(size);
    WriteBytes(target + "/" + std::filesystem::path(path).filename().string(), bytes);
  }
}

IOStatus PowerLossFileSystem::NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                              std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) {
  MutexLock lock(&mu_);
  Step();
  // A name that existed gets a new file: the old bytes stay in the attic.
  std::filesystem::remove(path);
  std::unique_ptr<FSWritableFile> real;
  IOStatus status = target()->NewWritableFile(path, options, &real, debug);
  if (!status.ok()) return status;
  auto inode = std::make_shared<Inode>();
  inode->attic_path = absl::StrCat(attic_, "/", ++files_);
  std::filesystem::create_hard_link(path, inode->attic_path);
  live_[Normal(path)] = inode;
  *file = std::make_unique<PowerLossFile>(std::move(real), *this, std::move(inode));
  return status;
}

IOStatus PowerLossFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                           std::unique_ptr<FSDirectory>* directory, IODebugContext* debug) {
  std::unique_ptr<FSDirectory> real;
  IOStatus status = target()->NewDirectory(path, options, &real, debug);
  if (status.ok()) *directory = std::make_unique<PowerLossDirectory>(std::move(real), Normal(path), *this);
  return status;
}

IOStatus PowerLossFileSystem::RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                                         IODebugContext* debug) {
  MutexLock lock(&mu_);
  Step();
  IOStatus status = target()->RenameFile(from, to, options, debug);
  const auto it = live_.find(Normal(from));
  if (!status.ok() || it == live_.end()) return status;
  live_[Normal(to)] = it->second;
  live_.erase(it);
  return status;
}

IOStatus PowerLossFileSystem::DeleteFile(const std::string& path, const IOOptions& options, IODebugContext* debug) {
  MutexLock lock(&mu_);
  Step();
  IOStatus status = target()->DeleteFile(path, options, debug);
  if (status.ok()) live_.erase(Normal(path));
  return status;
}

}  // namespace mneme
