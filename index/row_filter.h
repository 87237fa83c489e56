// RowFilter: which entries may answer, decided while scanning and before the k nearest are chosen.
#ifndef MNEME_INDEX_ROW_FILTER_H_
#define MNEME_INDEX_ROW_FILTER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "common/columns.h"
#include "index/row_block.h"

namespace mneme {

// A conjunction; an absent list accepts everything, an empty one nothing. Lists are ascending and without repeats.
struct RowFilter {
  std::optional<std::vector<EntryId>> ids;
  std::optional<std::vector<int64_t>> labels;
  std::optional<std::vector<uint64_t>> sources;
  std::optional<int64_t> created_from_ms;  // inclusive
  std::optional<int64_t> created_to_ms;    // exclusive
  // Rows whose expiry is at or before this stamp are hidden.
  int64_t stamp_ms = 0;

  // True when nothing but expiry can exclude a row.
  bool AcceptsEverything() const {
    return !ids && !labels && !sources && !created_from_ms && !created_to_ms;
  }
  // True when both accept the same rows at the same stamp.
  bool SameButForStamp(const RowFilter& other) const;
  bool Accepts(const RowBlock& block, size_t i) const;
  bool Accepts(EntryId id, const Attributes& attributes) const;
};

}  // namespace mneme

#endif  // MNEME_INDEX_ROW_FILTER_H_
