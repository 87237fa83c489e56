#include "engine/neighbour_rows.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace mneme {
namespace {

template <typename T>
std::vector<T> Range(const std::vector<T>& all, size_t begin, size_t end) {
  if (all.empty()) return {};
  return {all.begin() + static_cast<ptrdiff_t>(begin), all.begin() + static_cast<ptrdiff_t>(end)};
}

template <typename T>
void AppendColumn(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

NeighbourColumns NeighboursOf(const NeighbourColumns& all, size_t first, size_t count) {
  const size_t begin = all.offsets[first];
  const size_t end = all.offsets[first + count];
  NeighbourColumns out;
  for (size_t q = first + 1; q <= first + count; ++q) out.offsets.push_back(all.offsets[q] - begin);
  out.scores = Range(all.scores, begin, end);
  out.ids = Range(all.ids, begin, end);
  out.partitions = Range(all.partitions, begin, end);
  out.values.width = all.values.width;
  for (size_t i = begin; i < end; ++i) out.values.Append(all.values.At(i));
  out.weights = Range(all.weights, begin, end);
  out.labels = Range(all.labels, begin, end);
  out.sources = Range(all.sources, begin, end);
  out.positions = Range(all.positions, begin, end);
  out.keys = Range(all.keys, begin * all.key_bytes, end * all.key_bytes);
  out.key_bytes = all.key_bytes;
  return out;
}

NeighbourColumns Concatenate(std::vector<NeighbourColumns> parts) {
  NeighbourColumns all = std::move(parts.front());
  for (size_t p = 1; p < parts.size(); ++p) {
    const NeighbourColumns& part = parts[p];
    const size_t base = all.size();
    for (size_t q = 1; q < part.offsets.size(); ++q) all.offsets.push_back(base + part.offsets[q]);
    AppendColumn(all.scores, part.scores);
    AppendColumn(all.ids, part.ids);
    AppendColumn(all.partitions, part.partitions);
    AppendColumn(all.weights, part.weights);
    AppendColumn(all.labels, part.labels);
    AppendColumn(all.sources, part.sources);
    AppendColumn(all.positions, part.positions);
    AppendColumn(all.keys, part.keys);
    if (part.key_bytes != 0) all.key_bytes = part.key_bytes;
    if (part.values.width != 0 || all.values.width != 0) {
      all.values.width = std::max(all.values.width, part.values.width);
      AppendColumn(all.values.bytes, part.values.bytes);
    } else {
      for (size_t i = 0; i < part.size(); ++i) all.values.Append(part.values.At(i));
    }
  }
  return all;
}

void DropAttributes(NeighbourColumns& neighbours) {
  neighbours.labels.clear();
  neighbours.sources.clear();
  neighbours.positions.clear();
}

void DropIds(NeighbourColumns& neighbours) {
  neighbours.ids.clear();
  neighbours.partitions.clear();
}

void RoundScores(NeighbourColumns& neighbours) {
  for (double& score : neighbours.scores) score = double{static_cast<float>(score)};
}

}  // namespace mneme
