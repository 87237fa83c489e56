#include "index/calibration.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "index/nearest_centroid.h"

namespace mneme {
namespace {

constexpr std::array<uint32_t, 4> kDepths = {1, 10, 100, 1024};

// 1, 2, 3, ... then steps of an eighth, up to all lists.
std::vector<uint32_t> ProbeGrid(uint32_t lists) {
  std::vector<uint32_t> grid;
  for (uint32_t probes = 1; probes < lists; probes += std::max(1U, probes / 8)) grid.push_back(probes);
  grid.push_back(lists);
  return grid;
}

// The position of each list in the order in which `query` probes them.
std::vector<uint32_t> ProbeRanks(const Codebook& codebook, const float* query) {
  std::vector<uint32_t> order(codebook.lists());
  codebook.Probe(query, 1, order.size(), order.data());
  std::vector<uint32_t> ranks(order.size());
  for (uint32_t rank = 0; rank < order.size(); ++rank) ranks[order[rank]] = rank;
  return ranks;
}

}  // namespace

std::vector<Codebook::CalibrationPoint> CalibrateProbes(const Codebook& codebook, const IndexSpec& spec,
                                                        absl::Span<const float> keys, absl::Span<const float> queries) {
  const size_t count = keys.size() / spec.dimension;
  const size_t query_count = queries.size() / spec.dimension;
  if (count == 0 || query_count == 0) return {};
  std::vector<uint32_t> list_of(count);
  codebook.Assign(keys.data(), count, list_of.data());

  // found[depth][rank]: neighbours within that depth whose list is probed at that rank, over all queries.
  std::array<std::vector<uint64_t>, kDepths.size()> found;
  for (auto& by_rank : found) by_rank.assign(codebook.lists(), 0);
  std::vector<float> costs(count);
  std::vector<uint32_t> order(count);
  const size_t deepest = std::min<size_t>(kDepths.back(), count);
  for (size_t q = 0; q < query_count; ++q) {
    const float* query = queries.data() + q * spec.dimension;
    CentroidCosts({spec.metric, spec.dimension}, query, 1, keys.data(), count, costs.data());
    std::iota(order.begin(), order.end(), 0U);
    const auto nearer = [&](uint32_t a, uint32_t b) { return costs[a] < costs[b]; };
    std::nth_element(order.begin(), order.begin() + static_cast<ptrdiff_t>(deepest) - 1, order.end(), nearer);
    std::sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(deepest), nearer);
    const std::vector<uint32_t> ranks = ProbeRanks(codebook, query);
    for (size_t depth = 0; depth < kDepths.size() && kDepths[depth] <= count; ++depth) {
      for (size_t i = 0; i < kDepths[depth]; ++i) ++found[depth][ranks[list_of[order[i]]]];
    }
  }

  std::vector<Codebook::CalibrationPoint> points;
  const std::vector<uint32_t> grid = ProbeGrid(codebook.lists());
  for (size_t depth = 0; depth < kDepths.size() && kDepths[depth] <= count; ++depth) {
    const double all = static_cast<double>(kDepths[depth]) * static_cast<double>(query_count);
    uint64_t reached = 0;
    size_t rank = 0;
    for (const uint32_t probes : grid) {
      for (; rank < probes; ++rank) reached += found[depth][rank];
      points.push_back({kDepths[depth], probes, static_cast<double>(reached) / all});
    }
  }
  return points;
}

}  // namespace mneme
