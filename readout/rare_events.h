// RareEvents: the learned write of "Learning to Remember Rare Events" (Kaiser et al. 2017) over a table of slots.
//
// A slot holds a unit key, a value and the tick at which it was last used. Observing (q, y), one item after the other:
//   nearest   the occupied slot of greatest similarity q K; its value is the answer
//   MERGED    the nearest has value y: its key becomes unit(q + K) (stays K where q = -K), its age 0
//   INSERTED  else: (q, y) goes to the first slot never used, or when all are used in the place of the greatest
//             age + U(-age_noise, age_noise), with age 0
// A call that learns counts one tick, whatever its number of items; age = tick - last used.
//   loss = max(0, neg - pos + alpha) - alpha, where pos and neg are the greatest similarities of slots with and without
//   value y among the choose_k nearest (and the slot last used for y); 0 where there is none.
// Unlike the published code, no slot that was never used matches label 0, and nothing but the nearest is merged into.
//
// Deterministic: similarities are compared in double (single precision only rules out what is too far behind), ties go
// to the lowest slot. Slots fill from 0 up, so the occupied ones are [0, size()). Not thread-safe.
#ifndef MNEME_READOUT_RARE_EVENTS_H_
#define MNEME_READOUT_RARE_EVENTS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace mneme {

struct ObserveOptions {
  size_t choose_k = 256;   // >= 1
  double alpha = 0.1;      // > 0
  double age_noise = 8.0;  // >= 0
  uint64_t seed = 0;       // of the noise; 0: none
  bool learn = true;       // false: answers alone, nothing is written
  bool want_mask = false;  // costs a sort of the table for each item
};

enum class ObserveAction : uint8_t { kNone, kMerged, kInserted };

struct Observation {
  std::optional<uint32_t> slot;  // the nearest; nullopt while the table is empty
  int64_t value = 0;             // of that slot
  double similarity = 0.0;
  bool correct = false;          // value = y
  ObserveAction action = ObserveAction::kNone;
  std::optional<uint32_t> written_slot;
  struct Evicted {
    int64_t value;
    int64_t age;
  };
  std::optional<Evicted> evicted;
  double pos = 0.0;  // these three: only where y is given
  double neg = 0.0;
  double loss = 0.0;
  // softmax(t similarity) over the choose_k nearest, nearest first; t = max(1, ln(0.2 choose_k) / alpha).
  std::vector<std::pair<uint32_t, double>> mask;
};

class RareEvents {
 public:
  // An empty table; both >= 1.
  RareEvents(size_t capacity, size_t dim) : capacity_(capacity), dim_(dim) {}

  // A table from its columns, of slots 0, 1, ...: unit keys [n x dim], values [n], last_used [n], none above `tick`.
  // Returns INVALID_ARGUMENT when they do not fit.
  static absl::StatusOr<RareEvents> FromColumns(size_t capacity, size_t dim, int64_t tick,
                                                absl::Span<const float> keys, absl::Span<const int64_t> values,
                                                absl::Span<const int64_t> last_used);

  size_t capacity() const { return capacity_; }
  size_t dim() const { return dim_; }
  size_t size() const { return values_.size(); }  // occupied slots
  int64_t tick() const { return tick_; }
  absl::Span<const float> key(uint32_t slot) const { return absl::MakeConstSpan(keys_).subspan(slot * dim_, dim_); }
  absl::Span<const float> keys() const { return keys_; }
  absl::Span<const int64_t> values() const { return values_; }
  absl::Span<const int64_t> last_used() const { return last_used_; }

  // Observes queries [B x dim] (finite, normalised here) in order, with labels [B], or none: then nothing is written.
  // Returns INVALID_ARGUMENT, and changes nothing, for a zero query or shapes or options out of range.
  absl::StatusOr<std::vector<Observation>> Observe(absl::Span<const float> queries, absl::Span<const int64_t> labels,
                                                   const ObserveOptions& options);

 private:
  class Chunk;  // the similarities of a few queries to all slots

  absl::Status Check(absl::Span<const float> queries, absl::Span<const int64_t> labels,
                     const ObserveOptions& options) const;
  double Similarity(const float* query, uint32_t slot) const;
  // The writes. The first two return the slot.
  uint32_t Merge(const float* query, uint32_t slot);
  uint32_t Insert(const float* query, int64_t label, const ObserveOptions& options, size_t item, Observation& out);
  void Touch(uint32_t slot);
  uint32_t Oldest(const ObserveOptions& options, size_t item) const;

  size_t capacity_;
  size_t dim_;
  int64_t tick_ = 0;
  std::vector<float> keys_;
  std::vector<int64_t> values_;
  std::vector<int64_t> last_used_;
  std::set<std::pair<int64_t, uint32_t>> by_age_;                     // (last used, slot)
  absl::flat_hash_map<int64_t, std::vector<uint32_t>> slots_of_;      // by value; in no order
};

}  // namespace mneme

#endif  // MNEME_READOUT_RARE_EVENTS_H_
