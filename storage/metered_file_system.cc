#include "storage/metered_file_system.h"

#include <utility>

namespace mneme {
namespace {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

class MeteredReads final : public rocksdb::FSSequentialFileOwnerWrapper {
 public:
  MeteredReads(std::unique_ptr<rocksdb::FSSequentialFile> file, MeteredFileSystem* meter)
      : FSSequentialFileOwnerWrapper(std::move(file)), meter_(meter) {}
  IOStatus Read(size_t bytes, const IOOptions& options, Slice* result, char* scratch, IODebugContext* debug) override {
    const IOStatus read = FSSequentialFileOwnerWrapper::Read(bytes, options, result, scratch, debug);
    return read.ok() ? meter_->Count(result->size()) : read;
  }

 private:
  MeteredFileSystem* const meter_;
};

class MeteredAppends final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  MeteredAppends(std::unique_ptr<rocksdb::FSWritableFile> file, MeteredFileSystem* meter)
      : FSWritableFileOwnerWrapper(std::move(file)), meter_(meter) {}
  IOStatus Append(const Slice& bytes, const IOOptions& options, IODebugContext* debug) override {
    const IOStatus counted = meter_->Count(bytes.size());
    return counted.ok() ? FSWritableFileOwnerWrapper::Append(bytes, options, debug) : counted;
  }
  IOStatus Append(const Slice& bytes, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(bytes, options, debug);
  }

 private:
  MeteredFileSystem* const meter_;
};

}  // namespace

IOStatus MeteredFileSystem::Count(uint64_t bytes) {
  if (!stopped() && !meter_(bytes)) stopped_.store(true, std::memory_order_relaxed);
  return stopped() ? IOStatus::Aborted("given up") : IOStatus::OK();
}

IOStatus MeteredFileSystem::NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options,
                                              std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                              IODebugContext* debug) {
  const IOStatus opened = FileSystemWrapper::NewSequentialFile(path, options, file, debug);
  if (opened.ok() && metered_ == Metered::kReads) *file = std::make_unique<MeteredReads>(std::move(*file), this);
  return opened;
}

IOStatus MeteredFileSystem::NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                            std::unique_ptr<rocksdb::FSWritableFile>* file, IODebugContext* debug) {
  const IOStatus opened = FileSystemWrapper::NewWritableFile(path, options, file, debug);
  if (opened.ok() && metered_ == Metered::kAppends) *file = std::make_unique<MeteredAppends>(std::move(*file), this);
  return opened;
}

}  // namespace mneme
