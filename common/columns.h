// Columns: batches of entries and of neighbours as structures of arrays, the shape in which they cross every room.
#ifndef MNEME_COMMON_COLUMNS_H_
#define MNEME_COMMON_COLUMNS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "common/aligned_buffer.h"
#include "common/types.h"

namespace mneme {

// The values of a batch. Fixed-width values (TOKEN, VECTOR) lie side by side; BYTES values have offsets.
struct ValueColumn {
  size_t width = 0;               // bytes of each value, or 0: see offsets
  std::vector<char> bytes;        // all values, concatenated
  std::vector<uint64_t> offsets;  // width == 0 only: count + 1 ascending offsets into bytes, from 0

  std::string_view At(size_t i) const {
    if (width != 0) return {bytes.data() + i * width, width};
    return {bytes.data() + offsets[i], static_cast<size_t>(offsets[i + 1] - offsets[i])};
  }
  // Appends one value; its size must be `width` when that is not 0.
  void Append(std::string_view value) {
    bytes.insert(bytes.end(), value.begin(), value.end());
    if (width == 0) {
      if (offsets.empty()) offsets.push_back(0);
      offsets.push_back(bytes.size());
    }
  }
};

// What an entry carries beside id, key and value. The defaults are what an absent column means.
struct Attributes {
  float weight = 1.0F;       // > 0
  double score = 0.0;        // for `select`
  int64_t label = 0;
  uint64_t source = 0;
  uint64_t position = 0;
  int64_t expiry_ms = 0;     // Unix ms; 0 = never
  int64_t created_ms = 0;    // Unix ms stamped by the front end

  friend bool operator==(const Attributes&, const Attributes&) = default;
};

// A borrowed look at one stored entry.
struct EntryView {
  EntryId id = 0;
  std::string_view key;    // dimension components of the memory's key dtype, little endian
  std::string_view value;  // TOKEN: u32; VECTOR: f32[m]; BYTES: as given
  Attributes attributes;
};

// A batch of entries on its way in or out. Optional columns are empty (every entry has the default) or `count` long.
struct EntryColumns {
  size_t count = 0;
  AlignedBuffer keys;  // [count x key_bytes], the memory's key dtype; empty when keys were not asked for
  size_t key_bytes = 0;
  ValueColumn values;
  std::vector<EntryId> ids;
  std::vector<float> weights;
  std::vector<double> scores;
  std::vector<int64_t> labels;
  std::vector<uint64_t> sources;
  std::vector<uint64_t> positions;
  std::vector<int64_t> expiries_ms;
  std::vector<int64_t> created_ms;

  EntryView At(size_t i) const;
  // Appends a copy of `entry`; keeps an optional column absent as long as every entry has its default.
  void Append(const EntryView& entry);
};

// The neighbours of a batch of queries, row by row (CSR), each row in the order of I4: score descending, id ascending,
// partition ascending. Labels, sources and positions may be left out, and ids with partitions: then they are empty.
struct NeighbourColumns {
  std::vector<size_t> offsets = {0};  // [queries + 1]
  std::vector<double> scores;         // L2: minus the squared distance; else the similarity. f64, fixed order (I4)
  std::vector<EntryId> ids;
  std::vector<PartitionId> partitions;
  ValueColumn values;
  std::vector<float> weights;
  std::vector<int64_t> labels;
  std::vector<uint64_t> sources;
  std::vector<uint64_t> positions;
  std::vector<char> keys;  // stored bytes, only when asked for
  size_t key_bytes = 0;

  size_t queries() const { return offsets.size() - 1; }
  size_t size() const { return scores.size(); }
};

// What a search did; sums over shards.
struct SearchStatistics {
  uint64_t rows_total = 0;       // live and dead rows of the partitions searched
  uint64_t rows_scanned = 0;     // rows whose distance was computed, summed over queries / queries
  uint64_t lists_probed = 0;     // per query, mean rounded up
  uint64_t rows_reranked = 0;    // f64 distances, summed over queries
  uint64_t segments = 0;
  uint64_t tail_rows = 0;
  bool exact = true;             // false when any part was searched approximately

  void Add(const SearchStatistics& other);
};

}  // namespace mneme

#endif  // MNEME_COMMON_COLUMNS_H_
