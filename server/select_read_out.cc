#include "server/select_read_out.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "readout/select.h"
#include "server/convert_columns.h"
#include "server/convert_entries.h"
#include "server/distribution_plan.h"

namespace mneme {
namespace {

struct Pool {
  std::vector<EntryId> ids;
  std::vector<double> scores;
  std::vector<Attributes> attributes;
  ValueColumn values;
};
using Pools = std::map<PartitionId, Pool>;

absl::Status ReadSelect(const v1::SelectReadOut& wire, SelectOptions& options) {
  switch (wire.mode()) {
    case v1::SELECT_MODE_UNSPECIFIED:
    case v1::SELECT_MODE_ARGMAX: options.mode = SelectMode::kArgmax; break;
    case v1::SELECT_MODE_SOFTMAX: options.mode = SelectMode::kSoftmax; break;
    default:
      return FieldError("select.mode", absl::StrCat("is ", static_cast<int>(wire.mode()),
                                                    "; must be a value of SelectMode"));
  }
  options.temperature = wire.temperature() == 0.0 ? 1.0 : wire.temperature();
  RETURN_IF_ERROR(CheckTemperature("select.temperature", options.temperature));
  options.seed = wire.seed();
  options.n = wire.n() == 0 ? 1 : wire.n();
  if (options.n <= limits::kMaxK) return absl::OkStatus();
  return FieldError("select.n", absl::StrCat("is ", options.n, "; must be at most ", limits::kMaxK));
}

// The pools of the selection, one for each partition that is named whether it has entries or not.
absl::StatusOr<Version> ReadPools(const EntryQuery& query, Pools& pools, uint64_t& entries) {
  const size_t width = query.memory->spec.ValueBytes();
  for (const PartitionId partition : query.selection.partitions.partitions) pools[partition];
  if (pools.empty() && !query.selection.partitions.all) pools[0];
  uint64_t bytes = 0;
  VisitCommand selection = query.selection;
  selection.with_keys = false;
  return query.call.deployment.Visit(
      query.memory, std::move(selection), [&](PartitionId partition, const EntryView& entry) -> absl::Status {
        if (++entries > limits::kMaxPoolEntries) {
          return FieldError("partitions", absl::StrCat("hold more than ", limits::kMaxPoolEntries,
                                                       " entries; select from fewer pools at a time"));
        }
        bytes += entry.value.size();
        if (bytes > limits::kMaxAttendedBytes) {
          return FieldError("partitions", absl::StrCat("hold more than ", limits::kMaxAttendedBytes,
                                                       " bytes of values; select from fewer pools at a time"));
        }
        Pool& pool = pools[partition];
        pool.values.width = width;
        pool.ids.push_back(entry.id);
        pool.scores.push_back(entry.attributes.score);
        pool.attributes.push_back(entry.attributes);
        pool.values.Append(entry.value);
        return absl::OkStatus();
      });
}

void WritePools(const Pools& pools, const SelectOptions& options, const EntryQuery& query, v1::SelectResult* out) {
  const MemorySpec& spec = query.memory->spec;
  std::vector<PartitionId> partitions;
  std::vector<uint64_t> offsets = {0};
  std::vector<uint64_t> sizes;
  EntryColumns chosen;
  chosen.values.width = spec.ValueBytes();
  std::vector<double> scores;
  std::vector<int64_t> labels;
  std::vector<uint64_t> sources;
  std::vector<uint64_t> positions;
  for (const auto& [partition, pool] : pools) {
    for (const Selected& selected : Select(pool.scores, pool.ids, options)) {
      const Attributes& attributes = pool.attributes[selected.row];
      chosen.ids.push_back(selected.id);
      chosen.values.Append(pool.values.At(selected.row));
      scores.push_back(attributes.score);
      labels.push_back(attributes.label);
      sources.push_back(attributes.source);
      positions.push_back(attributes.position);
      AppendReal(selected.probability, query.precision, out->mutable_probabilities());
    }
    partitions.push_back(partition);
    offsets.push_back(chosen.ids.size());
    sizes.push_back(pool.ids.size());
  }
  WriteColumn(partitions, out->mutable_partitions());
  WriteColumn(offsets, out->mutable_offsets());
  WriteColumn(sizes, out->mutable_pool_sizes());
  WriteColumn(chosen.ids, out->mutable_ids());
  WriteColumn(scores, out->mutable_scores());
  WriteValues(chosen.values, spec, out->mutable_values());
  WriteColumn(labels, out->mutable_labels());
  WriteColumn(sources, out->mutable_sources());
  WriteColumn(positions, out->mutable_positions());
}

}  // namespace

absl::StatusOr<Version> AnswerSelect(const EntryQuery& query, v1::QueryResponse* response) {
  SelectOptions options;
  RETURN_IF_ERROR(ReadSelect(query.request.select(), options));
  Pools pools;
  uint64_t entries = 0;
  ASSIGN_OR_RETURN(const Version read, ReadPools(query, pools, entries));
  WritePools(pools, options, query, response->mutable_select());
  response->mutable_statistics()->set_rows_scanned(entries);
  response->mutable_statistics()->set_exact(true);
  return read;
}

}  // namespace mneme
