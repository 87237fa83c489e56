// MeteredFileSystem: a file system that tells how much is read or written, and stops when it is told to.
#ifndef MNEME_STORAGE_METERED_FILE_SYSTEM_H_
#define MNEME_STORAGE_METERED_FILE_SYSTEM_H_

#include <rocksdb/file_system.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace mneme {

// Thread-safe if the meter is, which is called on whichever thread reads or writes.
class MeteredFileSystem final : public rocksdb::FileSystemWrapper {
 public:
  enum class Metered { kReads, kAppends };  // reads in sequence
  // Told the bytes of each operation; false: it fails, and so does every later one of its kind.
  using Meter = std::function<bool(uint64_t bytes)>;
  MeteredFileSystem(std::shared_ptr<rocksdb::FileSystem> base, Metered metered, Meter meter)
      : FileSystemWrapper(std::move(base)), metered_(metered), meter_(std::move(meter)) {}

  const char* Name() const override { return "MeteredFileSystem"; }
  rocksdb::IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                      rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;

  // Whether the meter said so.
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }
  rocksdb::IOStatus Count(uint64_t bytes);

 private:
  const Metered metered_;
  const Meter meter_;
  std::atomic<bool> stopped_{false};
};

}  // namespace mneme

#endif  // MNEME_STORAGE_METERED_FILE_SYSTEM_H_
