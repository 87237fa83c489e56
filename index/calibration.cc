#include "index/calibration.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "common/aligned_buffer.h"
#include "index/kernels/kth_smallest.h"
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

// The codec is measured with this many queries among keys of this many components: its error hangs on neither.
constexpr size_t kCodeQueriesMeasured = 64;
constexpr size_t kCodedComponentsMeasured = size_t{1} << 24;
constexpr std::array<double, 8> kShares = {0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0};

// The costs of all keys to one query after another: made for several at once, so that the keys are read once for them.
class ExactCosts {
 public:
  ExactCosts(const CentroidShape& shape, absl::Span<const float> keys, absl::Span<const float> queries)
      : shape_(shape), keys_(keys), queries_(queries), count_(keys.size() / shape.dimension) {}

  // [keys]; until the next call. Queries are best asked for in order.
  const float* Of(size_t query) {
    if (query < first_ || query >= end_) {
      first_ = query;
      end_ = std::min(query + kAtOnce, queries_.size() / shape_.dimension);
      costs_.resize((end_ - first_) * count_);
      CentroidCosts(shape_, queries_.data() + first_ * shape_.dimension, end_ - first_, keys_.data(), count_,
                    costs_.data());
    }
    return costs_.data() + (query - first_) * count_;
  }

 private:
  static constexpr size_t kAtOnce = 8;
  const CentroidShape shape_;
  const absl::Span<const float> keys_;
  const absl::Span<const float> queries_;
  const size_t count_;
  size_t first_ = 0;
  size_t end_ = 0;
  std::vector<float> costs_;
};

// Keys by list, as codes.
struct CodedLists {
  std::vector<uint32_t> order;        // order[i]: the key at place i
  std::vector<size_t> offsets;        // places of list l: [offsets[l], offsets[l + 1])
  std::vector<AlignedBuffer> blocks;  // per list
};

CodedLists CodeByList(const Codebook& codebook, size_t dimension, absl::Span<const float> keys) {
  const size_t count = keys.size() / dimension;
  std::vector<uint32_t> list_of(count);
  codebook.Assign(keys.data(), count, list_of.data());
  CodedLists lists;
  lists.order.resize(count);
  std::iota(lists.order.begin(), lists.order.end(), 0U);
  std::stable_sort(lists.order.begin(), lists.order.end(),
                   [&](uint32_t a, uint32_t b) { return list_of[a] < list_of[b]; });
  lists.offsets.assign(size_t{codebook.lists()} + 1, 0);
  for (const uint32_t list : list_of) ++lists.offsets[list + 1];
  std::partial_sum(lists.offsets.begin(), lists.offsets.end(), lists.offsets.begin());
  const Codec& codec = *codebook.codec();
  std::vector<float> rows(kCodeBlockRows * dimension);
  for (uint32_t list = 0; list < codebook.lists(); ++list) {
    const size_t size = lists.offsets[list + 1] - lists.offsets[list];
    lists.blocks.emplace_back(CodeBlocks(size) * codec.block_bytes());
    for (size_t first = 0; first < size; first += kCodeBlockRows) {
      const size_t taken = std::min(kCodeBlockRows, size - first);
      for (size_t i = 0; i < taken; ++i) {
        const float* key = keys.data() + lists.order[lists.offsets[list] + first + i] * dimension;
        std::copy(key, key + dimension, rows.begin() + static_cast<ptrdiff_t>(i * dimension));
      }
      codec.Encode(codebook.Centroid(list), rows.data(), taken,
                   lists.blocks.back().data() + first / kCodeBlockRows * codec.block_bytes());
    }
  }
  return lists;
}

// The codec's cost of every key, by key.
void CodeCosts(const Codebook& codebook, const CodedLists& lists, const float* query, std::vector<float>& costs) {
  std::vector<uint32_t> ranked(codebook.lists());
  std::vector<float> bases(codebook.lists());
  codebook.Probe(query, 1, codebook.lists(), ranked.data(), bases.data());
  const std::unique_ptr<CodeQueries> prepared = codebook.codec()->Prepare(query, 1);
  const uint32_t first_query = 0;
  const float no_cut = std::numeric_limits<float>::max();
  std::vector<float> found;
  std::vector<uint32_t> rows;
  for (size_t i = 0; i < ranked.size(); ++i) {
    const size_t offset = lists.offsets[ranked[i]];
    const size_t size = lists.offsets[ranked[i] + 1] - offset;
    found.resize(CodeBlocks(size) * kCodeBlockRows);
    rows.resize(found.size());
    CodeHits hits{found.data(), rows.data(), 0};
    prepared->Scan({&first_query, 1}, &bases[i], &no_cut, lists.blocks[ranked[i]].data(), size, &hits);
    for (size_t h = 0; h < hits.count; ++h) costs[lists.order[offset + hits.rows[h]]] = hits.costs[h];
  }
}

double SlackUnit(const IndexSpec& spec, const float* query, float kth, double floor) {
  if (spec.metric == Metric::kCosine) return 1.0;
  double squares = spec.metric == Metric::kL2 ? std::max(0.0F, kth) + floor : 0.0;
  for (size_t i = 0; i < spec.dimension && spec.metric == Metric::kInnerProduct; ++i) {
    squares += double{query[i]} * query[i];
  }
  return std::max(std::sqrt(squares), std::numeric_limits<double>::min());
}

}  // namespace

std::vector<Codebook::SlackPoint> CalibrateCodes(const Codebook& codebook, const IndexSpec& spec,
                                                 absl::Span<const float> all_keys, absl::Span<const float> queries) {
  const size_t d = spec.dimension;
  const size_t total = all_keys.size() / d;
  const size_t count = std::min(total, kCodedComponentsMeasured / d);
  const size_t query_count = std::min(queries.size() / d, kCodeQueriesMeasured);
  if (codebook.codec() == nullptr || count == 0 || query_count == 0) return {};
  std::vector<float> keys(count * d);
  for (size_t i = 0; i < count; ++i) {
    const float* key = all_keys.data() + i * total / count * d;
    std::copy(key, key + d, keys.begin() + static_cast<ptrdiff_t>(i * d));
  }
  const CodedLists lists = CodeByList(codebook, d, keys);
  std::array<std::vector<double>, kDepths.size()> needed;
  std::vector<float> exact(count);
  std::vector<float> coded(count);
  for (size_t q = 0; q < query_count; ++q) {
    const float* query = queries.data() + q * queries.size() / d / query_count * d;
    CentroidCosts({spec.metric, d}, query, 1, keys.data(), count, exact.data());
    CodeCosts(codebook, lists, query, coded);
    // What a codec cannot tell is scored exactly.
    for (size_t i = 0; i < count; ++i) {
      if (coded[i] == -std::numeric_limits<float>::infinity()) coded[i] = exact[i];
    }
    for (size_t depth = 0; depth < kDepths.size() && kDepths[depth] <= count; ++depth) {
      const float kth_exact = KthSmallest(exact.data(), count, kDepths[depth]);
      const float kth_coded = KthSmallest(coded.data(), count, kDepths[depth]);
      const double unit = SlackUnit(spec, query, kth_coded, codebook.mean_squared_residual());
      for (size_t i = 0; i < count; ++i) {
        if (exact[i] <= kth_exact) needed[depth].push_back((double{coded[i]} - kth_coded) / unit);
      }
    }
  }
  std::vector<Codebook::SlackPoint> points;
  for (size_t depth = 0; depth < kDepths.size(); ++depth) {
    std::sort(needed[depth].begin(), needed[depth].end());
    for (const double share : kShares) {
      if (needed[depth].empty()) continue;
      const double last = std::ceil(share * static_cast<double>(needed[depth].size())) - 1.0;
      points.push_back({kDepths[depth], 0, share, std::max(0.0, needed[depth][static_cast<size_t>(last)])});
    }
  }
  return points;
}

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
  ExactCosts exact({spec.metric, spec.dimension}, keys, queries);
  std::vector<uint32_t> order(count);
  const size_t deepest = std::min<size_t>(kDepths.back(), count);
  for (size_t q = 0; q < query_count; ++q) {
    const float* costs = exact.Of(q);
    const float last = KthSmallest(costs, count, deepest);
    size_t within = 0;
    for (uint32_t i = 0; i < count; ++i) {
      order[within] = i;
      within += costs[i] <= last ? 1 : 0;
    }
    std::sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(within),
              [costs](uint32_t a, uint32_t b) { return costs[a] < costs[b]; });
    const std::vector<uint32_t> ranks = ProbeRanks(codebook, queries.data() + q * spec.dimension);
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
