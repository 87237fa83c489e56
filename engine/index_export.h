// IndexExport: one partition as the lists of an inverted file, of the versions that a lease holds.
#ifndef MNEME_ENGINE_INDEX_EXPORT_H_
#define MNEME_ENGINE_INDEX_EXPORT_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/exported_index.h"
#include "engine/leases.h"
#include "index/codebook.h"
#include "index/index_spec.h"

namespace mneme {

// The lists of the shards one after the other; shards that have the same centroids share theirs, and what lies on a
// shard that has no index goes into the lists of the first that has one. Holds no version itself: every call is given
// the lease, always the same. Reads each entry once, in the order of the lists. Not thread-safe.
class IndexExport {
 public:
  // Of one shard of several, which a front end puts together.
  struct Part {
    int64_t stamp_ms = 0;  // what expired by then is left out, if that is later than the lease
    // Where the shard has no index: that of another, into whose lists its entries go; null otherwise.
    std::shared_ptr<const Codebook> given = {};
  };

  // Counts the live entries of each list, and gives those of the tails their lists. `lease` covers one partition.
  // FAILED_PRECONDITION when none of its shards has an index, and none is given.
  static absl::StatusOr<std::unique_ptr<IndexExport>> New(const MemorySpec& spec, const HeldLease& lease,
                                                          const CallLimits& limits, Part part);
  static absl::StatusOr<std::unique_ptr<IndexExport>> New(const MemorySpec& spec, const HeldLease& lease,
                                                          const CallLimits& limits) {
    return New(spec, lease, limits, Part());
  }

  uint64_t lists() const { return list_sizes_.size(); }
  uint64_t entries() const { return entries_; }
  const std::vector<uint64_t>& list_sizes() const { return list_sizes_; }
  // Of `list`: [dimension] f32.
  const float* Centroid(const HeldLease& lease, uint64_t list) const;

  struct Rows {
    std::vector<EntryId> ids;
    std::vector<float> keys;  // [ids x dimension]; cosine: of unit length
  };
  // Up to `most` of the next entries; none when all were read.
  Rows Next(const HeldLease& lease, size_t most);

 private:
  // A row of a tail, by the part of the snapshot and the position in its block.
  struct TailRow {
    uint32_t list = 0;
    uint32_t part = 0;
    uint32_t position = 0;
  };
  // What a shard has in the lists of a group.
  struct ShardRows {
    uint32_t shard = 0;
    std::vector<TailRow> tail;  // ascending by (list, part, position)
    size_t next_tail = 0;
  };
  // The lists of one codebook, or of several with the same centroids.
  struct Group {
    uint32_t shard = 0;  // whose codebook it is
    uint64_t first_list = 0;
    uint32_t lists = 0;
    std::vector<ShardRows> shards;
  };

  IndexExport(const MemorySpec& spec, Part part) : spec_(MakeIndexSpec(spec)), part_(std::move(part)) {}
  RowFilter Visible(const HeldLease& lease) const;
  const Codebook& CodebookOf(const HeldLease& lease, uint32_t shard) const;
  Group& GroupOf(const HeldLease& lease, uint32_t shard);
  absl::Status Count(const HeldLease& lease, const CallLimits& limits, const Group& group, ShardRows& shard);
  // Reads on in the current list of one shard's segments or tail; true when it has no more there.
  bool ReadOn(const IndexVersion& version, const RowFilter& filter, ShardRows& shard, size_t most, Rows& out);
  void Add(const RowBlock& block, size_t position, Rows& out) const;

  const IndexSpec spec_;
  const Part part_;
  std::vector<Group> groups_;
  std::vector<uint64_t> list_sizes_;
  uint64_t entries_ = 0;
  // Where Next() goes on: the segments of a shard in turn, then its tail.
  size_t group_ = 0;
  uint32_t list_ = 0;
  size_t shard_ = 0;
  size_t source_ = 0;
  size_t position_ = 0;
};

// What the one shard of `lease` has; entries that expired by `stamp_ms` are not alive.
absl::StatusOr<ExportHead> DescribeExport(const MemorySpec& spec, const HeldLease& lease, int64_t stamp_ms,
                                          const CallLimits& limits);
// Its centroids from `first` on, as many as a piece has; it has an index.
ExportPiece CentroidsFrom(const MemorySpec& spec, const HeldLease& lease, uint32_t first);

// The same of all shards of this process, piece by piece. Errors as IndexExport::New().
absl::StatusOr<std::unique_ptr<ExportedIndex>> ExportHeld(const MemorySpec& spec, const HeldLease& lease,
                                                          const CallLimits& limits);

}  // namespace mneme

#endif  // MNEME_ENGINE_INDEX_EXPORT_H_
