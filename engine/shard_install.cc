// What background work built, as the writer takes it over:
// 1. It is thrown away when the partition was emptied meanwhile.
// 2. The records of the new files and the removal of those they replace are one write of the store (I7), then
//    published.
// 3. Old files go once the new records survive power loss.
#include <utility>

#include "common/crash_point.h"
#include "common/status_macros.h"
#include "engine/shard.h"

namespace mneme {

absl::Status Shard::CommitIndexChange(const StoreBatch& batch) {
  RETURN_IF_ERROR(write_status());
  absl::Status committed = store_->Commit(batch);
  if (committed.ok()) return committed;
  Refuse(std::move(committed));
  return write_status();
}

absl::Status Shard::NoteErasure(const ErasureRun& run, Sequence keep_from) {
  RETURN_IF_ERROR(write_status());
  absl::Status noted = store_->NoteErasure(run, keep_from);
  if (noted.ok()) return noted;
  Refuse(std::move(noted));
  return write_status();
}

absl::Status Shard::Install(InstallOperation& operation) {
  const PartitionKey key = operation.added.record.key;
  const auto partition = partitions_.find(key);
  if (dropped_.contains(operation.memory) || partition == partitions_.end() ||
      partition->second->generation() != operation.generation) {
    return absl::AbortedError("the partition was emptied while its index was built");
  }
  StoreBatch batch;
  batch.sequence = sequence_;
  for (const Row row : operation.cleared_marks) batch.cleared_marks.push_back({.key = key, .row = row});
  const uint64_t old_codebook = partition->second->codebook() != nullptr ? partition->second->codebook()->number() : 0;
  for (const InstalledSegment& old : partition->second->segments()) {
    const bool covered = old.record.first_row >= operation.added.record.first_row &&
                         old.record.end_row <= operation.added.record.end_row;
    if (covered) batch.removed_segments.push_back(old.record);
  }
  if (operation.added.segment == nullptr) return Discard(operation, std::move(batch));
  batch.added_segments.push_back(operation.added.record);
  CrashPoint("install_begun");
  RETURN_IF_ERROR(CommitIndexChange(batch));
  CrashPoint("install_committed");
  partition->second->Install(std::move(operation.added), std::move(operation.codebook));
  Publish({key}, sequence_);
  CrashPoint("install_published");
  const bool retrained = old_codebook != 0 && old_codebook != partition->second->codebook()->number();
  // The old files go once the new records survive power loss.
  AfterSync([this, old = std::move(batch.removed_segments), retrained, old_codebook](const absl::Status& synced) {
    if (!synced.ok()) return;
    CrashPoint("old_files_left");
    for (const SegmentRecord& record : old) files_->RemoveSegment(record.file_number);
    CrashPoint("old_segments_removed");
    if (retrained) files_->RemoveCodebook(old_codebook);
  });
  return absl::OkStatus();
}

absl::Status Shard::Discard(InstallOperation& operation, StoreBatch batch) {
  const SegmentRecord& record = operation.added.record;
  PartitionIndex& partition = *partitions_.at(record.key);
  if (batch.removed_segments.empty() && !partition.DiscardTail(record.end_row)) {
    return absl::AbortedError("rows of the tail are alive");
  }
  RETURN_IF_ERROR(CommitIndexChange(batch));
  partition.DiscardSegments(record.first_row, record.end_row);
  Publish({record.key}, sequence_);
  AfterSync([this, old = std::move(batch.removed_segments)](const absl::Status& synced) {
    if (!synced.ok()) return;
    for (const SegmentRecord& gone : old) files_->RemoveSegment(gone.file_number);
  });
  return absl::OkStatus();
}

void Shard::RemoveFiles(const SegmentRecord& record) {
  files_->RemoveSegment(record.file_number);
  files_->RemoveCodebook(record.codebook_number);
}

}  // namespace mneme
