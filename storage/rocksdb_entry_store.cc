#include "storage/rocksdb_entry_store.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "storage/batch_encoder.h"
#include "storage/durable_db.h"
#include "storage/erase.h"
#include "storage/id_map.h"
#include "storage/receipt_ledger.h"
#include "storage/request_ledger.h"
#include "storage/rocksdb_states.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

// From so many rows on a scan reads ahead and leaves the block cache alone.
constexpr uint64_t kLongScanRows = 4096;
constexpr size_t kScanReadaheadBytes = 2 * 1024 * 1024;

// Order of DurableDbOptions::families.
enum FamilyIndex { kRows, kIds, kDead, kHeads, kSegments, kRequests, kStates, kIdRuns };

std::vector<DurableDbOptions::Family> Families() {
  return {{format::kRowsFamily, FamilyUse::kRows},         {format::kIdsFamily, FamilyUse::kLookup},
          {format::kDeadFamily, FamilyUse::kOrdered},      {format::kHeadsFamily, FamilyUse::kOrdered},
          {format::kSegmentsFamily, FamilyUse::kOrdered},  {format::kRequestsFamily, FamilyUse::kLookup},
          {format::kStatesFamily, FamilyUse::kLookup},      {format::kIdRunsFamily, FamilyUse::kOrdered, 2}};
}

class RocksDbEntryStore final : public EntryStore {
 public:
  explicit RocksDbEntryStore(std::unique_ptr<DurableDb> store)
      : store_(std::move(store)),
        families_{store_->family(kRows),  store_->family(kIds),      store_->family(kIdRuns), store_->family(kDead),
                  store_->family(kHeads), store_->family(kSegments), store_->family(kRequests)},
        ids_(store_->db(), families_), requests_(store_->db(), families_.requests),
        receipts_(store_->db(), families_.requests) {}

  absl::Status Commit(const StoreBatch& batch) override;
  absl::StatusOr<Sequence> Sync() override { return store_->Sync(); }
  Sequence applied() const override { return store_->state().applied; }
  bool maps_server_ids() const override { return store_->store_format() >= format::kReshardedStoreFormat; }

  absl::Status ScanRows(const PartitionKey& key, Row first_row, Row end_row,
                        const std::function<bool(Row, const EntryView&)>& visit) const override;
  absl::Status ScanRanges(absl::Span<const RowRange> ranges,
                          const std::function<bool(size_t range, Row, const EntryView&)>& visit) const override;
  absl::StatusOr<std::optional<Row>> FindRow(const PartitionKey& key, EntryId id) const override;
  absl::StatusOr<std::vector<std::optional<Row>>> FindRows(const PartitionKey& key,
                                                           absl::Span<const EntryId> ids) const override {
    return ids_.Find(key, ids);
  }
  absl::StatusOr<bool> ReadRow(const PartitionKey& key, Row row, EntryColumns& out) const override;

  absl::StatusOr<std::optional<RememberedRequest>> FindRequest(const Hash128& id) const override {
    return requests_.Find(id);
  }
  absl::StatusOr<std::vector<RememberedRequest>> OldestRequests(size_t limit) const override {
    return requests_.Oldest(limit);
  }
  absl::StatusOr<std::optional<RememberedRequest>> LatestRequest() const override { return requests_.Latest(); }
  absl::StatusOr<uint64_t> CountRequests() const override { return store_->state().counter; }

  absl::StatusOr<std::vector<DeletionReceipt>> ReadReceipts(Sequence first, size_t limit) const override {
    return receipts_.Receipts(first, limit);
  }
  absl::StatusOr<std::vector<ErasureRun>> ReadErasures(Sequence first, size_t limit) const override {
    return receipts_.Runs(first, limit);
  }
  absl::Status NoteErasure(const ErasureRun& run, Sequence keep_from) override;
  absl::Status Erase(absl::Span<const DeletionReceipt> receipts, std::atomic<bool>& cancelled) const override;
  absl::StatusOr<bool> OldFilesAreGone() const override;

  absl::StatusOr<std::vector<PartitionHead>> ReadHeads() const override;
  absl::StatusOr<std::vector<SegmentRecord>> ReadSegments() const override;
  absl::StatusOr<std::vector<Row>> ReadDeadMarks(const PartitionKey& key) const override;

  std::unique_ptr<StateReader> ReadStates() const override {
    return NewRocksDbStateReader(store_->db(), store_->family(kStates));
  }

  absl::Status DropMemory(MemoryNumber memory) override;
  absl::Status Flush() const override { return store_->Flush(); }
  absl::Status Checkpoint(const std::string& path) const override { return store_->Checkpoint(path); }
  absl::StatusOr<uint64_t> BytesOf(MemoryNumber memory, std::optional<PartitionId> partition) const override;
  uint64_t DiskBytes() const override;
  absl::Status Compact() override;

 private:
  using Visitor = std::function<absl::StatusOr<bool>(std::string_view key, std::string_view value)>;
  // Calls `visit` for each key of [begin, end) in one snapshot until it returns false.
  absl::Status Scan(rocksdb::ColumnFamilyHandle* family, const std::string& begin, const std::string& end,
                    bool long_scan, const Visitor& visit) const;

  const std::unique_ptr<DurableDb> store_;
  const EntryFamilies families_;
  const IdMap ids_;
  const RequestLedger requests_;
  const ReceiptLedger receipts_;
  // Of the last Erase().
  mutable Mutex old_mutex_;
  mutable OldFiles old_files_ ABSL_GUARDED_BY(old_mutex_);
};

absl::Status RocksDbEntryStore::Commit(const StoreBatch& batch) {
  rocksdb::WriteBatch writes(EncodedBytes(batch) + EncodedBytes(batch.states));
  // A batch that could not be put together is a failure as good as one that could not be written.
  const rocksdb::Status encoded = EncodeBatch(batch, families_, writes);
  if (!encoded.ok()) return store_->Fail(FromRocksDb(encoded, "commit"));
  const absl::Status states = EncodeStates(batch.states, store_->db(), store_->family(kStates), writes);
  if (!states.ok()) return store_->Fail(states);
  const absl::StatusOr<int64_t> requests = requests_.Encode(batch, writes);
  if (!requests.ok()) return store_->Fail(requests.status());
  const rocksdb::Status receipts = receipts_.Encode(batch.receipts, writes);
  if (!receipts.ok()) return store_->Fail(FromRocksDb(receipts, "commit"));
  return store_->Write(writes, batch.sequence, *requests);
}

absl::Status RocksDbEntryStore::Scan(rocksdb::ColumnFamilyHandle* family, const std::string& begin,
                                     const std::string& end, bool long_scan, const Visitor& visit) const {
  const rocksdb::Slice lower(begin);
  const rocksdb::Slice upper(end);
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.iterate_lower_bound = &lower;
  options.iterate_upper_bound = &upper;
  options.fill_cache = !long_scan;
  if (long_scan) options.readahead_size = kScanReadaheadBytes;
  const std::unique_ptr<rocksdb::Iterator> it(store_->db().NewIterator(options, family));
  for (it->Seek(lower); it->Valid(); it->Next()) {
    ASSIGN_OR_RETURN(const bool go_on, visit(ToView(it->key()), ToView(it->value())));
    if (!go_on) return absl::OkStatus();
  }
  return FromRocksDb(it->status(), "scan");
}

absl::Status RocksDbEntryStore::ScanRows(const PartitionKey& key, Row first_row, Row end_row,
                                         const std::function<bool(Row, const EntryView&)>& visit) const {
  if (first_row >= end_row) return absl::OkStatus();
  return Scan(families_.rows, format::NumberedKey(key, first_row), format::NumberedKey(key, end_row),
              end_row - first_row >= kLongScanRows,
              [&](std::string_view row_key, std::string_view record) -> absl::StatusOr<bool> {
                ASSIGN_OR_RETURN(const format::ParsedKey parsed, format::ParseNumberedKey(row_key));
                ASSIGN_OR_RETURN(const EntryView entry, format::DecodeRow(record));
                return visit(parsed.number, entry);
              });
}

absl::Status RocksDbEntryStore::ScanRanges(absl::Span<const RowRange> ranges,
                                           const std::function<bool(size_t, Row, const EntryView&)>& visit) const {
  if (ranges.empty()) return absl::OkStatus();
  const std::string last = format::NumberedKey(ranges.back().key, ranges.back().end_row);
  const rocksdb::Slice upper(last);
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.iterate_upper_bound = &upper;
  options.fill_cache = false;
  // Ranges side by side are read ahead of; where something lies between them, RocksDB begins small again.
  options.adaptive_readahead = true;
  const std::unique_ptr<rocksdb::Iterator> it(store_->db().NewIterator(options, families_.rows));
  std::string begin;
  std::string end;
  for (size_t i = 0; i < ranges.size(); ++i) {
    begin = format::NumberedKey(ranges[i].key, ranges[i].first_row);
    end = format::NumberedKey(ranges[i].key, ranges[i].end_row);
    if (i == 0 || (it->Valid() && ToView(it->key()) < begin)) it->Seek(begin);
    for (; it->Valid() && ToView(it->key()) < end; it->Next()) {
      ASSIGN_OR_RETURN(const format::ParsedKey parsed, format::ParseNumberedKey(ToView(it->key())));
      ASSIGN_OR_RETURN(const EntryView entry, format::DecodeRow(ToView(it->value())));
      if (!visit(i, parsed.number, entry)) return absl::OkStatus();
    }
    if (!it->Valid()) break;
  }
  return FromRocksDb(it->status(), "scan");
}

absl::StatusOr<std::optional<Row>> RocksDbEntryStore::FindRow(const PartitionKey& key, EntryId id) const {
  ASSIGN_OR_RETURN(const std::vector<std::optional<Row>> rows, ids_.Find(key, absl::MakeConstSpan(&id, 1)));
  return rows[0];
}

absl::StatusOr<bool> RocksDbEntryStore::ReadRow(const PartitionKey& key, Row row, EntryColumns& out) const {
  rocksdb::PinnableSlice record;
  const rocksdb::Status status =
      store_->db().Get(rocksdb::ReadOptions(), families_.rows, format::NumberedKey(key, row), &record);
  if (status.IsNotFound()) return false;
  RETURN_IF_ERROR(FromRocksDb(status, "read a row"));
  ASSIGN_OR_RETURN(const EntryView entry, format::DecodeRow(ToView(record)));
  out.Append(entry);
  return true;
}

absl::Status RocksDbEntryStore::NoteErasure(const ErasureRun& run, Sequence keep_from) {
  rocksdb::WriteBatch writes;
  const rocksdb::Status encoded = receipts_.Encode(run, keep_from, writes);
  if (!encoded.ok()) return store_->Fail(FromRocksDb(encoded, "note an erasure"));
  RETURN_IF_ERROR(store_->Write(writes, std::nullopt, 0));
  return store_->SyncLog();
}

absl::Status RocksDbEntryStore::Erase(absl::Span<const DeletionReceipt> receipts, std::atomic<bool>& cancelled) const {
  RETURN_IF_ERROR(store_->Flush());
  ASSIGN_OR_RETURN(const OldFiles old, EraseRows(store_->db(), families_, receipts, cancelled));
  MutexLock lock(&old_mutex_);
  old_files_ = old;
  return absl::OkStatus();
}

absl::StatusOr<bool> RocksDbEntryStore::OldFilesAreGone() const {
  OldFiles old;
  {
    MutexLock lock(&old_mutex_);
    old = old_files_;
  }
  return AreGone(store_->db(), store_->path(), old);
}

absl::StatusOr<std::vector<PartitionHead>> RocksDbEntryStore::ReadHeads() const {
  std::vector<PartitionHead> heads;
  RETURN_IF_ERROR(Scan(families_.heads, "", format::PrefixEnd(""), false,
                       [&](std::string_view key, std::string_view record) -> absl::StatusOr<bool> {
                         ASSIGN_OR_RETURN(const PartitionKey partition, format::ParsePartitionKey(key));
                         ASSIGN_OR_RETURN(const PartitionHead head, format::DecodeHead(partition, record));
                         heads.push_back(head);
                         return true;
                       }));
  return heads;
}

absl::StatusOr<std::vector<SegmentRecord>> RocksDbEntryStore::ReadSegments() const {
  std::vector<SegmentRecord> segments;
  RETURN_IF_ERROR(Scan(families_.segments, "", format::PrefixEnd(""), false,
                       [&](std::string_view key, std::string_view record) -> absl::StatusOr<bool> {
                         ASSIGN_OR_RETURN(const format::ParsedKey parsed, format::ParseNumberedKey(key));
                         ASSIGN_OR_RETURN(const SegmentRecord segment, format::DecodeSegment(parsed, record));
                         segments.push_back(segment);
                         return true;
                       }));
  return segments;
}

absl::StatusOr<std::vector<Row>> RocksDbEntryStore::ReadDeadMarks(const PartitionKey& key) const {
  std::vector<Row> rows;
  const std::string prefix = format::PartitionPrefix(key);
  RETURN_IF_ERROR(Scan(families_.dead, prefix, format::PrefixEnd(prefix), false,
                       [&](std::string_view mark, std::string_view) -> absl::StatusOr<bool> {
                         ASSIGN_OR_RETURN(const format::ParsedKey parsed, format::ParseNumberedKey(mark));
                         rows.push_back(parsed.number);
                         return true;
                       }));
  return rows;
}

absl::Status RocksDbEntryStore::DropMemory(MemoryNumber memory) {
  rocksdb::WriteBatch writes;
  const std::string prefix = format::MemoryPrefix(memory);
  rocksdb::Status encoded = EncodeDrop(prefix, families_, writes);
  if (encoded.ok()) encoded = writes.DeleteRange(store_->family(kStates), prefix, format::PrefixEnd(prefix));
  if (!encoded.ok()) return store_->Fail(FromRocksDb(encoded, "drop a memory"));
  return store_->Write(writes, std::nullopt, 0);
}

absl::StatusOr<uint64_t> RocksDbEntryStore::BytesOf(MemoryNumber memory, std::optional<PartitionId> partition) const {
  const std::string begin = partition.has_value() ? format::PartitionPrefix(PartitionKey{memory, *partition})
                                                  : format::MemoryPrefix(memory);
  const std::string end = format::PrefixEnd(begin);
  const rocksdb::Range range(begin, end);
  const rocksdb::SizeApproximationOptions of_tables{};
  std::vector<rocksdb::ColumnFamilyHandle*> families = {families_.rows, families_.ids,   families_.id_runs,
                                                        families_.dead, families_.heads, families_.segments};
  if (!partition.has_value()) families.push_back(store_->family(kStates));
  uint64_t sum = 0;
  for (rocksdb::ColumnFamilyHandle* family : families) {
    uint64_t in_tables = 0;
    RETURN_IF_ERROR(FromRocksDb(store_->db().GetApproximateSizes(of_tables, family, &range, 1, &in_tables), "measure"));
    // A guess by the shape of a skip list, which may be several times too high: it is not more than there is at all.
    uint64_t rows = 0;
    uint64_t in_ram = 0;
    uint64_t ram = 0;
    store_->db().GetApproximateMemTableStats(family, range, &rows, &in_ram);
    store_->db().GetIntProperty(family, rocksdb::DB::Properties::kCurSizeAllMemTables, &ram);
    sum += in_tables + std::min(in_ram, ram);
  }
  return sum;
}

uint64_t RocksDbEntryStore::DiskBytes() const {
  uint64_t bytes = 0;
  std::error_code error;
  // Files come and go meanwhile: one that is gone counts nothing.
  for (auto it = std::filesystem::directory_iterator(store_->path(), error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    std::error_code gone;
    const uintmax_t size = it->file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

absl::Status RocksDbEntryStore::Compact() {
  RETURN_IF_ERROR(Flush());
  std::vector<rocksdb::ColumnFamilyHandle*> families = {store_->db().DefaultColumnFamily()};
  for (int i = kRows; i <= kIdRuns; ++i) families.push_back(store_->family(static_cast<size_t>(i)));
  for (rocksdb::ColumnFamilyHandle* family : families) {
    RETURN_IF_ERROR(FromRocksDb(
        store_->db().CompactRange(rocksdb::CompactRangeOptions(), family, nullptr, nullptr), "compact"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<EntryStore>> OpenRocksDbEntryStore(RocksDbEntryStoreOptions options) {
  DurableDbOptions db_options;
  db_options.path = std::move(options.path);
  db_options.resources = &options.resources->state();
  db_options.file_system = std::move(options.file_system);
  db_options.accept_truncated_log = options.accept_truncated_log;
  db_options.families = Families();
  if (options.map_server_ids) db_options.new_format = format::kReshardedStoreFormat;
  ASSIGN_OR_RETURN(std::unique_ptr<DurableDb> store, DurableDb::Open(std::move(db_options)));
  return std::unique_ptr<EntryStore>(std::make_unique<RocksDbEntryStore>(std::move(store)));
}

}  // namespace mneme
