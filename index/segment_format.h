// The sections of a segment file, shared by its builder and its reader (docs/formats.md).
#ifndef MNEME_INDEX_SEGMENT_FORMAT_H_
#define MNEME_INDEX_SEGMENT_FORMAT_H_

#include <cstdint>

#include "index/index_spec.h"

namespace mneme {

// All columns are in list order: list by list, ascending rows within a list. Integers and floats are little endian.
// Stored on disk: do not renumber.
enum SegmentSection : uint32_t {
  kSegmentMeta = 1,           // StoredSegmentMeta
  kSegmentListOffsets = 2,    // u64 [lists + 1]: list l holds entries [offsets[l], offsets[l + 1])
  kSegmentListMaxNorms = 3,   // f64 [lists]: at least the norm of every key of the list
  kSegmentKeys = 4,           // [rows x dimension] f32 or f16
  kSegmentInverseNorms = 5,   // f32 [rows]; cosine only
  kSegmentIds = 6,            // u64 [rows]
  kSegmentRows = 7,           // u64 [rows]
  kSegmentByRow = 8,          // u32 [rows]: list-order positions, ascending by row
  kSegmentValues = 9,         // bytes
  kSegmentValueOffsets = 10,  // u64 [rows + 1]; values of no fixed width only
  // Attributes: [rows], absent when every row has the default.
  kSegmentWeights = 11,       // f32
  kSegmentScores = 12,        // f64
  kSegmentLabels = 13,        // i64
  kSegmentSources = 14,       // u64
  kSegmentPositions = 15,     // u64
  kSegmentExpiries = 16,      // i64
  kSegmentCreated = 17,       // i64
  // Absent when the codebook has no codec: lists are scanned by their keys.
  kSegmentCodes = 18,         // per list, blocks of kCodeBlockRows rows as the codec lays them out
  kSegmentCodeShape = 19,     // StoredCodeShape
  // u32 [rows]: list-order positions, ascending by (what the column says, position), so that a filter finds its rows by
  // bisection. Absent where the column is, and in files of older releases.
  kSegmentByLabel = 20,
  kSegmentBySource = 21,
  kSegmentById = 22,          // absent also when ids ascend with rows: section 8 is that order
};

struct StoredSegmentMeta {
  uint64_t first_row = 0;
  uint64_t end_row = 0;
  uint64_t rows = 0;
  uint64_t codebook_number = 0;
  uint64_t value_bytes = 0;
  uint32_t lists = 0;
  uint32_t dimension = 0;
  uint32_t metric = 0;
  uint32_t key_dtype = 0;

  bool Fits(const IndexSpec& spec) const {
    return dimension == spec.dimension && metric == static_cast<uint32_t>(spec.metric) &&
           key_dtype == static_cast<uint32_t>(spec.key_dtype) && value_bytes == spec.value_bytes;
  }
};

struct StoredCodeShape {
  uint32_t block_bytes = 0;
  uint32_t block_rows = 0;
};

}  // namespace mneme

#endif  // MNEME_INDEX_SEGMENT_FORMAT_H_
