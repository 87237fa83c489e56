// 1. Heads: each shard says what it has, and a checksum of its centroids. Shards with the same are a group, which has
//    one set of lists; one with entries and no index joins the first group, as in engine/index_export.
// 2. Centroids: of the first shard of each group, one group after the other.
// 3. Sizes: every shard is asked for its lists, one without an index with the centroids of the first group. Those of a
//    group are the sums of its shards'.
// 4. Entries: a shard sends them in the order of its lists, and waits with what is not taken yet.
//
// A stream of lists lasts as long as the client takes, and holds a worker of its shard: each is asked once that of the
// shard before it has answered, so that two exports never wait for each other's.
#include "cluster/remote_export.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "cluster/remote_deployment_state.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/flat_commands.h"

namespace mneme {
namespace {

using Stub = ShardChannel::Stub;

// Those of the first group go to a shard without an index as they are, with room for what is around them.
static_assert(limits::kMaxCentroidBytes <= size_t{limits::kMaxInternalMessageBytes} / 2);

absl::Status NotWhole() { return absl::DataLossError("what a shard exports is not whole"); }

absl::StatusOr<ExportPiece> NextPiece(ShardStream& stream) {
  ASSIGN_OR_RETURN(const std::optional<std::string> bytes, stream.Next());
  if (!bytes.has_value()) return NotWhole();
  ExportPiece piece;
  RETURN_IF_ERROR(Unflat(*bytes, piece));
  return piece;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExportedIndex>> RemoteExport::Open(const ShardFan& shards, MemoryHandle memory,
                                                                  const LeaseHandle& lease, const CallLimits& limits) {
  std::unique_ptr<RemoteExport> made(new RemoteExport(shards, std::move(memory), limits));
  RETURN_IF_ERROR(made->ReadHeads(lease));
  RETURN_IF_ERROR(made->MakeGroups());
  return std::unique_ptr<ExportedIndex>(std::move(made));
}

std::unique_ptr<ShardStream> RemoteExport::Ask(const LeaseHandle& lease, uint32_t shard, ExportPart part,
                                               std::vector<float> given) const {
  ExportQuestion question;
  question.memory = memory_->number;
  question.partition = NamedBy(lease->partitions).front();
  question.lease = LeaseOn(lease, shard);
  question.stamp_ms = lease->stamp_ms;
  question.part = part;
  question.given = std::move(given);
  return std::make_unique<ShardStream>(shards_.shard(shard), &Stub::ExportIndex,
                                       Question(Flat(question), HolderOf(lease, shard)), limits_);
}

absl::Status RemoteExport::ReadHeads(const LeaseHandle& lease) {
  for (const uint32_t shard : shards_.routing().OwnersOf(*memory_, lease->partitions)) {
    Source& source = sources_.emplace_back();
    source.shard = shard;
    source.stream = Ask(lease, shard, ExportPart::kHead);  // all count at once
  }
  for (Source& source : sources_) {
    ASSIGN_OR_RETURN(const std::optional<std::string> bytes, source.stream->Next());
    if (!bytes.has_value()) return NotWhole();
    RETURN_IF_ERROR(Unflat(*bytes, source.head));
    source.stream.reset();
  }
  return absl::OkStatus();
}

absl::Status RemoteExport::MakeGroups() {
  std::vector<size_t> first;  // source of each group
  uint64_t rows = 0;
  for (size_t i = 0; i < sources_.size(); ++i) {
    const ExportHead& head = sources_[i].head;
    rows += head.rows;
    entries_ += head.entries;
    if (head.lists == 0) continue;
    if (uint64_t{head.lists} * memory_->spec.dimension * sizeof(float) > limits::kMaxCentroidBytes) return NotWhole();
    size_t group = 0;
    while (group < groups_.size() && (sources_[first[group]].head.lists != head.lists ||
                                      sources_[first[group]].head.centroids != head.centroids)) {
      ++group;
    }
    if (group == groups_.size()) {
      groups_.push_back({head.lists, {}});
      first.push_back(i);
      lists_ += head.lists;
    }
    groups_[group].sources.push_back(i);
  }
  if (groups_.empty()) return NoIndexError(rows);
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (sources_[i].head.lists != 0 || sources_[i].head.entries == 0) continue;
    groups_.front().sources.push_back(i);
    keeps_centroids_ = true;
  }
  return absl::OkStatus();
}

absl::StatusOr<ExportPiece> RemoteExport::Next(const LeaseHandle& lease) {
  ExportPiece piece;
  if (centroid_group_ < groups_.size()) {
    RETURN_IF_ERROR(ReadCentroids(lease, piece));
    return piece;
  }
  if (sizes_.empty()) RETURN_IF_ERROR(ReadSizes(lease));
  if (next_size_ < sizes_.size()) {
    const size_t end = std::min(sizes_.size(), next_size_ + SizesOfPiece());
    for (; next_size_ < end; ++next_size_) piece.list_sizes.push_back(sizes_[next_size_]);
    return piece;
  }
  RETURN_IF_ERROR(ReadRows(piece));
  return piece;
}

absl::Status RemoteExport::ReadCentroids(const LeaseHandle& lease, ExportPiece& piece) {
  const Group& group = groups_[centroid_group_];
  if (centroids_ == nullptr) {
    centroids_ = Ask(lease, sources_[group.sources.front()].shard, ExportPart::kCentroids);
  }
  ASSIGN_OR_RETURN(piece, NextPiece(*centroids_));
  const uint64_t all = uint64_t{group.lists} * memory_->spec.dimension;
  group_centroids_ += piece.centroids.size();
  if (piece.centroids.empty() || group_centroids_ > all) return NotWhole();
  if (centroid_group_ == 0 && keeps_centroids_) {
    kept_.insert(kept_.end(), piece.centroids.begin(), piece.centroids.end());
  }
  if (group_centroids_ < all) return absl::OkStatus();
  centroids_.reset();
  group_centroids_ = 0;
  ++centroid_group_;
  return absl::OkStatus();
}

absl::Status RemoteExport::ReadSizes(const LeaseHandle& lease) {
  for (Source& source : sources_) {
    if (source.head.lists == 0 && source.head.entries == 0) continue;
    if (source.head.lists == 0) {
      source.head.lists = groups_.front().lists;
      source.stream = Ask(lease, source.shard, ExportPart::kLists, kept_);
    } else {
      source.stream = Ask(lease, source.shard, ExportPart::kLists);
    }
    RETURN_IF_ERROR(ReadSizesOf(source));
  }
  std::vector<float>().swap(kept_);
  for (const Group& group : groups_) {
    const size_t begin = sizes_.size();
    sizes_.resize(begin + group.lists);
    for (const size_t at : group.sources) {
      for (uint32_t list = 0; list < group.lists; ++list) sizes_[begin + list] += sources_[at].sizes[list];
    }
  }
  return absl::OkStatus();
}

absl::Status RemoteExport::ReadSizesOf(Source& source) {
  while (source.sizes.size() < source.head.lists) {
    ASSIGN_OR_RETURN(const ExportPiece piece, NextPiece(*source.stream));
    if (piece.list_sizes.empty()) return NotWhole();
    source.sizes.insert(source.sizes.end(), piece.list_sizes.begin(), piece.list_sizes.end());
  }
  uint64_t sum = 0;
  for (const uint64_t size : source.sizes) sum += size;
  return source.sizes.size() == source.head.lists && sum == source.head.entries ? absl::OkStatus() : NotWhole();
}

absl::Status RemoteExport::Hear(Source& source) const {
  if (source.taken < source.rows.ids.size()) return absl::OkStatus();
  ASSIGN_OR_RETURN(source.rows, NextPiece(*source.stream));
  source.taken = 0;
  const size_t count = source.rows.ids.size();
  return count != 0 && source.rows.keys.size() == count * memory_->spec.dimension ? absl::OkStatus() : NotWhole();
}

absl::Status RemoteExport::ReadRows(ExportPiece& piece) {
  const size_t dimension = memory_->spec.dimension;
  const size_t most = EntriesOfPiece(memory_->spec);
  while (piece.ids.size() < most && group_ < groups_.size()) {
    const Group& group = groups_[group_];
    Source& source = sources_[group.sources[source_]];
    if (in_list_ < source.sizes[list_]) {
      RETURN_IF_ERROR(Hear(source));
      const size_t count = std::min({most - piece.ids.size(), source.rows.ids.size() - source.taken,
                                     static_cast<size_t>(source.sizes[list_] - in_list_)});
      const auto ids = source.rows.ids.begin() + static_cast<std::ptrdiff_t>(source.taken);
      const auto keys = source.rows.keys.begin() + static_cast<std::ptrdiff_t>(source.taken * dimension);
      piece.ids.insert(piece.ids.end(), ids, ids + static_cast<std::ptrdiff_t>(count));
      piece.keys.insert(piece.keys.end(), keys, keys + static_cast<std::ptrdiff_t>(count * dimension));
      source.taken += count;
      in_list_ += count;
      continue;
    }
    in_list_ = 0;
    if (++source_ < group.sources.size()) continue;
    source_ = 0;
    if (++list_ < group.lists) continue;
    list_ = 0;
    ++group_;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<ExportedIndex>> RemoteDeployment::ExportIndex(const MemoryHandle& memory,
                                                                             const LeaseHandle& lease,
                                                                             const CallLimits& limits) const {
  return RemoteExport::Open(state_->shards, memory, lease, limits);
}

}  // namespace mneme
