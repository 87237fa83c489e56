// DeadRows: which rows of a partition are deleted or overwritten, as an immutable set shared by copy-on-write chunks.
#ifndef MNEME_INDEX_DEAD_ROWS_H_
#define MNEME_INDEX_DEAD_ROWS_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/types.h"

namespace mneme {

// An immutable set of rows. Copying shares all chunks; With() copies only those it changes. Thread-safe (immutable).
class DeadRows {
 public:
  static constexpr size_t kRowsPerChunk = size_t{1} << 15;  // 4 KiB of bits

  bool Contains(Row row) const {
    const size_t chunk = row / kRowsPerChunk;
    if (chunks_ == nullptr || chunk >= chunks_->size() || (*chunks_)[chunk] == nullptr) return false;
    const size_t bit = row % kRowsPerChunk;
    return ((*(*chunks_)[chunk])[bit / 64] >> (bit % 64) & 1) != 0;
  }
  uint64_t count() const { return count_; }

  // This set and `rows` (any order, repeats allowed).
  DeadRows With(absl::Span<const Row> rows) const;
  // The rows of this set that `older` lacks, ascending. Costs what differs, where this was made of `older` by With().
  std::vector<Row> NotIn(const DeadRows& older) const;
  // How many rows of [first, last) are dead.
  uint64_t CountIn(Row first, Row last) const;

 private:
  using Chunk = std::array<uint64_t, kRowsPerChunk / 64>;
  std::shared_ptr<const std::vector<std::shared_ptr<const Chunk>>> chunks_;
  uint64_t count_ = 0;
};

}  // namespace mneme

#endif  // MNEME_INDEX_DEAD_ROWS_H_
