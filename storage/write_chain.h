// WriteChain: sees holes in RocksDB's log.
//
// kTolerateCorruptedTailRecords takes the damaged end of *any* log file for a torn tail, and then goes on with the next
// file: what stood at that end would be missing in the middle. So every write carries its number (StoreState::writes),
// and while RocksDB recovers, the numbers must follow each other without a gap.
#ifndef MNEME_STORAGE_WRITE_CHAIN_H_
#define MNEME_STORAGE_WRITE_CHAIN_H_

#include <rocksdb/db.h>
#include <rocksdb/table_properties.h>
#include <rocksdb/wal_filter.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/types.h"

namespace mneme {

// Looks at every recovered record. At a gap it ends the recovery when all that was acknowledged lies before the gap (what
// follows was never promised), and fails it otherwise, before RocksDB removes anything. Used by one thread, in DB::Open.
class WriteChain final : public rocksdb::WalFilter {
 public:
  // `accept_gap`: end the recovery at a gap wherever it is.
  WriteChain(Sequence watermark, bool accept_gap) : watermark_(watermark), accept_gap_(accept_gap) {}

  WalProcessingOption LogRecordFound(unsigned long long log_number, const std::string& log_file_name,
                                     const rocksdb::WriteBatch& batch, rocksdb::WriteBatch* new_batch,
                                     bool* batch_changed) override;
  const char* Name() const override { return "mneme.WriteChain"; }

  // Number of the first recovered write; 0 when the log was empty.
  uint64_t first_write() const { return first_write_; }

 private:
  const Sequence watermark_;
  const bool accept_gap_;
  uint64_t first_write_ = 0;
  uint64_t last_write_ = 0;
  Sequence applied_ = 0;
};

// Notes in each table of the meta family the highest write in it. Thread-safe.
std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> NewWriteNumberCollectorFactory();

// Called after DB::Open, with compactions still off: DATA_LOSS when the log begins later than the tables of earlier
// sessions end, which is a hole that WriteChain cannot see while recovering.
absl::Status CheckLogFollowsTables(rocksdb::DB& db, const WriteChain& chain);

}  // namespace mneme

#endif  // MNEME_STORAGE_WRITE_CHAIN_H_
