// SlotTable: a partition as the slots of a learned write (readout/rare_events.h). Slot = entry: its key is the slot's
// unit key, its label the value, its position the tick at which the slot was last used. So the table is whatever the
// store holds, and entries that are read, searched or deleted by other calls are the same slots.
#ifndef MNEME_ENGINE_SLOT_TABLE_H_
#define MNEME_ENGINE_SLOT_TABLE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/columns.h"
#include "common/types.h"
#include "readout/rare_events.h"
#include "storage/entry_store.h"

namespace mneme {

// Queries [count x dimension] f32 that are not zero, with labels [count] or none, observed in order.
struct SlotBatch {
  AlignedBuffer queries;
  size_t count = 0;
  std::vector<int64_t> labels;
  ObserveOptions options;

  bool writes() const { return options.learn && !labels.empty(); }
};

// What was observed, a column each; [count] but for the mask, which is CSR.
struct SlotAnswers {
  std::vector<uint8_t> found;        // 0: the table was empty; then slot, value and similarity say nothing
  std::vector<EntryId> slots;
  std::vector<int64_t> values;
  std::vector<double> similarities;
  std::vector<uint8_t> correct;
  std::vector<uint8_t> actions;      // 0 none, 1 merged, 2 inserted
  std::vector<EntryId> written_slots;  // where the action is not none
  std::vector<uint8_t> evicted;      // 1: the slot held another value before, of that value and age
  std::vector<int64_t> evicted_values;
  std::vector<int64_t> evicted_ages;
  std::vector<double> pos;
  std::vector<double> neg;
  std::vector<double> losses;
  std::vector<uint64_t> mask_offsets;
  std::vector<EntryId> mask_slots;
  std::vector<double> mask_weights;
};

// As it is remembered with a request id, without the mask (docs/formats.md).
std::string EncodeSlotAnswers(const SlotAnswers& answers);
// DATA_LOSS when the bytes are none.
absl::StatusOr<SlotAnswers> DecodeSlotAnswers(std::string_view bytes);

// The writer's own; not thread-safe.
class SlotTable {
 public:
  // Reads the partition's entries. FAILED_PRECONDITION when some are no slots: they have ids of the server, or are more
  // than the capacity.
  static absl::StatusOr<SlotTable> Load(const EntryStore& store, const PartitionKey& key, const MemorySpec& spec);

  // Whether it still is what a partition with this head holds.
  bool IsOf(const PartitionHead& head) const {
    return head.next_row == next_row_ && head.live_rows == ids_.size();
  }
  void Note(const PartitionHead& head) { next_row_ = head.next_row; }

  // Fills `written` with the entries of all slots that were written, as they are after the batch. INVALID_ARGUMENT, and
  // nothing is changed, when a label is no token of a memory of tokens.
  absl::StatusOr<SlotAnswers> Observe(const SlotBatch& batch, EntryColumns& written);

 private:
  SlotTable(const MemorySpec& spec, RareEvents events) : spec_(spec), events_(std::move(events)) {}
  EntryId IdOf(uint32_t slot);
  absl::Status CheckLabels(const std::vector<int64_t>& labels) const;

  MemorySpec spec_;
  RareEvents events_;
  std::vector<EntryId> ids_;  // of the slots
  EntryId next_id_ = 0;
  Row next_row_ = 0;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_SLOT_TABLE_H_
