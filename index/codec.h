// Codec: the compact form of rows that the fast pass of an approximate search reads; exact distances on the stored keys
// order what it finds.
//
// A row x of the list with centroid c is coded by its residual r = x - c; r^ is what the code says of it. With q' = q -
// m and c' = c - m for a fixed m (the mean of the centroids; 0 unless the metric is L2), the cost of a row splits into
// a part of query and list, a part of the row, and an inner product of the code with one vector of the query, whatever
// the list:
//
//   L2                     |q - x|^2 ~ |q - c|^2 + (|r^|^2 + 2 <c', r^>) - 2 <q', r^>
//   inner product, cosine    -<q, x> ~ -<q, c>                           -   <q', r^>     (cosine: unit queries and
//   keys)
//
// So a query is prepared once, not for every list that it probes.
#ifndef MNEME_INDEX_CODEC_H_
#define MNEME_INDEX_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/index_choice.h"
#include "index/index_spec.h"
#include "index/kernels/code_block.h"

namespace mneme {

// A batch of queries, ready to be compared with codes. Thread-safe (immutable). Borrows its codec and queries.
class CodeQueries {
 public:
  virtual ~CodeQueries() = default;
  // Scans `rows` rows at `blocks` for up to kCodeQueries queries. `bases[i]`: the cost of query i and the list's
  // centroid; rows of cost <= cuts[i] are written to hits[i], whose count is set.
  virtual void Scan(absl::Span<const uint32_t> queries, const float* bases, const float* cuts, const char* blocks,
                    size_t rows, CodeHits* hits) const = 0;
};

// Immutable. Thread-safe.
class Codec {
 public:
  virtual ~Codec() = default;
  virtual CodecChoice choice() const = 0;
  // Bytes of kCodeBlockRows rows.
  virtual size_t block_bytes() const = 0;
  // What Open() needs beside the centroids.
  virtual std::string Parameters() const = 0;
  // Codes `count` (<= kCodeBlockRows) keys [count x dimension] f32 (unit for cosine) of the list with `centroid`; fills
  // the rest of the block with zeros. A key that the codec cannot tell (it lies where no row of the sample did) gets
  // the cost minus infinity for every query, so that the exact pass looks at it: keys that drift away stay found.
  virtual void Encode(const float* centroid, const float* keys, size_t count, char* block) const = 0;
  // `queries` [count x dimension] f32 (unit for cosine).
  virtual std::unique_ptr<CodeQueries> Prepare(const float* queries, size_t count) const = 0;
};

// What every codec is made from. `centroids` [lists x dimension].
struct CodecFrame {
  IndexSpec spec;
  absl::Span<const float> centroids;
  double mean_squared_residual = 0.0;  // of the sample

  // m of the head of this file.
  std::vector<float> Mean() const;
  bool IsL2() const { return spec.metric == Metric::kL2; }
  // A row so far from its centroid that the slack, which was measured on the sample, says nothing of its code.
  bool IsFarOut(double squared_residual) const { return squared_residual > kFarOut * mean_squared_residual; }

  // Twice and a half the usual distance: in many dimensions few rows of the sample's own distribution lie there.
  static constexpr double kFarOut = 6.0;
};

// The codec that `auto` stands for: int8 up to kInt8Dimension components, one bit a component beyond
// (docs/performance.md has the measurements).
CodecChoice ResolveCodec(const CodecChoice& choice, const IndexSpec& spec);

// Trains on `residuals` [count x dimension]; null for `flat`, which scans the stored keys themselves. `choice` is
// resolved. INTERNAL with FAISS's own words when its training fails.
absl::StatusOr<std::unique_ptr<Codec>> TrainCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                  absl::Span<const float> residuals);
// DATA_LOSS when the parameters are not those of such a codec.
absl::StatusOr<std::unique_ptr<Codec>> OpenCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                 std::string_view parameters);

// Blocks that hold `rows` rows of one list.
constexpr size_t CodeBlocks(size_t rows) { return (rows + kCodeBlockRows - 1) / kCodeBlockRows; }

}  // namespace mneme

#endif  // MNEME_INDEX_CODEC_H_
