// JournaledStore: an EntryStore in ram with a disk of its own: a journal of what it committed, that outlives it. Opened
// on a journal that was cut, it is the store as of an earlier moment, as after a crash that lost what was not synced.
#ifndef MNEME_TESTS_ENGINE_JOURNALED_STORE_H_
#define MNEME_TESTS_ENGINE_JOURNALED_STORE_H_

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "storage/entry_store.h"

namespace mneme::testing {

// Thread-compatible: the store that writes it is its one user.
class Journal {
 public:
  size_t size() const { return steps_.size(); }
  // Nothing from the step `size` on was ever written. No store may be open on it.
  void Cut(size_t size) { steps_.resize(std::min(size, steps_.size())); }
  // The last step is there without the sequence that it was to bring, which no store may do (I7).
  void Tear() {
    if (!steps_.empty()) steps_.back().batch.sequence = steps_.size() < 2 ? 0 : steps_.rbegin()[1].batch.sequence;
  }

 private:
  friend class JournaledStore;
  struct Step {
    StoreBatch batch;
    std::vector<std::shared_ptr<const EntryColumns>> columns;  // of the batch's runs
  };
  std::vector<Step> steps_;
};

// What a test does to a store at its worst. Called on the threads that call the store.
struct StoreFaults {
  std::function<void()> before_commit = {};
  // May change the batch; false: the store says that it was committed, and has nothing of it.
  std::function<bool(StoreBatch&)> commit = {};
  // True: a request that is remembered is not found.
  std::function<bool()> forget = {};
  // What FindRows() and ReadRow() say, when it is not OK.
  std::function<absl::Status()> read = {};
  // Of the heads that a shard opens with.
  std::function<void(PartitionHead&)> head = {};
};

// As MemoryEntryStore. DropMemory() is not journaled.
class JournaledStore final : public EntryStore {
 public:
  JournaledStore(Journal* journal, StoreFaults faults);

  absl::Status Commit(const StoreBatch& batch) override;
  absl::StatusOr<Sequence> Sync() override { return store_->Sync(); }
  Sequence applied() const override { return store_->applied(); }
  bool maps_server_ids() const override { return store_->maps_server_ids(); }
  absl::Status ScanRows(const PartitionKey& key, Row first_row, Row end_row,
                        const std::function<bool(Row, const EntryView&)>& visit) const override {
    return store_->ScanRows(key, first_row, end_row, visit);
  }
  absl::Status ScanRanges(absl::Span<const RowRange> ranges,
                          const std::function<bool(size_t range, Row, const EntryView&)>& visit) const override {
    return store_->ScanRanges(ranges, visit);
  }
  absl::StatusOr<std::optional<Row>> FindRow(const PartitionKey& key, EntryId id) const override {
    return store_->FindRow(key, id);
  }
  absl::StatusOr<std::vector<std::optional<Row>>> FindRows(const PartitionKey& key,
                                                           absl::Span<const EntryId> ids) const override;
  absl::StatusOr<bool> ReadRow(const PartitionKey& key, Row row, EntryColumns& out) const override;
  absl::StatusOr<std::optional<RememberedRequest>> FindRequest(const Hash128& id) const override;
  absl::StatusOr<std::vector<RememberedRequest>> OldestRequests(size_t limit) const override {
    return store_->OldestRequests(limit);
  }
  absl::StatusOr<std::optional<RememberedRequest>> LatestRequest() const override { return store_->LatestRequest(); }
  absl::StatusOr<uint64_t> CountRequests() const override { return store_->CountRequests(); }
  absl::StatusOr<std::vector<DeletionReceipt>> ReadReceipts(Sequence first, size_t limit) const override {
    return store_->ReadReceipts(first, limit);
  }
  absl::StatusOr<std::vector<ErasureRun>> ReadErasures(Sequence first, size_t limit) const override {
    return store_->ReadErasures(first, limit);
  }
  absl::Status NoteErasure(const ErasureRun& run, Sequence keep_from) override {
    return store_->NoteErasure(run, keep_from);
  }
  absl::Status Erase(absl::Span<const DeletionReceipt> receipts, std::atomic<bool>& cancelled) const override {
    return store_->Erase(receipts, cancelled);
  }
  absl::StatusOr<bool> OldFilesAreGone() const override { return store_->OldFilesAreGone(); }
  absl::StatusOr<std::vector<PartitionHead>> ReadHeads() const override;
  absl::StatusOr<std::vector<SegmentRecord>> ReadSegments() const override { return store_->ReadSegments(); }
  absl::StatusOr<std::vector<Row>> ReadDeadMarks(const PartitionKey& key) const override {
    return store_->ReadDeadMarks(key);
  }
  std::unique_ptr<StateReader> ReadStates() const override { return store_->ReadStates(); }
  absl::Status DropMemory(MemoryNumber memory) override { return store_->DropMemory(memory); }
  absl::Status Flush() const override { return store_->Flush(); }
  absl::Status Checkpoint(const std::string& path) const override { return store_->Checkpoint(path); }
  absl::StatusOr<uint64_t> BytesOf(MemoryNumber memory, std::optional<PartitionId> partition) const override {
    return store_->BytesOf(memory, partition);
  }
  uint64_t DiskBytes() const override { return store_->DiskBytes(); }
  absl::Status Compact() override { return store_->Compact(); }

 private:
  Journal* const journal_;
  const StoreFaults faults_;
  const std::unique_ptr<EntryStore> store_;
};

// Everything that a store holds but what is of its index alone, as text: two that say the same have the same text.
std::string Dump(const EntryStore& store);

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_JOURNALED_STORE_H_
