#include "server/convert_neighbours.h"

#include <cstdint>
#include <vector>

#include "server/convert_columns.h"
#include "server/convert_entries.h"
#include "server/convert_keys.h"

namespace mneme {
namespace {

void WriteDistances(const NeighbourColumns& neighbours, Metric metric, v1::Precision precision, std::string* out) {
  if (metric != Metric::kL2) {
    AppendReals(neighbours.scores, precision, out);
    return;
  }
  std::vector<double> distances(neighbours.scores.size());
  // 0 - score, not -score: a score of 0 is a distance of 0, not of -0.
  for (size_t i = 0; i < distances.size(); ++i) distances[i] = 0.0 - neighbours.scores[i];
  AppendReals(distances, precision, out);
}

void WriteStoredKeys(const NeighbourColumns& neighbours, const MemorySpec& spec, v1::Vectors* out) {
  out->mutable_data()->assign(neighbours.keys.data(), neighbours.keys.size());
  out->set_dtype(WriteDtype(spec.key_dtype));
  out->set_dimension(spec.dimension);
}

}  // namespace

void WriteNeighbours(const QueryPlan& plan, v1::NeighboursResult* out) {
  const QuerySource& source = plan.sources.front();
  const MemorySpec& spec = source.spec();
  const QueryOutcome& outcome = source.outcome;
  const NeighbourColumns& neighbours = outcome.neighbours;
  const std::vector<uint64_t> offsets(neighbours.offsets.begin(), neighbours.offsets.end());
  WriteColumn(offsets, out->mutable_offsets());
  WriteColumn(neighbours.ids, out->mutable_ids());
  WriteDistances(neighbours, spec.metric, plan.precision, out->mutable_distances());
  if (source.several_partitions) WriteColumn(neighbours.partitions, out->mutable_partitions());
  const v1::NeighboursReadOut& read_out = plan.neighbours;
  if (!read_out.without_values()) WriteValues(neighbours.values, spec, out->mutable_values());
  if (read_out.with_keys()) WriteStoredKeys(neighbours, spec, out->mutable_keys());
  if (read_out.with_successors()) {
    WriteColumn(outcome.successors, out->mutable_successors());
    WriteColumn(outcome.has_successor, out->mutable_has_successor());
  }
  if (read_out.with_attributes()) {
    WriteColumn(neighbours.weights, out->mutable_weights());
    WriteColumn(neighbours.labels, out->mutable_labels());
    WriteColumn(neighbours.sources, out->mutable_sources());
    WriteColumn(neighbours.positions, out->mutable_positions());
  }
}

}  // namespace mneme
