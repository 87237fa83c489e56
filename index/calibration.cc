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

// `reached`: neighbours found by each query, of `depth`.
double RecallOfHarderHalf(std::vector<uint32_t> reached, uint32_t depth) {
  const size_t half = (reached.size() + 1) / 2;
  std::nth_element(reached.begin(), reached.begin() + static_cast<ptrdiff_t>(half) - 1, reached.end());
  const uint64_t found = std::accumulate(reached.begin(), reached.begin() + static_cast<ptrdiff_t>(half), uint64_t{0});
  return static_cast<double>(found) / (static_cast<double>(depth) * static_cast<double>(half));
}

}  // namespace

std::vector<Codebook::CalibrationPoint> CalibrateProbes(const Codebook& codebook, const IndexSpec& spec,
                                                        absl::Span<const float> keys, absl::Span<const float> queries) {
  const size_t count = keys.size() / spec.dimension;
  const size_t query_count = queries.size() / spec.dimension;
  if (count == 0 || query_count == 0) return {};
  std::vector<uint32_t> list_of(count);
  codebook.Assign(keys.data(), count, list_of.data());

  const std::vector<uint32_t> grid = ProbeGrid(codebook.lists());
  // found[depth][query][step]: of the neighbours within that depth, those that the query reaches at that step of the
  // grid and not before.
  using Steps = std::vector<uint32_t>;
  std::array<std::vector<Steps>, kDepths.size()> found;
  for (auto& by_query : found) by_query.assign(query_count, Steps(grid.size(), 0));
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
      for (size_t i = 0; i < kDepths[depth]; ++i) {
        const auto step = std::upper_bound(grid.begin(), grid.end(), ranks[list_of[order[i]]]) - grid.begin();
        ++found[depth][q][static_cast<size_t>(step)];
      }
    }
  }

  std::vector<Codebook::CalibrationPoint> points;
  for (size_t depth = 0; depth < kDepths.size() && kDepths[depth] <= count; ++depth) {
    std::vector<uint32_t> reached(query_count, 0);
    for (size_t step = 0; step < grid.size(); ++step) {
      for (size_t q = 0; q < query_count; ++q) reached[q] += found[depth][q][step];
      points.push_back({kDepths[depth], grid[step], RecallOfHarderHalf(reached, kDepths[depth])});
    }
  }
  return points;
}

}  // namespace mneme
