// RocksDbEntryStore: an EntryStore in one RocksDB, with a commit watermark of our own.
//
// Guarantees: RocksDB runs with kTolerateCorruptedTailRecords, so that a damaged log is refused and a torn tail opens;
// the watermark file says up to which sequence writes were acknowledged as durable, so that a log that ends before it
// is refused with DATA_LOSS instead of silently losing them.
#ifndef MNEME_STORAGE_ROCKSDB_ENTRY_STORE_H_
#define MNEME_STORAGE_ROCKSDB_ENTRY_STORE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/types.h"
#include "storage/entry_store.h"

namespace rocksdb {
class FileSystem;
}

namespace mneme {

// What the stores of one process share: a block cache and a bound on write buffers. Thread-safe.
class StoreResources {
 public:
  StoreResources(size_t block_cache_bytes, size_t write_buffer_bytes);
  ~StoreResources();
  struct State;
  State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

struct RocksDbEntryStoreOptions {
  std::string path;
  StoreResources* resources = nullptr;                  // borrowed; must outlive the store
  std::shared_ptr<rocksdb::FileSystem> file_system;     // null: the machine's (tests hand in faulty ones)
  // Open a store whose log ends before its watermark, giving up what was acknowledged after it.
  bool accept_truncated_log = false;
  // Of a store that is made: its maps_server_ids().
  bool map_server_ids = false;
};

// DATA_LOSS when stored bytes are damaged or acknowledged writes are missing; FAILED_PRECONDITION when the store was
// written by a newer format.
absl::StatusOr<std::unique_ptr<EntryStore>> OpenRocksDbEntryStore(RocksDbEntryStoreOptions options);

}  // namespace mneme

#endif  // MNEME_STORAGE_ROCKSDB_ENTRY_STORE_H_
