// RemoteExport: the index of a partition whose shards are in other processes, put together from what each has of it.
#ifndef MNEME_CLUSTER_REMOTE_EXPORT_H_
#define MNEME_CLUSTER_REMOTE_EXPORT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/shard_fan.h"
#include "cluster/shard_stream.h"
#include "engine/exported_index.h"
#include "engine/flat_export.h"

namespace mneme {

// What one process with these shards exports, to the byte. A piece of each shard is in ram at most, the sizes of lists,
// and, when a shard has entries and no index, the centroids that its entries are assigned to. Borrows the shards.
class RemoteExport final : public ExportedIndex {
 public:
  // Asks the shards what they have; blocks. `lease` is one of RemoteLeases, on one partition. FAILED_PRECONDITION when
  // no shard has an index.
  static absl::StatusOr<std::unique_ptr<ExportedIndex>> Open(const ShardFan& shards, MemoryHandle memory,
                                                             const LeaseHandle& lease, const CallLimits& limits);

  uint64_t lists() const override { return lists_; }
  uint64_t entries() const override { return entries_; }
  absl::StatusOr<ExportPiece> Next(const LeaseHandle& lease) override;

 private:
  struct Source {
    uint32_t shard = 0;
    ExportHead head;
    std::unique_ptr<ShardStream> stream = {};  // of lists
    std::vector<uint64_t> sizes = {};
    ExportPiece rows = {};                     // heard, of which `taken` were taken
    size_t taken = 0;
  };
  // The lists of shards that have the same centroids, and, in the first group, of those that have none.
  struct Group {
    uint32_t lists = 0;
    std::vector<size_t> sources;  // those with centroids first, ascending
  };

  RemoteExport(const ShardFan& shards, MemoryHandle memory, const CallLimits& limits)
      : shards_(shards), memory_(std::move(memory)), limits_(limits) {}

  absl::Status ReadHeads(const LeaseHandle& lease);
  absl::Status MakeGroups();
  std::unique_ptr<ShardStream> Ask(const LeaseHandle& lease, uint32_t shard, ExportPart part,
                                   std::vector<float> given = {}) const;
  // The next centroids of the group whose turn it is.
  absl::Status ReadCentroids(const LeaseHandle& lease, ExportPiece& piece);
  absl::Status ReadSizes(const LeaseHandle& lease);
  absl::Status ReadSizesOf(Source& source);
  // The next entries, list by list, in it shard by shard.
  absl::Status ReadRows(ExportPiece& piece);
  // At least one entry is at hand, or the shard has not said what it should.
  absl::Status Hear(Source& source) const;

  const ShardFan& shards_;
  const MemoryHandle memory_;
  const CallLimits limits_;
  std::vector<Source> sources_;  // ascending by shard
  std::vector<Group> groups_;
  uint64_t lists_ = 0;
  uint64_t entries_ = 0;
  bool keeps_centroids_ = false;  // of the first group: a shard has entries and no index
  std::vector<float> kept_;
  // Where the centroids go on.
  std::unique_ptr<ShardStream> centroids_;  // of the group's first shard
  size_t centroid_group_ = 0;
  uint64_t group_centroids_ = 0;  // floats of that group that were read
  // Where the sizes go on.
  std::vector<uint64_t> sizes_;  // of all lists, once they were read
  size_t next_size_ = 0;
  // Where the entries go on.
  size_t group_ = 0;
  uint32_t list_ = 0;
  size_t source_ = 0;
  uint64_t in_list_ = 0;  // of that source in that list, that were read
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_REMOTE_EXPORT_H_
