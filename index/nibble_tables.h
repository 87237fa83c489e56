// NibbleTables: the f32 tables of a batch of queries for four-bit codes, rounded to bytes for the scan.
#ifndef MNEME_INDEX_NIBBLE_TABLES_H_
#define MNEME_INDEX_NIBBLE_TABLES_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/aligned_buffer.h"
#include "index/codec.h"

namespace mneme {

class NibbleTables final : public CodeQueries {
 public:
  NibbleTables(size_t columns, size_t queries);

  // `tables` [columns x 16] of query `q`: cost(row) = base + term(row) + factor(row) * sum_m tables[m][code_m(row)].
  // One step for all columns, so that sums stay integers; each column starts at its least entry.
  void Set(size_t q, const float* tables);

  void Scan(absl::Span<const uint32_t> queries, const float* bases, const float* cuts, const char* blocks, size_t rows,
            CodeHits* hits) const override;

 private:
  const size_t columns_;
  const size_t table_bytes_;  // of one query
  AlignedBuffer tables_;
  std::vector<float> scales_;
  std::vector<float> offsets_;
};

}  // namespace mneme

#endif  // MNEME_INDEX_NIBBLE_TABLES_H_
