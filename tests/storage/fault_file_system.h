// File systems that fail: one that refuses chosen operations, one that loses power.
#ifndef MNEME_TESTS_STORAGE_FAULT_FILE_SYSTEM_H_
#define MNEME_TESTS_STORAGE_FAULT_FILE_SYSTEM_H_

#include <rocksdb/file_system.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace mneme {

enum class FileOperation { kCreate, kAppend, kSync, kSyncDirectory, kRename, kDelete, kClose };

// The machine's file system, with `intercept` asked before every operation that changes something: what it returns
// instead of OK is the operation's result, and nothing is done. Thread-safe if `intercept` is.
class FaultFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  using Intercept = std::function<rocksdb::IOStatus(FileOperation, const std::string& path)>;
  explicit FaultFileSystem(Intercept intercept)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), intercept_(std::move(intercept)) {}

  const char* Name() const override { return "FaultFileSystem"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  // RocksDB's text log is a file as any other.
  rocksdb::IOStatus NewLogger(const std::string& path, const rocksdb::IOOptions& options,
                              std::shared_ptr<rocksdb::Logger>* logger, rocksdb::IODebugContext* debug) override {
    return FileSystem::NewLogger(path, options, logger, debug);
  }
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  const Intercept intercept_;
};

// The machine's file system, remembering what a power cut would leave: of each file what was synced, of each directory
// the names that were synced. Thread-safe.
class PowerLossFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  // `attic` keeps every file's bytes alive, whatever happens to its name; on the same device as the files.
  explicit PowerLossFileSystem(std::string attic)
      : FileSystemWrapper(rocksdb::FileSystem::Default()), attic_(std::move(attic)) {}

  // How much of what was not synced survives all the same.
  enum class Survival {
    kNone,     // nothing: neither bytes nor names
    kBytes,    // of each file any prefix, whatever became of the others: a disk writes in its own order
    kNames,    // every name, but no byte
  };

  // Calls `cut` once, from within the operation that comes `operations` from now and before it is done, with the file
  // system standing still. `cut` may call Image().
  void CutAfter(uint64_t operations, std::function<void()> cut) ABSL_LOCKS_EXCLUDED(mu_);
  // Called by `cut`: writes what is left of `directory` to `target`.
  void Image(const std::string& directory, const std::string& target, Survival survival, std::mt19937_64& random) const
      ABSL_NO_THREAD_SAFETY_ANALYSIS;

  const char* Name() const override { return "PowerLossFileSystem"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  friend class PowerLossFile;
  friend class PowerLossDirectory;
  struct Inode {
    std::string attic_path;
    uint64_t written = 0;
    uint64_t synced = 0;
  };
  void Step() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string attic_;
  mutable Mutex mu_;
  uint64_t files_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t countdown_ ABSL_GUARDED_BY(mu_) = 0;
  std::function<void()> cut_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::shared_ptr<Inode>> live_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, std::shared_ptr<Inode>> durable_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mneme

#endif  // MNEME_TESTS_STORAGE_FAULT_FILE_SYSTEM_H_
