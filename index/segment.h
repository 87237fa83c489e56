// Segment: an immutable, memory-mapped, checksummed run of rows in IVF lists, with every column that an answer needs,
// so that a query never touches the store.
#ifndef MNEME_INDEX_SEGMENT_H_
#define MNEME_INDEX_SEGMENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "index/codebook.h"
#include "index/envelope.h"
#include "index/index_spec.h"
#include "index/row_block.h"

namespace mneme {

// Rows [first_row, end_row), less those that were dead when it was built, ordered by (list, row). Thread-safe.
class Segment {
 public:
  // DATA_LOSS when the file is missing, damaged or not the one that `identity` and `spec` name.
  static absl::StatusOr<std::shared_ptr<const Segment>> Open(const std::string& path, const IndexSpec& spec,
                                                             const EnvelopeIdentity& identity);
  ~Segment();

  Row first_row() const;
  Row end_row() const;
  uint64_t rows() const;             // rows that the file holds
  uint64_t codebook_number() const;
  uint64_t file_bytes() const;

  uint32_t lists() const;
  RowBlock List(uint32_t list) const;  // may be empty
  RowBlock All() const;
  // The codes of a list's rows, in blocks of code_block_bytes(); null when the file has none.
  const char* Codes(uint32_t list) const;
  size_t code_block_bytes() const;  // 0 when the file has no codes
  // The positions of All(), ascending by (label, position) and so on, which a filter bisects; empty when every row has
  // the default, or when a file of an older release does not tell.
  absl::Span<const uint32_t> ByLabel() const;
  absl::Span<const uint32_t> BySource() const;
  absl::Span<const uint32_t> ById() const;
  // Where `row` stands in All(); nullopt when the file does not hold it.
  std::optional<size_t> PositionOf(Row row) const;
  // The list of the row at `position` of All().
  uint32_t ListAt(size_t position) const;

 private:
  struct State;
  explicit Segment(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Builds a segment from two looks at the same rows, so that ram holds neither keys nor values: the first gives each row
// its list, the second puts it into its place in the mapped file. Not thread-safe.
//
//   Add(row, entry)...  ->  Begin(path)  ->  Place(row, entry)...  ->  Finish()
class SegmentBuilder {
 public:
  SegmentBuilder(const IndexSpec& spec, std::shared_ptr<const Codebook> codebook, Row first_row, Row end_row);
  ~SegmentBuilder();

  // `row` ascends from call to call and lies in [first_row, end_row). `list`: the list of the codebook that the row is
  // known to belong to (it was in an older segment of it), or nullopt.
  void Add(Row row, const EntryView& entry, std::optional<uint32_t> list = std::nullopt);
  uint64_t rows() const;
  absl::Status Begin(const std::string& path, const EnvelopeIdentity& identity);
  // The same rows again, ascending; rows that were not added are passed over, and rows that are gone meanwhile stay
  // empty (they are dead by then).
  void Place(Row row, const EntryView& entry);
  // Codes, sums, syncs and renames. `cancelled` is asked now and then: CANCELLED when it says so.
  absl::Status Finish(const std::function<bool()>& cancelled);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mneme

#endif  // MNEME_INDEX_SEGMENT_H_
