// LinkGuard: a file system that keeps the files which RocksDB links into its directory until they are known to be taken in.
//
// When its manifest cannot be written to the end, RocksDB 7.8 deletes the table that it was taking in; but the record that
// names the table may have reached the disk, and then the database does not open any more. So the file stays: the next
// opening either finds it in the manifest, or removes it as one that nothing names.
#ifndef MNEME_STORAGE_LINK_GUARD_H_
#define MNEME_STORAGE_LINK_GUARD_H_

#include <rocksdb/file_system.h>

#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace mneme {

// Thread-safe.
class LinkGuard final : public rocksdb::FileSystemWrapper {
 public:
  explicit LinkGuard(std::shared_ptr<rocksdb::FileSystem> target) : FileSystemWrapper(std::move(target)) {}

  const char* Name() const override { return "mneme.LinkGuard"; }
  rocksdb::IOStatus LinkFile(const std::string& from, const std::string& to, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override {
    {
      MutexLock lock(&mutex_);
      kept_.insert(to);
    }
    return target()->LinkFile(from, to, options, debug);
  }
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override {
    {
      MutexLock lock(&mutex_);
      if (kept_.contains(path)) return rocksdb::IOStatus::OK();
    }
    return target()->DeleteFile(path, options, debug);
  }

  // What was linked is taken in: RocksDB may delete it when it is through with it.
  void Release() {
    MutexLock lock(&mutex_);
    kept_.clear();
  }

 private:
  Mutex mutex_;
  std::set<std::string> kept_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_STORAGE_LINK_GUARD_H_
