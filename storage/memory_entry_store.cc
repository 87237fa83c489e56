#include "storage/memory_entry_store.h"

#include <map>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "storage/memory_states.h"

namespace mneme {
namespace {

// One entry that owns its bytes.
struct StoredEntry {
  EntryId id = 0;
  std::string key;
  std::string value;
  Attributes attributes;

  EntryView View() const { return {id, key, value, attributes}; }
};

// All of a partition.
struct Partition {
  std::map<Row, StoredEntry> rows;
  std::map<EntryId, Row> ids;
  std::set<Row> dead;
  std::map<uint64_t, SegmentRecord> segments;
  std::optional<PartitionHead> head;
};

using RequestKey = std::pair<uint64_t, uint64_t>;
RequestKey KeyOf(const Hash128& id) { return {id.high, id.low}; }

template <typename T>
std::vector<T> FirstOf(const std::map<Sequence, T>& all, Sequence first, size_t limit) {
  std::vector<T> found;
  for (auto at = all.lower_bound(first); at != all.end() && found.size() < limit; ++at) found.push_back(at->second);
  return found;
}

class MemoryEntryStore final : public EntryStore {
 public:
  absl::Status Commit(const StoreBatch& batch) override;
  absl::StatusOr<Sequence> Sync() override;
  Sequence applied() const override {
    MutexLock lock(&mu_);
    return applied_;
  }
  bool maps_server_ids() const override { return false; }

  absl::Status ScanRows(const PartitionKey& key, Row first_row, Row end_row,
                        const std::function<bool(Row, const EntryView&)>& visit) const override;
  absl::Status ScanRanges(absl::Span<const RowRange> ranges,
                          const std::function<bool(size_t range, Row, const EntryView&)>& visit) const override;
  absl::StatusOr<std::optional<Row>> FindRow(const PartitionKey& key, EntryId id) const override;
  absl::StatusOr<std::vector<std::optional<Row>>> FindRows(const PartitionKey& key,
                                                           absl::Span<const EntryId> ids) const override;
  absl::StatusOr<bool> ReadRow(const PartitionKey& key, Row row, EntryColumns& out) const override;

  absl::StatusOr<std::optional<RememberedRequest>> FindRequest(const Hash128& id) const override;
  absl::StatusOr<std::vector<RememberedRequest>> OldestRequests(size_t limit) const override;
  absl::StatusOr<std::optional<RememberedRequest>> LatestRequest() const override;
  absl::StatusOr<uint64_t> CountRequests() const override;

  absl::StatusOr<std::vector<DeletionReceipt>> ReadReceipts(Sequence first, size_t limit) const override;
  absl::StatusOr<std::vector<ErasureRun>> ReadErasures(Sequence first, size_t limit) const override;
  absl::Status NoteErasure(const ErasureRun& run, Sequence keep_from) override;
  absl::Status Erase(absl::Span<const DeletionReceipt>, std::atomic<bool>&) const override { return absl::OkStatus(); }
  absl::StatusOr<bool> OldFilesAreGone() const override { return true; }

  absl::StatusOr<std::vector<PartitionHead>> ReadHeads() const override;
  absl::StatusOr<std::vector<SegmentRecord>> ReadSegments() const override;
  absl::StatusOr<std::vector<Row>> ReadDeadMarks(const PartitionKey& key) const override;

  std::unique_ptr<StateReader> ReadStates() const override {
    MutexLock lock(&mu_);
    return states_.Read();
  }

  absl::Status DropMemory(MemoryNumber memory) override;
  absl::Status Flush() const override { return absl::OkStatus(); }
  absl::Status Checkpoint(const std::string&) const override {
    return absl::UnimplementedError("a store in ram has no files");
  }
  absl::StatusOr<uint64_t> BytesOf(MemoryNumber memory, std::optional<PartitionId> partition) const override;
  uint64_t DiskBytes() const override { return 0; }
  absl::Status Compact() override { return absl::OkStatus(); }

 private:
  const Partition* Find(const PartitionKey& key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ApplyRun(const StoreBatch::Run& run) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ApplyRequests(const StoreBatch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  Sequence applied_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  std::map<PartitionKey, Partition> partitions_ ABSL_GUARDED_BY(mu_);
  std::map<RequestKey, RememberedRequest> requests_ ABSL_GUARDED_BY(mu_);
  MemoryStates states_ ABSL_GUARDED_BY(mu_);
  std::map<Sequence, DeletionReceipt> receipts_ ABSL_GUARDED_BY(mu_);
  std::map<Sequence, ErasureRun> erasures_ ABSL_GUARDED_BY(mu_);
};

const Partition* MemoryEntryStore::Find(const PartitionKey& key) const {
  const auto it = partitions_.find(key);
  return it == partitions_.end() ? nullptr : &it->second;
}

void MemoryEntryStore::ApplyRun(const StoreBatch::Run& run) {
  Partition& partition = partitions_[run.key];
  Row row = run.first_row;
  for (size_t i = run.begin; i < run.end; ++i, ++row) {
    const EntryView entry = run.columns->At(i);
    partition.rows[row] = {entry.id, std::string(entry.key), std::string(entry.value), entry.attributes};
    if (run.map_ids) partition.ids[entry.id] = row;
  }
}

void MemoryEntryStore::ApplyRequests(const StoreBatch& batch) {
  for (const RememberedRequest& request : batch.forgotten_requests) {
    const auto it = requests_.find(KeyOf(request.id));
    if (it != requests_.end() && it->second.sequence == request.sequence) requests_.erase(it);
  }
  for (const RememberedRequest& request : batch.requests) requests_[KeyOf(request.id)] = request;
}

absl::Status MemoryEntryStore::Commit(const StoreBatch& batch) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(failure_);
  if (batch.sequence < applied_) {
    failure_ = absl::InternalError(
        absl::StrCat("sequence is ", batch.sequence, "; must be at least ", applied_, ", which was applied"));
    return failure_;
  }
  for (const PartitionKey& dropped : batch.dropped_partitions) partitions_.erase(dropped);
  for (const StoreBatch::Run& run : batch.runs) ApplyRun(run);
  for (const StoreBatch::Death& death : batch.deaths) {
    Partition& partition = partitions_[death.key];
    partition.rows.erase(death.row);
    partition.dead.insert(death.row);
    if (death.unmap_id) partition.ids.erase(death.id);
  }
  for (const PartitionHead& head : batch.heads) partitions_[head.key].head = head;
  ApplyRequests(batch);
  for (const SegmentRecord& segment : batch.removed_segments) {
    partitions_[segment.key].segments.erase(segment.file_number);
  }
  for (const SegmentRecord& segment : batch.added_segments) {
    partitions_[segment.key].segments[segment.file_number] = segment;
  }
  for (const StoreBatch::Death& mark : batch.cleared_marks) partitions_[mark.key].dead.erase(mark.row);
  states_.Apply(batch.states);
  for (const DeletionReceipt& receipt : batch.receipts) receipts_[receipt.sequence] = receipt;
  applied_ = batch.sequence;
  return absl::OkStatus();
}

absl::StatusOr<Sequence> MemoryEntryStore::Sync() {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(failure_);
  return applied_;
}

absl::Status MemoryEntryStore::ScanRows(const PartitionKey& key, Row first_row, Row end_row,
                                        const std::function<bool(Row, const EntryView&)>& visit) const {
  // A copy is the snapshot: `visit` runs without the lock and may call the store.
  std::map<Row, StoredEntry> rows;
  {
    MutexLock lock(&mu_);
    const Partition* partition = Find(key);
    if (partition == nullptr || first_row >= end_row) return absl::OkStatus();
    rows.insert(partition->rows.lower_bound(first_row), partition->rows.lower_bound(end_row));
  }
  for (const auto& [row, entry] : rows) {
    if (!visit(row, entry.View())) break;
  }
  return absl::OkStatus();
}

absl::Status MemoryEntryStore::ScanRanges(absl::Span<const RowRange> ranges,
                                          const std::function<bool(size_t, Row, const EntryView&)>& visit) const {
  std::vector<std::map<Row, StoredEntry>> rows(ranges.size());
  {
    MutexLock lock(&mu_);
    for (size_t i = 0; i < ranges.size(); ++i) {
      const Partition* partition = Find(ranges[i].key);
      if (partition == nullptr || ranges[i].first_row >= ranges[i].end_row) continue;
      rows[i].insert(partition->rows.lower_bound(ranges[i].first_row), partition->rows.lower_bound(ranges[i].end_row));
    }
  }
  for (size_t i = 0; i < ranges.size(); ++i) {
    for (const auto& [row, entry] : rows[i]) {
      if (!visit(i, row, entry.View())) return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Row>> MemoryEntryStore::FindRow(const PartitionKey& key, EntryId id) const {
  MutexLock lock(&mu_);
  const Partition* partition = Find(key);
  if (partition == nullptr) return std::optional<Row>();
  const auto it = partition->ids.find(id);
  return it == partition->ids.end() ? std::optional<Row>() : std::optional<Row>(it->second);
}

absl::StatusOr<std::vector<std::optional<Row>>> MemoryEntryStore::FindRows(const PartitionKey& key,
                                                                           absl::Span<const EntryId> ids) const {
  std::vector<std::optional<Row>> rows;
  for (const EntryId id : ids) {
    ASSIGN_OR_RETURN(const std::optional<Row> row, FindRow(key, id));
    rows.push_back(row);
  }
  return rows;
}

absl::StatusOr<bool> MemoryEntryStore::ReadRow(const PartitionKey& key, Row row, EntryColumns& out) const {
  MutexLock lock(&mu_);
  const Partition* partition = Find(key);
  if (partition == nullptr) return false;
  const auto it = partition->rows.find(row);
  if (it == partition->rows.end()) return false;
  out.Append(it->second.View());
  return true;
}

absl::StatusOr<std::optional<RememberedRequest>> MemoryEntryStore::FindRequest(const Hash128& id) const {
  MutexLock lock(&mu_);
  const auto it = requests_.find(KeyOf(id));
  return it == requests_.end() ? std::optional<RememberedRequest>() : std::optional<RememberedRequest>(it->second);
}

absl::StatusOr<std::vector<RememberedRequest>> MemoryEntryStore::OldestRequests(size_t limit) const {
  MutexLock lock(&mu_);
  std::map<std::pair<Sequence, RequestKey>, const RememberedRequest*> by_age;
  for (const auto& [key, request] : requests_) by_age[{request.sequence, key}] = &request;
  std::vector<RememberedRequest> oldest;
  for (const auto& [age, request] : by_age) {
    if (oldest.size() == limit) break;
    oldest.push_back(*request);
    oldest.back().result.clear();
    oldest.back().earlier.clear();
  }
  return oldest;
}

absl::StatusOr<std::optional<RememberedRequest>> MemoryEntryStore::LatestRequest() const {
  MutexLock lock(&mu_);
  std::optional<RememberedRequest> latest;
  for (const auto& [key, request] : requests_) {
    if (!latest.has_value() || latest->sequence < request.sequence) latest = request;
  }
  if (latest.has_value()) latest->result.clear();
  return latest;
}

absl::StatusOr<uint64_t> MemoryEntryStore::CountRequests() const {
  MutexLock lock(&mu_);
  return uint64_t{requests_.size()};
}

absl::StatusOr<std::vector<DeletionReceipt>> MemoryEntryStore::ReadReceipts(Sequence first, size_t limit) const {
  MutexLock lock(&mu_);
  return FirstOf(receipts_, first, limit);
}

absl::StatusOr<std::vector<ErasureRun>> MemoryEntryStore::ReadErasures(Sequence first, size_t limit) const {
  MutexLock lock(&mu_);
  return FirstOf(erasures_, first, limit);
}

absl::Status MemoryEntryStore::NoteErasure(const ErasureRun& run, Sequence keep_from) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(failure_);
  receipts_.erase(receipts_.begin(), receipts_.lower_bound(keep_from));
  erasures_.erase(erasures_.begin(), erasures_.lower_bound(keep_from));
  erasures_[run.through] = run;
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> MemoryEntryStore::BytesOf(MemoryNumber memory, std::optional<PartitionId> partition) const {
  MutexLock lock(&mu_);
  uint64_t bytes = 0;
  for (const auto& [key, stored] : partitions_) {
    if (key.memory != memory || (partition.has_value() && key.partition != *partition)) continue;
    for (const auto& [row, entry] : stored.rows) bytes += entry.key.size() + entry.value.size();
  }
  return bytes;
}

absl::StatusOr<std::vector<PartitionHead>> MemoryEntryStore::ReadHeads() const {
  MutexLock lock(&mu_);
  std::vector<PartitionHead> heads;
  for (const auto& [key, partition] : partitions_) {
    if (partition.head.has_value()) heads.push_back(*partition.head);
  }
  return heads;
}

absl::StatusOr<std::vector<SegmentRecord>> MemoryEntryStore::ReadSegments() const {
  MutexLock lock(&mu_);
  std::vector<SegmentRecord> segments;
  for (const auto& [key, partition] : partitions_) {
    for (const auto& [number, segment] : partition.segments) segments.push_back(segment);
  }
  return segments;
}

absl::StatusOr<std::vector<Row>> MemoryEntryStore::ReadDeadMarks(const PartitionKey& key) const {
  MutexLock lock(&mu_);
  const Partition* partition = Find(key);
  if (partition == nullptr) return std::vector<Row>();
  return std::vector<Row>(partition->dead.begin(), partition->dead.end());
}

absl::Status MemoryEntryStore::DropMemory(MemoryNumber memory) {
  MutexLock lock(&mu_);
  RETURN_IF_ERROR(failure_);
  const auto begin = partitions_.lower_bound({memory, 0});
  auto end = begin;
  while (end != partitions_.end() && end->first.memory == memory) ++end;
  partitions_.erase(begin, end);
  states_.DropMemory(memory);
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<EntryStore> NewMemoryEntryStore() { return std::make_unique<MemoryEntryStore>(); }

}  // namespace mneme
