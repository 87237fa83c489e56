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
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/types.h"
#include "storage/format.h"

namespace mneme {

// Looks at every recovered record. At a gap it ends the recovery when all that was acknowledged lies before the gap
// (what follows was never promised: a disk may write a newer file before an older one), and fails it otherwise, before
// RocksDB removes anything. Used by one thread, in DB::Open.
class WriteChain final : public rocksdb::WalFilter {
 public:
  // `accept_gap`: end the recovery at a gap wherever it is. `tables`: where the tables stand, once that is known.
  WriteChain(Sequence watermark, bool accept_gap, std::optional<format::StoreState> tables)
      : watermark_(watermark), accept_gap_(accept_gap), tables_(tables) {}

  WalProcessingOption LogRecordFound(unsigned long long log_number, const std::string& log_file_name,
                                     const rocksdb::WriteBatch& batch, rocksdb::WriteBatch* new_batch,
                                     bool* batch_changed) override;
  const char* Name() const override { return "mneme.WriteChain"; }

  // Number of the first recovered write; 0 when there was none.
  uint64_t first_write() const { return first_.has_value() ? first_->writes : 0; }
  // Whether it ended the recovery.
  bool stopped() const { return stopped_; }

 private:
  const Sequence watermark_;
  const bool accept_gap_;
  const std::optional<format::StoreState> tables_;
  std::optional<format::StoreState> first_;
  std::optional<format::StoreState> last_;
  bool stopped_ = false;
};

// Notes in each table of the meta family the latest state in it. Thread-safe.
std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> NewStateCollectorFactory();

// Where the tables stood before this session of RocksDB: the log must go on from there, which WriteChain cannot know
// while it recovers for the first time. Called with compactions of the meta family still off.
absl::StatusOr<format::StoreState> StateInTables(rocksdb::DB& db);

}  // namespace mneme

#endif  // MNEME_STORAGE_WRITE_CHAIN_H_
