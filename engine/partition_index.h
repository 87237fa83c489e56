// PartitionIndex: the writer's side of the index of one partition. Readers only ever see the immutable versions that it
// makes (I3).
#ifndef MNEME_ENGINE_PARTITION_INDEX_H_
#define MNEME_ENGINE_PARTITION_INDEX_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "common/columns.h"
#include "engine/expiry_queue.h"
#include "engine/oldest_rows.h"
#include "index/index_spec.h"
#include "index/search.h"
#include "index/segment.h"
#include "index/tail.h"
#include "storage/entry_store.h"

namespace mneme {

class SlotTable;

// Entries that went by themselves, since the partition was opened.
struct RemovalCounts {
  uint64_t evicted = 0;  // made room in a memory with a capacity
  uint64_t expired = 0;

  void Add(const RemovalCounts& more) {
    evicted += more.evicted;
    expired += more.expired;
  }
};

// A segment with the record that names its file.
struct InstalledSegment {
  SegmentRecord record;
  std::shared_ptr<const Segment> segment;
};

// Not thread-safe: used by the shard's writer alone (and by the thread that opens the shard, before there is a writer).
class PartitionIndex {
 public:
  PartitionIndex(const IndexSpec& spec, const PartitionHead& head, uint64_t generation = 0);

  const IndexSpec& spec() const { return spec_; }
  PartitionHead& head() { return head_; }
  const PartitionHead& head() const { return head_; }
  // Raised when the partition is emptied whole: background work that began before must be thrown away.
  uint64_t generation() const { return generation_; }
  const std::vector<InstalledSegment>& segments() const { return segments_; }
  const std::shared_ptr<const Codebook>& codebook() const { return codebook_; }
  // Of the newest segment (engine/drift.h); 0: nothing to compare.
  double drift() const { return drift_; }
  uint64_t tail_rows() const { return tail_->end_row() - tail_from_; }
  uint64_t tail_ram_bytes() const { return tail_->ram_bytes(); }

  // Appends columns[begin, end) as the next rows.
  void Append(const EntryColumns& columns, size_t begin, size_t end);
  // Appends one entry, the first of about `rows_to_come`, as the next row.
  void Append(const EntryView& entry, size_t rows_to_come);
  // Appends `count` rows that are dead already: a gap that deletions left in the store. `count` is bounded by a tail.
  void AppendGap(uint64_t count);
  // The first row that the (empty) tail will take; rows before it that no segment holds are gone.
  void StartTailAt(Row row);
  void MarkDead(const std::vector<Row>& rows);
  bool IsDead(Row row) const { return dead_.Contains(row); }
  // What a capacity takes first.
  OldestRows& oldest() { return oldest_; }
  void CountRemoved(const RemovalCounts& more) { removed_.Add(more); }
  const RemovalCounts& removed() const { return removed_; }
  // Forgets all rows; the next row stays where it is, so that no row is given twice.
  void Clear();
  // Puts `added` in the place of the segments whose rows it covers, and takes those rows from the tail.
  void Install(InstalledSegment added, std::shared_ptr<const Codebook> codebook);

  // Gives up rows of the tail below `end`, of which none is alive. False when one is.
  bool DiscardTail(Row end);
  // Gives up the segments that lie within [first, end), of which no row is alive.
  void DiscardSegments(Row first, Row end);

  // The table of learned writes, where there were some; of use while it IsOf(head()).
  std::shared_ptr<SlotTable>& slots() { return slots_; }

  // The least expiry of what was appended since the last call, or kNeverExpires.
  int64_t TakeLeastExpiry() { return std::exchange(fresh_expiry_ms_, kNeverExpires); }
  // An insert was part of a load: more is to come. Whether there was one since the last call.
  void NoteLoad() { loads_ = true; }
  bool TakeLoad() { return std::exchange(loads_, false); }
  // Rows of a tail beside an index that are scanned whole before it is worth sorting them into lists.
  static constexpr uint64_t kUnsortedRows = 256;
  // Whether so many rows came to a tail beside an index since it last said so.
  bool TakeSortHint();
  // Whether so many rows died since it last said so that a segment may be worth compacting.
  bool TakeCompactionHint();

  // An immutable version of what is there now.
  std::shared_ptr<const IndexVersion> MakeVersion() const;

 private:
  IndexSpec spec_;
  PartitionHead head_;
  uint64_t generation_ = 0;
  std::vector<InstalledSegment> segments_;  // ascending by row
  std::shared_ptr<const Codebook> codebook_;
  std::unique_ptr<Tail> tail_;
  Row tail_from_ = 0;
  DeadRows dead_;
  std::shared_ptr<const RowHistory> history_;
  OldestRows oldest_;
  RemovalCounts removed_;
  std::shared_ptr<SlotTable> slots_;
  double drift_ = 0.0;
  int64_t fresh_expiry_ms_ = kNeverExpires;
  uint64_t fresh_deaths_ = 0;
  Row sorted_to_ = 0;  // the end of the tail when it was last said to be worth sorting
  bool loads_ = false;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_PARTITION_INDEX_H_
