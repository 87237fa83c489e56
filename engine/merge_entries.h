// MergeEntries: the greedy choice of which entries of one version go into which (step 1 of prune.h).
#ifndef MNEME_ENGINE_MERGE_ENTRIES_H_
#define MNEME_ENGINE_MERGE_ENTRIES_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/prune_command.h"
#include "engine/write_operations.h"
#include "index/index_version.h"
#include "index/row_block.h"
#include "storage/catalogue_store.h"

namespace mneme {

// The choice made on one version. Thread-compatible; holds the version that it speaks of.
class MergeEntries {
 public:
  MergeEntries(MemoryHandle memory, std::shared_ptr<const IndexVersion> version);

  // Finds the entries, then what merges into what. `told(entries done)` is asked between batches; false cancels.
  absl::Status Collect(const PruneCommand& command);
  absl::Status Choose(const PruneCommand& command, const std::function<bool(uint64_t)>& told);

  uint64_t entries() const { return entries_.size(); }
  uint64_t merged() const { return merged_; }

  // The version without what was merged.
  std::shared_ptr<const IndexVersion> VersionAfter() const;
  // The weight that an entry of this version then has; nullopt for an id that is not in it.
  std::optional<float> WeightAfter(EntryId id) const;

  // The next merges for the writer: until they are `rows` entries, or the survivors have `bytes` of keys and values;
  // nullopt at the end. All survivors of one operation have ids of one kind, given by the server or by clients.
  struct Cursor {
    bool server_ids = false;
    size_t next = 0;
  };
  std::optional<MergeOperation> Next(Cursor& cursor, size_t rows, size_t bytes) const;

 private:
  struct Entry {
    Row row = 0;
    uint32_t block = 0;  // in blocks_
    uint32_t at = 0;     // in that block
    uint32_t into = 0;   // its own place: not merged
    uint32_t taken = 0;  // how many it took in
  };

  EntryId IdOf(const Entry& entry) const { return blocks_[entry.block].ids[entry.at]; }
  Attributes AttributesOf(const Entry& entry) const { return blocks_[entry.block].AttributesAt(entry.at); }
  bool MayTake(const Entry& taker, const Entry& other) const;
  absl::Status ChooseBatch(const PruneCommand& command, const std::vector<uint32_t>& places);
  void Append(uint32_t survivor, MergeOperation& operation) const;

  const MemoryHandle memory_;
  const IndexSpec spec_;
  const std::shared_ptr<const IndexVersion> version_;
  std::vector<RowBlock> blocks_;
  std::vector<Entry> entries_;  // by row
  absl::flat_hash_map<EntryId, uint32_t> place_of_;
  // Of an entry that took others in: their places, in the order they were taken.
  absl::flat_hash_map<uint32_t, std::vector<uint32_t>> taken_by_;
  uint64_t merged_ = 0;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_MERGE_ENTRIES_H_
