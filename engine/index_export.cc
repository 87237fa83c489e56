// 1. Groups: the codebooks of all shards, equal ones once. A shard without one joins the first group.
// 2. Sizes: the live rows of each list of the segments, and of the tails once their rows are assigned.
// 3. Rows: list by list, in it shard by shard, the segments and then the tail.
#include "engine/index_export.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "common/status_macros.h"
#include "common/vector_codec.h"
#include "engine/visible_rows.h"
#include "index/unit_rows.h"

namespace mneme {
namespace {

// Rows of a tail that are decoded and assigned at once.
constexpr size_t kBatch = 256;
// Lists between two questions whether to stop.
constexpr uint32_t kCheckLists = 256;

// Null when the shard has nothing of the partition.
const IndexVersion* VersionOf(const HeldLease& lease, uint32_t shard) {
  const auto& versions = lease.snapshots.at(shard).versions;
  return versions.empty() ? nullptr : versions.front().get();
}

// The same of a lease on one shard.
const IndexVersion* VersionOf(const HeldLease& lease) {
  return lease.snapshots.empty() ? nullptr : VersionOf(lease, lease.snapshots.begin()->first);
}

// Accepts what had not expired.
RowFilter VisibleAt(const HeldLease& lease, int64_t stamp_ms) {
  RowFilter filter;
  filter.stamp_ms = std::max(lease.stamp_ms, stamp_ms);
  return filter;
}

bool IsLive(const IndexVersion& version, const RowFilter& filter, const RowBlock& block, size_t i) {
  return !version.dead.Contains(block.RowAt(i)) && filter.Accepts(block, i);
}

bool SameCentroids(const Codebook& a, const Codebook& b, uint32_t dimension) {
  return a.lists() == b.lists() &&
         std::memcmp(a.Centroid(0), b.Centroid(0), size_t{a.lists()} * dimension * sizeof(float)) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<IndexExport>> IndexExport::New(const MemorySpec& spec, const HeldLease& lease,
                                                              const CallLimits& limits, Part part) {
  std::unique_ptr<IndexExport> made(new IndexExport(spec, std::move(part)));
  // 1. Those with a codebook come first, so that there is a group for the others.
  std::vector<uint32_t> with;
  std::vector<uint32_t> without;
  uint64_t rows = 0;
  for (const auto& [shard, snapshot] : lease.snapshots) {
    const IndexVersion* version = VersionOf(lease, shard);
    if (version == nullptr) continue;
    rows += version->rows();
    (version->codebook != nullptr || made->part_.given != nullptr ? with : without).push_back(shard);
  }
  if (with.empty() && made->part_.given == nullptr) return NoIndexError(rows);
  for (const uint32_t shard : with) made->GroupOf(lease, shard).shards.push_back({shard, {}, 0});
  for (const uint32_t shard : without) made->groups_.front().shards.push_back({shard, {}, 0});
  // 2.
  for (Group& group : made->groups_) {
    for (ShardRows& shard : group.shards) RETURN_IF_ERROR(made->Count(lease, limits, group, shard));
  }
  return made;
}

RowFilter IndexExport::Visible(const HeldLease& lease) const { return VisibleAt(lease, part_.stamp_ms); }

const Codebook& IndexExport::CodebookOf(const HeldLease& lease, uint32_t shard) const {
  const IndexVersion& version = *VersionOf(lease, shard);
  return version.codebook != nullptr ? *version.codebook : *part_.given;
}

IndexExport::Group& IndexExport::GroupOf(const HeldLease& lease, uint32_t shard) {
  const Codebook& codebook = CodebookOf(lease, shard);
  for (Group& group : groups_) {
    if (SameCentroids(CodebookOf(lease, group.shard), codebook, spec_.dimension)) return group;
  }
  groups_.push_back({shard, list_sizes_.size(), codebook.lists(), {}});
  list_sizes_.resize(list_sizes_.size() + codebook.lists());
  return groups_.back();
}

absl::Status IndexExport::Count(const HeldLease& lease, const CallLimits& limits, const Group& group,
                                ShardRows& shard) {
  const IndexVersion& version = *VersionOf(lease, shard.shard);
  const RowFilter filter = Visible(lease);
  const auto count = [&](uint32_t list) {
    ++list_sizes_[group.first_list + list];
    ++entries_;
  };
  for (const auto& segment : version.segments) {
    for (uint32_t list = 0; list < segment->lists(); ++list) {
      if (list % kCheckLists == 0) RETURN_IF_ERROR(limits.Check());
      const RowBlock block = segment->List(list);
      for (size_t i = 0; i < block.count; ++i) {
        if (IsLive(version, filter, block, i)) count(list);
      }
    }
  }
  const Codebook& codebook = CodebookOf(lease, group.shard);
  std::vector<float> keys(kBatch * spec_.dimension);
  uint32_t lists[kBatch];
  for (uint32_t part = 0; part < version.tail.parts.size(); ++part) {
    const RowBlock block = BlockOf(version.tail.parts[part], version.tail_from);
    for (size_t first = 0; first < block.count; first += kBatch) {
      RETURN_IF_ERROR(limits.Check());
      const size_t taken = std::min(kBatch, block.count - first);
      DecodeVector(spec_.key_dtype, block.keys + first * spec_.KeyBytes(), taken * spec_.dimension, keys.data());
      codebook.Assign(keys.data(), taken, lists);
      for (size_t i = 0; i < taken; ++i) {
        if (!IsLive(version, filter, block, first + i)) continue;
        count(lists[i]);
        shard.tail.push_back({lists[i], part, static_cast<uint32_t>(first + i)});
      }
    }
  }
  std::sort(shard.tail.begin(), shard.tail.end(), [](const TailRow& a, const TailRow& b) {
    return std::tie(a.list, a.part, a.position) < std::tie(b.list, b.part, b.position);
  });
  return absl::OkStatus();
}

const float* IndexExport::Centroid(const HeldLease& lease, uint64_t list) const {
  const auto after = std::upper_bound(groups_.begin(), groups_.end(), list,
                                      [](uint64_t l, const Group& group) { return l < group.first_list; });
  const Group& group = *std::prev(after);
  return CodebookOf(lease, group.shard).Centroid(static_cast<uint32_t>(list - group.first_list));
}

IndexExport::Rows IndexExport::Next(const HeldLease& lease, size_t most) {
  Rows rows;
  const RowFilter filter = Visible(lease);
  while (rows.ids.size() < most && group_ < groups_.size()) {
    Group& group = groups_[group_];
    ShardRows& shard = group.shards[shard_];
    const IndexVersion& version = *VersionOf(lease, shard.shard);
    if (!ReadOn(version, filter, shard, most, rows)) continue;
    position_ = 0;
    if (++source_ <= version.segments.size()) continue;
    source_ = 0;
    if (++shard_ < group.shards.size()) continue;
    shard_ = 0;
    if (++list_ < group.lists) continue;
    list_ = 0;
    ++group_;
  }
  return rows;
}

bool IndexExport::ReadOn(const IndexVersion& version, const RowFilter& filter, ShardRows& shard, size_t most,
                         Rows& out) {
  if (source_ < version.segments.size()) {
    const RowBlock block = version.segments[source_]->List(list_);
    for (; position_ < block.count && out.ids.size() < most; ++position_) {
      if (IsLive(version, filter, block, position_)) Add(block, position_, out);
    }
    return position_ == block.count;
  }
  const auto more = [&] { return shard.next_tail < shard.tail.size() && shard.tail[shard.next_tail].list == list_; };
  for (; more() && out.ids.size() < most; ++shard.next_tail) {
    const TailRow& row = shard.tail[shard.next_tail];
    Add(BlockOf(version.tail.parts[row.part], version.tail_from), row.position, out);
  }
  return !more();
}

void IndexExport::Add(const RowBlock& block, size_t position, Rows& out) const {
  out.ids.push_back(block.ids[position]);
  out.keys.resize(out.keys.size() + spec_.dimension);
  float* key = out.keys.data() + out.keys.size() - spec_.dimension;
  DecodeVector(spec_.key_dtype, block.keys + position * spec_.KeyBytes(), spec_.dimension, key);
  if (spec_.metric == Metric::kCosine) Normalise({key, spec_.dimension}, spec_.dimension);
}

namespace {

class HeldExport final : public ExportedIndex {
 public:
  HeldExport(const MemorySpec& spec, std::unique_ptr<IndexExport> lists) : spec_(spec), export_(std::move(lists)) {}

  uint64_t lists() const override { return export_->lists(); }
  uint64_t entries() const override { return export_->entries(); }
  absl::StatusOr<ExportPiece> Next(const LeaseHandle& given) override {
    const HeldLease& lease = Held(*given);
    ExportPiece piece;
    if (centroids_ < lists()) {
      const uint64_t end = std::min<uint64_t>(lists(), centroids_ + CentroidsOfPiece(spec_));
      for (; centroids_ < end; ++centroids_) {
        const float* const centroid = export_->Centroid(lease, centroids_);
        piece.centroids.insert(piece.centroids.end(), centroid, centroid + spec_.dimension);
      }
    } else if (sizes_ < lists()) {
      const std::vector<uint64_t>& sizes = export_->list_sizes();
      const uint64_t end = std::min<uint64_t>(lists(), sizes_ + SizesOfPiece());
      for (; sizes_ < end; ++sizes_) piece.list_sizes.push_back(sizes[sizes_]);
    } else {
      IndexExport::Rows rows = export_->Next(lease, EntriesOfPiece(spec_));
      piece.ids = std::move(rows.ids);
      piece.keys = std::move(rows.keys);
    }
    return piece;
  }

 private:
  const MemorySpec spec_;
  const std::unique_ptr<IndexExport> export_;
  // What was read of each column.
  uint64_t centroids_ = 0;
  uint64_t sizes_ = 0;
};

}  // namespace

absl::StatusOr<ExportHead> DescribeExport(const MemorySpec& spec, const HeldLease& lease, int64_t stamp_ms,
                                          const CallLimits& limits) {
  ExportHead head;
  const IndexVersion* const version = VersionOf(lease);
  if (version == nullptr) return head;
  head.rows = version->rows();
  RETURN_IF_ERROR(ForEachVisibleRow(*version, VisibleAt(lease, stamp_ms), limits,
                                    [&head](const RowBlock&, size_t) { ++head.entries; }));
  if (version->codebook == nullptr) return head;
  head.lists = version->codebook->lists();
  const size_t bytes = size_t{head.lists} * spec.dimension * sizeof(float);
  head.centroids = Checksum128({reinterpret_cast<const char*>(version->codebook->Centroid(0)), bytes});
  return head;
}

ExportPiece CentroidsFrom(const MemorySpec& spec, const HeldLease& lease, uint32_t first) {
  const Codebook& codebook = *VersionOf(lease)->codebook;
  const size_t count = std::min(CentroidsOfPiece(spec), size_t{codebook.lists()} - first);
  const float* const begin = codebook.Centroid(first);
  ExportPiece piece;
  piece.centroids.assign(begin, begin + count * spec.dimension);
  return piece;
}

absl::StatusOr<std::unique_ptr<ExportedIndex>> ExportHeld(const MemorySpec& spec, const HeldLease& lease,
                                                          const CallLimits& limits) {
  ASSIGN_OR_RETURN(std::unique_ptr<IndexExport> lists, IndexExport::New(spec, lease, limits));
  return std::unique_ptr<ExportedIndex>(std::make_unique<HeldExport>(spec, std::move(lists)));
}

}  // namespace mneme
