// RowBlock: the one shape in which rows are scanned, whether they lie in a tail chunk or in a list of a segment.
#ifndef MNEME_INDEX_ROW_BLOCK_H_
#define MNEME_INDEX_ROW_BLOCK_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "common/columns.h"
#include "common/types.h"
#include "index/index_spec.h"

namespace mneme {

// A borrowed run of `count` rows as columns. A null optional column means that every row has the default.
struct RowBlock {
  size_t count = 0;
  const char* keys = nullptr;              // [count x key_bytes], stored dtype
  const EntryId* ids = nullptr;            // [count]
  const Row* rows = nullptr;               // [count]; null: rows are first_row + i
  Row first_row = 0;
  const char* values = nullptr;            // fixed width: [count x value_bytes]; else the bytes that offsets index
  const uint64_t* value_offsets = nullptr; // variable width only: [count + 1]
  const float* weights = nullptr;
  const double* scores = nullptr;
  const int64_t* labels = nullptr;
  const uint64_t* sources = nullptr;
  const uint64_t* positions = nullptr;
  const int64_t* expiries_ms = nullptr;
  const int64_t* created_ms = nullptr;
  // An upper bound of the Euclidean norm of every key of the block: turns relative f32 error into absolute (I4).
  double max_norm = 0.0;
  // Cosine only: [count] 1 / |key| rounded to f32; NaN where the norm is too small for f32 (InverseNorm in
  // key_norms.h), so that such a row always reaches the exact pass.
  const float* inverse_norms = nullptr;
  // From a byte of any column to the same byte in a second map of the file, of which a fault brings in one page and not
  // those around it: for rows that lie anywhere. nullopt in a tail, which lies in ram.
  std::optional<ptrdiff_t> sparse_map;

  // Entries [first, first + length) of this block, with the bound of the whole.
  RowBlock Slice(size_t first, size_t length, const IndexSpec& spec) const {
    RowBlock slice = *this;
    slice.count = length;
    slice.keys += first * spec.KeyBytes();
    slice.ids += first;
    if (rows != nullptr) slice.rows += first;
    slice.first_row += first;
    slice.values += first * spec.value_bytes;
    if (value_offsets != nullptr) slice.value_offsets += first;
    if (weights != nullptr) slice.weights += first;
    if (scores != nullptr) slice.scores += first;
    if (labels != nullptr) slice.labels += first;
    if (sources != nullptr) slice.sources += first;
    if (positions != nullptr) slice.positions += first;
    if (expiries_ms != nullptr) slice.expiries_ms += first;
    if (created_ms != nullptr) slice.created_ms += first;
    if (inverse_norms != nullptr) slice.inverse_norms += first;
    return slice;
  }

  // Where bytes of a column are read alone.
  const char* Sparse(const char* byte) const { return byte + sparse_map.value_or(0); }
  std::string_view Sparse(std::string_view bytes) const { return {Sparse(bytes.data()), bytes.size()}; }

  Row RowAt(size_t i) const { return rows != nullptr ? rows[i] : first_row + i; }
  std::string_view ValueAt(size_t i, size_t value_bytes) const {
    if (value_bytes != 0) return {values + i * value_bytes, value_bytes};
    return {values + value_offsets[i], static_cast<size_t>(value_offsets[i + 1] - value_offsets[i])};
  }
  Attributes AttributesAt(size_t i) const {
    Attributes a;
    if (weights != nullptr) a.weight = weights[i];
    if (scores != nullptr) a.score = scores[i];
    if (labels != nullptr) a.label = labels[i];
    if (sources != nullptr) a.source = sources[i];
    if (positions != nullptr) a.position = positions[i];
    if (expiries_ms != nullptr) a.expiry_ms = expiries_ms[i];
    if (created_ms != nullptr) a.created_ms = created_ms[i];
    return a;
  }
};

}  // namespace mneme

#endif  // MNEME_INDEX_ROW_BLOCK_H_
