#include "engine/candidates.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/leases.h"
#include "engine/visible_rows.h"

namespace mneme {
namespace {

// Keeps the neighbours for which `keep` says so.
NeighbourColumns Select(const NeighbourColumns& all, const std::vector<bool>& keep) {
  NeighbourColumns kept;
  kept.key_bytes = all.key_bytes;
  kept.values.width = all.values.width;
  for (size_t query = 0; query < all.queries(); ++query) {
    for (size_t i = all.offsets[query]; i < all.offsets[query + 1]; ++i) {
      if (!keep[i]) continue;
      kept.scores.push_back(all.scores[i]);
      kept.ids.push_back(all.ids[i]);
      kept.partitions.push_back(all.partitions[i]);
      kept.values.Append(all.values.At(i));
      kept.weights.push_back(all.weights[i]);
      kept.labels.push_back(all.labels[i]);
      kept.sources.push_back(all.sources[i]);
      kept.positions.push_back(all.positions[i]);
      const char* key = all.keys.data() + i * all.key_bytes;
      if (!all.keys.empty()) kept.keys.insert(kept.keys.end(), key, key + all.key_bytes);
    }
    kept.offsets.push_back(kept.ids.size());
  }
  return kept;
}

// Whether the shard may have the entry of `id` in its map.
bool MayBeMapped(const Shard& shard, const CandidateContext& context, PartitionId partition, EntryId id) {
  if (!IsServerId(id)) return true;
  if (!shard.store().maps_server_ids()) return false;
  const std::optional<uint32_t> owner = context.routing.OwnerOfPartition(context.memory, partition);
  return owner.value_or(context.routing.OwnerOfMapped(id)) == shard.number();
}

// The rows of `wanted` (all of one shard and partition) in the store; absent ones are nullopt.
absl::StatusOr<std::vector<std::optional<Row>>> RowsOf(const Shard& shard, const CandidateContext& context,
                                                       PartitionId partition,
                                                       const std::vector<const WantedEntry*>& wanted) {
  std::vector<EntryId> mapped;
  for (const WantedEntry* one : wanted) {
    if (MayBeMapped(shard, context, partition, one->id)) mapped.push_back(one->id);
  }
  ASSIGN_OR_RETURN(const auto found, shard.store().FindRows({context.memory.number, partition}, mapped));
  std::vector<std::optional<Row>> rows;
  size_t next = 0;
  for (const WantedEntry* one : wanted) {
    std::optional<Row> row;
    if (MayBeMapped(shard, context, partition, one->id)) row = found[next++];
    const bool names_row = IsServerId(one->id) && ShardOfServerId(one->id) == shard.number();
    if (!row.has_value() && names_row) row = RowOfServerId(one->id);
    rows.push_back(row);
  }
  return rows;
}

using Versions = std::vector<std::shared_ptr<const IndexVersion>>;

bool IsVisible(const Versions& versions, PartitionId partition, Row row) {
  return std::any_of(versions.begin(), versions.end(), [&](const auto& version) {
    return version->partition == partition && row < version->tail.end_row && !version->dead.Contains(row);
  });
}

// Of the one version of a partition; 0 when there is none.
Row FirstRowOf(const Versions& versions) {
  if (versions.empty()) return 0;
  const IndexVersion& version = *versions.front();
  return version.segments.empty() ? version.tail_from : version.segments.front()->first_row();
}

// Rows in the one version of a partition that a lease holds. The store, which gave `rows`, may know an id that was
// overwritten or deleted since by another row or by none: such ids are looked for among those of the version, in one
// pass over them. An id that the server gave stays with its row: only one that is mapped, and so names a row below all
// of the version's, may be gone from the map since.
absl::Status FindPinnedRows(const Shard& shard, const CandidateContext& context, const Versions& versions,
                            const std::vector<const WantedEntry*>& wanted, std::vector<std::optional<Row>>& rows) {
  std::map<EntryId, std::optional<Row>> missing;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const bool visible = rows[i].has_value() && IsVisible(versions, wanted[i]->partition, *rows[i]);
    const EntryId id = wanted[i]->id;
    bool unknown = !visible;
    if (IsServerId(id)) {
      const bool by_map = visible && *rows[i] != RowOfServerId(id);
      unknown = !by_map && RowOfServerId(id) < FirstRowOf(versions) &&
                MayBeMapped(shard, context, wanted[i]->partition, id);
    }
    if (unknown) missing.emplace(id, std::nullopt);
  }
  RowFilter filter;
  filter.ids.emplace();
  for (const auto& [id, row] : missing) filter.ids->push_back(id);
  if (missing.empty()) return absl::OkStatus();
  for (const auto& version : versions) {
    RETURN_IF_ERROR(ForEachVisibleRow(*version, filter, context.limits, [&](const RowBlock& block, size_t i) {
      missing[block.ids[i]] = block.RowAt(i);
    }));
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto found = missing.find(wanted[i]->id);
    if (found != missing.end()) rows[i] = found->second;
  }
  return absl::OkStatus();
}

using WantedByPartition = std::map<PartitionId, std::vector<const WantedEntry*>>;
using RowsByPartition = std::map<PartitionId, std::vector<std::optional<Row>>>;

// As FindVisibleRows, of the versions of a lease.
absl::StatusOr<Versions> FindPinned(Shard& shard, const CandidateContext& context, const WantedByPartition& wanted,
                                    RowsByPartition& rows) {
  Versions all;
  for (const auto& [partition, of_partition] : wanted) {
    ASSIGN_OR_RETURN(rows[partition], RowsOf(shard, context, partition, of_partition));
    PartitionSelection selection;
    selection.partitions = {partition};
    const Versions versions = Held(*context.lease).Select(shard.number(), selection).versions;
    RETURN_IF_ERROR(FindPinnedRows(shard, context, versions, of_partition, rows[partition]));
    all.insert(all.end(), versions.begin(), versions.end());
  }
  return all;
}

// The rows of `wanted` by partition, with versions in which every mapped one is visible. An upsert is in the store a
// moment before it is published: between the two, its id names a row that no version has yet, so what is committed is
// waited for, and the id looked up again.
absl::StatusOr<Versions> FindVisibleRows(Shard& shard, const CandidateContext& context,
                                         const WantedByPartition& wanted, RowsByPartition& rows) {
  if (context.lease != nullptr) return FindPinned(shard, context, wanted, rows);
  const MemoryNumber memory = context.memory.number;
  const CallLimits& limits = context.limits;
  // Each attempt meets an id in that moment with small odds, however often it is overwritten.
  constexpr int kAttempts = 100;
  PartitionSelection selection;
  for (const auto& [partition, of_partition] : wanted) selection.partitions.push_back(partition);
  for (int attempt = 1;; ++attempt) {
    for (const auto& [partition, of_partition] : wanted) {
      ASSIGN_OR_RETURN(rows[partition], RowsOf(shard, context, partition, of_partition));
    }
    ASSIGN_OR_RETURN(Shard::Snapshot snapshot, shard.TakeSnapshot(memory, selection, limits));
    Versions versions = std::move(snapshot.versions);
    bool settled = true;
    for (const auto& [partition, of_partition] : wanted) {
      for (size_t i = 0; i < of_partition.size() && settled; ++i) {
        const std::optional<Row>& row = rows[partition][i];
        settled = IsServerId(of_partition[i]->id) || !row.has_value() || IsVisible(versions, partition, *row);
      }
    }
    if (settled || attempt == kAttempts) return versions;
    RETURN_IF_ERROR(shard.AwaitVisible(shard.store().applied(), limits));
  }
}

}  // namespace

absl::StatusOr<NeighbourColumns> ScoreOn(Shard& shard, const CandidateContext& context, const SearchRequest& request,
                                         const std::vector<WantedEntry>& wanted) {
  WantedByPartition by_partition;
  for (const WantedEntry& one : wanted) by_partition[one.partition].push_back(&one);
  std::vector<std::vector<RowReference>> rows_of_query(request.query_count);
  std::map<std::tuple<size_t, PartitionId, EntryId>, std::optional<uint64_t>> source_of;
  RowsByPartition rows_of_partition;
  ASSIGN_OR_RETURN(const Versions versions, FindVisibleRows(shard, context, by_partition, rows_of_partition));
  for (const auto& [partition, of_partition] : by_partition) {
    const std::vector<std::optional<Row>>& rows = rows_of_partition[partition];
    for (size_t i = 0; i < rows.size(); ++i) {
      const WantedEntry& one = *of_partition[i];
      if (!rows[i].has_value()) continue;
      if (!source_of.emplace(std::tuple(one.query, partition, one.id), one.source).second) continue;
      rows_of_query[one.query].push_back({partition, *rows[i]});
    }
  }
  std::vector<size_t> offsets = {0};
  std::vector<RowReference> rows;
  for (const auto& of_query : rows_of_query) {
    rows.insert(rows.end(), of_query.begin(), of_query.end());
    offsets.push_back(rows.size());
  }
  ASSIGN_OR_RETURN(SearchResult scored, ScoreRows(versions, request, offsets, rows));
  const NeighbourColumns& all = scored.neighbours;
  std::vector<bool> keep(all.size());
  for (size_t query = 0; query < all.queries(); ++query) {
    for (size_t i = all.offsets[query]; i < all.offsets[query + 1]; ++i) {
      const auto source = source_of.find({query, all.partitions[i], all.ids[i]});
      keep[i] = source != source_of.end() && (!source->second.has_value() || *source->second == all.sources[i]);
    }
  }
  return Select(all, keep);
}

std::map<uint32_t, std::vector<WantedEntry>> SplitByOwner(const Routing& routing, const MemoryRecord& memory,
                                                          const std::vector<WantedEntry>& wanted) {
  std::map<uint32_t, std::vector<WantedEntry>> by_shard;
  for (const WantedEntry& one : wanted) {
    by_shard[routing.OwnerOfEntry(memory, one.partition, one.id)].push_back(one);
    const auto other = routing.OtherOwnerOfEntry(memory, one.partition, one.id);
    if (other.has_value()) by_shard[*other].push_back(one);
  }
  return by_shard;
}

std::vector<WantedEntry> WantedCandidates(const QueryCommand& command, const NeighbourColumns& neighbours) {
  const PartitionId partition = command.partitions.partitions.empty() ? 0 : command.partitions.partitions[0];
  std::vector<WantedEntry> wanted;
  for (size_t query = 0; query < command.count; ++query) {
    for (size_t i = command.extra_offsets[query]; i < command.extra_offsets[query + 1]; ++i) {
      WantedEntry one{query, partition, command.extra_ids[i], std::nullopt};
      if (!command.extra_sources.empty()) one.source = command.extra_sources[i];
      wanted.push_back(one);
    }
  }
  std::set<std::tuple<size_t, PartitionId, EntryId>> found;
  for (size_t query = 0; query < neighbours.queries(); ++query) {
    for (size_t i = neighbours.offsets[query]; i < neighbours.offsets[query + 1]; ++i) {
      found.emplace(query, neighbours.partitions[i], neighbours.ids[i]);
    }
  }
  std::erase_if(wanted, [&](const WantedEntry& one) { return found.contains({one.query, one.partition, one.id}); });
  return wanted;
}

void AddCandidates(const std::vector<NeighbourColumns>& answers, NeighbourColumns& neighbours) {
  std::vector<const NeighbourColumns*> parts = {&neighbours};
  for (const NeighbourColumns& answer : answers) parts.push_back(&answer);
  neighbours = MergeNeighbours(parts, std::numeric_limits<uint32_t>::max());
}

std::vector<WantedEntry> WantedSuccessors(QueryOutcome& outcome) {
  const NeighbourColumns& found = outcome.neighbours;
  outcome.successors.resize(found.size());
  std::vector<WantedEntry> wanted;
  for (size_t query = 0; query < found.queries(); ++query) {
    for (size_t i = found.offsets[query]; i < found.offsets[query + 1]; ++i) {
      outcome.successors[i] = SuccessorOf(found.ids[i]);
      wanted.push_back({query, found.partitions[i], outcome.successors[i], found.sources[i]});
    }
  }
  return wanted;
}

SearchRequest PlainRequest(SearchRequest request) {
  request.with_keys = false;
  request.exclude_ids = {};
  request.exclude_sources = {};
  return request;
}

void MarkSuccessors(const std::vector<WantedEntry>& wanted, const std::vector<NeighbourColumns>& answers,
                    QueryOutcome& outcome) {
  outcome.has_successor.assign(wanted.size(), 0);
  std::vector<std::tuple<size_t, PartitionId, EntryId>> present;
  for (const NeighbourColumns& answer : answers) {
    for (size_t query = 0; query < answer.queries(); ++query) {
      for (size_t i = answer.offsets[query]; i < answer.offsets[query + 1]; ++i) {
        present.emplace_back(query, answer.partitions[i], answer.ids[i]);
      }
    }
  }
  std::sort(present.begin(), present.end());
  size_t i = 0;
  for (const WantedEntry& one : wanted) {
    const bool there =
        std::binary_search(present.begin(), present.end(), std::tuple(one.query, one.partition, one.id));
    outcome.has_successor[i++] = there ? 1 : 0;
  }
}

}  // namespace mneme
