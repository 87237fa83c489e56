// IndexBuilder: makes segments (and codebooks) from the store, the one path for sealing, merging, retraining and
// repair.
#ifndef MNEME_ENGINE_INDEX_BUILDER_H_
#define MNEME_ENGINE_INDEX_BUILDER_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/disk_room.h"
#include "engine/index_files.h"
#include "engine/partition_index.h"
#include "index/tail_lists.h"
#include "storage/entry_store.h"

namespace mneme {

struct BuildRequest {
  const EntryStore* store = nullptr;
  IndexFiles* files = nullptr;
  PartitionKey key;
  IndexSpec spec;
  Row first_row = 0;
  Row end_row = 0;
  uint64_t live_rows = 0;                      // about how many of them are alive
  std::shared_ptr<const Codebook> codebook;    // null: train one on these rows
  GivenParts given = {};                       // of that codebook; without centroids k-means finds them
  // Segments of that codebook which hold some of the rows: these keep their lists.
  std::vector<std::shared_ptr<const Segment>> merged;
  std::shared_ptr<const TailLists> sorted;  // rows that are in lists of that codebook already; may be null
  const DiskRoom* disk = nullptr;  // whose reserve the segment is to leave; null: it takes what there is
  std::function<bool(const BuildProgress&)> progress;  // may be empty; false cancels
};

struct BuiltSegment {
  InstalledSegment installed;
  std::shared_ptr<const Codebook> codebook;
};

// Lists that a codebook for so many rows has: those that the memory chose, or ListsFor, as far as rows and sample
// suffice.
uint32_t WantedLists(const IndexSpec& spec, uint64_t rows);

// Reads the rows, trains where asked, writes and syncs the files, and opens them. The files are not referenced until an
// InstallOperation is committed. CANCELLED when `progress` says so; RESOURCE_EXHAUSTED (STORAGE_LOW) when `disk` has no
// room for about what the segment takes, before anything is read or before it is written. When a codebook was to be
// trained and no row is left to train on, nothing is written: `installed.segment` and `codebook` are null and the
// record has only its range.
absl::StatusOr<BuiltSegment> BuildSegment(const BuildRequest& request);

}  // namespace mneme

#endif  // MNEME_ENGINE_INDEX_BUILDER_H_
