// Tail: the newest rows of a partition, not yet in a segment, visible as soon as they are appended and always exact.
#ifndef MNEME_INDEX_TAIL_H_
#define MNEME_INDEX_TAIL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "common/columns.h"
#include "index/index_spec.h"
#include "index/row_block.h"

namespace mneme {

class TailChunk;
struct TailLists;

// An append-only run of rows in chunks that never move. One writer; any number of readers, each through a snapshot that
// the writer took and handed over with a lock of its own. Small partitions stay small: chunks start at a few rows and
// double up to kMaxChunkRows.
class Tail {
 public:
  static constexpr size_t kMaxChunkRows = 4096;

  Tail(const IndexSpec& spec, Row first_row);
  ~Tail();

  // Appends `columns[begin, end)` as the next rows. Called by the writer only. The rows are readable up to the length
  // that Snapshot() took afterwards.
  void Append(const EntryColumns& columns, size_t begin, size_t end);
  // One entry, the first of about `rows_to_come`.
  void Append(const EntryView& entry, size_t rows_to_come);

  // The oldest row still held, and one past the newest. Writer only.
  Row first_row() const { return first_row_; }
  Row end_row() const { return end_row_; }
  // Bytes allocated. Any thread.
  uint64_t ram_bytes() const { return ram_bytes_.load(std::memory_order_relaxed); }

  // What a version holds: the chunks with the number of rows that are published in each.
  struct Snapshot {
    struct Part {
      std::shared_ptr<const TailChunk> chunk;
      size_t count = 0;
    };
    std::vector<Part> parts;
    Row first_row = 0;
    Row end_row = 0;
  };
  // Writer only; the snapshot may then be read by any thread for as long as it is held.
  Snapshot TakeSnapshot() const;

  // Drops chunks that lie wholly below `row` (they are in a segment now). Writer only; readers keep what they hold.
  void DropBelow(Row row);

 private:
  // The chunk that takes `value` as the next row's.
  TailChunk& ChunkFor(std::string_view value, size_t rows_to_come);

  const IndexSpec spec_;
  Row first_row_;
  Row end_row_;
  std::atomic<uint64_t> ram_bytes_{0};
  std::vector<std::shared_ptr<TailChunk>> chunks_;
};

// The rows of one part of a snapshot that are at or above `from_row` (rows below it are in a segment).
RowBlock BlockOf(const Tail::Snapshot::Part& part, Row from_row);

// The ram of the chunk of a part, the same however much of it the part has. Any thread.
uint64_t RamBytesOf(const Tail::Snapshot::Part& part);

// The first row of the chunk of a part.
Row FirstRowOf(const Tail::Snapshot::Part& part);

// The lists of the tail's rows, which may be fewer or more than those of the snapshot; null until they were set. An
// empty snapshot keeps none. Any thread.
std::shared_ptr<const TailLists> ListsOf(const Tail::Snapshot& tail);
void SetListsOf(const Tail::Snapshot& tail, std::shared_ptr<const TailLists> lists);

}  // namespace mneme

#endif  // MNEME_INDEX_TAIL_H_
