#include "index/search.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "index/batch_scan.h"
#include "index/filter_survivors.h"
#include "index/read_ahead.h"
#include "index/tail_lists.h"

namespace mneme {
namespace {

using Versions = absl::Span<const std::shared_ptr<const IndexVersion>>;

// While a query has found too few rows, each round probes this many times the lists of the last.
constexpr uint32_t kWidening = 4;
// A filter that leaves less than this share of the rows, or for which a large part of the lists (one in kManyLists)
// would have to be probed, is answered by scanning what it leaves.
constexpr double kSelective = 0.02;
constexpr uint32_t kManyLists = 4;

double MaxNorm(Versions versions) {
  double norm = 0.0;
  for (const auto& version : versions) {
    for (const auto& segment : version->segments) norm = std::max(norm, segment->All().max_norm);
    for (const auto& part : version->tail.parts) {
      norm = std::max(norm, BlockOf(part, version->tail_from).max_norm);
    }
  }
  return norm;
}

// One search under way.
class SearchRun {
 public:
  SearchRun(Versions versions, const SearchRequest& request)
      : versions_(versions), request_(request), scan_(request, MaxNorm(versions)), everyone_(request.query_count),
        probes_(versions.size(), 0), listed_(versions.size()), codes_(versions.size()) {
    std::iota(everyone_.begin(), everyone_.end(), 0U);
  }

  absl::StatusOr<SearchResult> Run() {
    AllowSlack();
    for (size_t v = 0; v < versions_.size(); ++v) {
      const uint32_t lists = versions_[v]->codebook == nullptr ? 0 : versions_[v]->codebook->lists();
      const double selectivity = SelectivityOf(*versions_[v]);
      const uint32_t probes = ProbesWanted(*versions_[v], selectivity);
      const bool survivors = selectivity < 1.0 && (selectivity < kSelective || probes > lists / kManyLists);
      if (!survivors && probes < lists) TakeTailLists(v);
      RETURN_IF_ERROR(ScanTail(v));
      if (survivors) {
        RETURN_IF_ERROR(ScanSurvivors(*versions_[v]));
        probes_[v] = lists;
        continue;
      }
      // Who asks for every list asks for everything: an exact search, by the stored keys.
      RETURN_IF_ERROR(probes < lists ? ScanLists(v, everyone_, probes) : ScanSegments(*versions_[v]));
      probes_[v] = std::min(probes, lists);
      if (probes >= lists) lists_probed_ += uint64_t{lists} * request_.query_count;
    }
    RETURN_IF_ERROR(Widen());
    ASSIGN_OR_RETURN(SearchResult result, scan_.Finish());
    FillStatistics(result.statistics);
    return result;
  }

 private:
  // Before anything is scanned: a cut that exact costs of a tail lowered without slack would drop rows that codes cost.
  void AllowSlack() {
    if (request_.exact) return;
    const double target = request_.probes != 0 ? 1.0 : request_.recall_target;
    for (const auto& version : versions_) {
      if (version->codebook == nullptr || version->codebook->codec() == nullptr) continue;
      scan_.AllowSlack(version->codebook->CodeSlack(request_.k, target), version->codebook->mean_squared_residual());
    }
  }

  // What the filter leaves of the sealed rows; 1 when it need not be asked.
  double SelectivityOf(const IndexVersion& version) const {
    if (request_.filter == nullptr || request_.filter->AcceptsEverything() || version.segments.empty()) return 1.0;
    return EstimateSelectivity(version, *request_.filter);
  }

  // Finds what the filter leaves, and scans that alone: exact, whatever was asked for.
  absl::Status ScanSurvivors(const IndexVersion& version) {
    for (const auto& segment : version.segments) {
      const RowBlock rows = segment->All();
      ASSIGN_OR_RETURN(const std::vector<uint32_t> positions,
                       FindSurvivors(version, *segment, *request_.filter, request_.stop));
      places_.clear();
      const uint32_t block = scan_.AddBlock(version, rows);
      for (const uint32_t position : positions) places_.push_back({block, position});
      RETURN_IF_ERROR(scan_.ScanRows(places_, everyone_));
      rows_filtered_ += rows.count - positions.size();
    }
    return absl::OkStatus();
  }

  // Lists that each query probes at first; at least all of them when the whole version is to be scanned. A filter that
  // leaves a share s of the rows makes the k-th of them as far as the k/s-th of all.
  uint32_t ProbesWanted(const IndexVersion& version, double selectivity) const {
    if (version.codebook == nullptr || request_.exact) return UINT32_MAX;
    for (const auto& segment : version.segments) {
      if (segment->lists() != version.codebook->lists()) return UINT32_MAX;
    }
    const double depth = std::min(request_.k / std::max(selectivity, 1e-6), 1e9);
    const uint32_t probes = request_.probes != 0
                                ? request_.probes
                                : version.codebook->ProbesFor(static_cast<uint32_t>(depth), request_.recall_target);
    return std::max(1U, probes);
  }

  // A tail of which it is known in which lists rows [first, end) are.
  struct ListedTail {
    std::shared_ptr<const TailLists> lists;  // null: of none
    Row first = 0;
    Row end = 0;
    std::vector<RowBlock> blocks;  // whole chunks
    uint32_t first_block = 0;      // number of blocks[0] in the scan
  };

  // Looks once which rows of the tail are in lists: what is sorted while the search goes on does not count.
  void TakeTailLists(size_t v) {
    const IndexVersion& version = *versions_[v];
    ListedTail& tail = listed_[v];
    tail.lists = CurrentListsOf(version);
    if (tail.lists == nullptr) return;
    tail.first = std::max({tail.lists->first_row, version.tail_from, version.tail.first_row});
    tail.end = std::min(tail.lists->end_row, version.tail.end_row);
    for (const auto& part : version.tail.parts) {
      tail.blocks.push_back(BlockOf(part, FirstRowOf(part)));
      const uint32_t block = scan_.AddBlock(version, tail.blocks.back());
      if (tail.blocks.size() == 1) tail.first_block = block;
    }
  }

  // The rows of the tail that are in no list; all of them when the lists were not taken.
  absl::Status ScanTail(size_t v) {
    const IndexVersion& version = *versions_[v];
    const ListedTail& tail = listed_[v];
    for (const auto& part : version.tail.parts) {
      const RowBlock rows = BlockOf(part, version.tail_from);
      const Row first = rows.first_row;
      const Row end = first + rows.count;
      const size_t before = tail.lists == nullptr ? rows.count : std::clamp(tail.first, first, end) - first;
      const size_t after = tail.lists == nullptr ? 0 : end - std::clamp(tail.end, first, end);
      RETURN_IF_ERROR(scan_.Scan(version, rows.Slice(0, before, request_.spec), everyone_));
      RETURN_IF_ERROR(scan_.Scan(version, rows.Slice(rows.count - after, after, request_.spec), everyone_));
    }
    return absl::OkStatus();
  }

  // The rows of the tail that are in `list`.
  absl::Status ScanTailList(size_t v, uint32_t list, absl::Span<const uint32_t> queries) {
    const ListedTail& tail = listed_[v];
    if (tail.lists == nullptr) return absl::OkStatus();
    places_.clear();
    uint32_t chunk = 0;
    for (const uint32_t at : tail.lists->Within(list, tail.first, tail.end)) {
      const Row row = tail.lists->first_row + at;
      while (row >= tail.blocks[chunk].first_row + tail.blocks[chunk].count) ++chunk;
      const uint32_t position = static_cast<uint32_t>(row - tail.blocks[chunk].first_row);
      places_.push_back({tail.first_block + chunk, position});
    }
    return scan_.ScanRows(places_, queries);
  }

  absl::Status ScanSegments(const IndexVersion& version) {
    for (const auto& segment : version.segments) RETURN_IF_ERROR(scan_.Scan(version, segment->All(), everyone_));
    return absl::OkStatus();
  }

  // Scans the lists ranked [probes_[v], probes) of each query, list by list for all the queries that probe it.
  absl::Status ScanLists(size_t v, const std::vector<uint32_t>& queries, uint32_t probes) {
    const IndexVersion& version = *versions_[v];
    const size_t d = request_.spec.dimension;
    const float* all = scan_.code_queries();
    std::vector<float> vectors;
    vectors.reserve(queries.size() * d);
    for (const uint32_t q : queries) vectors.insert(vectors.end(), all + q * d, all + (q + 1) * d);
    std::vector<uint32_t> ranked(queries.size() * probes);
    std::vector<float> costs(ranked.size());
    version.codebook->Probe(vectors.data(), queries.size(), probes, ranked.data(), costs.data());
    const CodeQueries* codes = CodesOf(v);

    // Who wants which list, by a counting sort.
    std::vector<size_t> ends(size_t{version.codebook->lists()} + 1, 0);
    for (size_t i = 0; i < queries.size(); ++i) {
      for (uint32_t rank = probes_[v]; rank < probes; ++rank) ++ends[ranked[i * probes + rank] + 1];
    }
    std::partial_sum(ends.begin(), ends.end(), ends.begin());
    std::vector<uint32_t> wanting(ends.back());
    std::vector<float> bases(ends.back());
    std::vector<size_t> next(ends.begin(), ends.end() - 1);
    for (size_t i = 0; i < queries.size(); ++i) {
      for (uint32_t rank = probes_[v]; rank < probes; ++rank) {
        const size_t place = next[ranked[i * probes + rank]]++;
        wanting[place] = queries[i];
        bases[place] = costs[i * probes + rank];
      }
    }
    std::optional<ReadAhead> ahead;
    if (codes != nullptr && scan_.ReadsAhead()) ahead.emplace(CodeRanges(version, ends), /*read_once=*/false);
    size_t reached = 0;
    for (uint32_t list = 0; list < version.codebook->lists(); ++list) {
      const size_t begin = ends[list];
      const absl::Span<const uint32_t> members(wanting.data() + begin, ends[list + 1] - begin);
      if (members.empty()) continue;
      RETURN_IF_ERROR(ScanTailList(v, list, members));
      for (const auto& segment : version.segments) {
        if (ahead) ahead->Reach(reached++);
        if (codes == nullptr || segment->code_block_bytes() != version.codebook->codec()->block_bytes()) {
          RETURN_IF_ERROR(scan_.Scan(version, segment->List(list), members));
          continue;
        }
        RETURN_IF_ERROR(scan_.ScanCodes(version, segment->List(list), segment->Codes(list), *codes, members,
                                        {bases.data() + begin, members.size()}));
      }
    }
    lists_probed_ += uint64_t{probes - probes_[v]} * queries.size();
    return absl::OkStatus();
  }

  // The codes of the lists that are wanted, whose ends in the order of wanting are `ends`; list by list, and segment by
  // segment in each.
  static std::vector<ByteRange> CodeRanges(const IndexVersion& version, const std::vector<size_t>& ends) {
    std::vector<ByteRange> codes;
    for (uint32_t list = 0; list + 1 < ends.size(); ++list) {
      if (ends[list] == ends[list + 1]) continue;
      for (const auto& segment : version.segments) {
        codes.push_back({segment->Codes(list), CodeBlocks(segment->List(list).count) * segment->code_block_bytes()});
      }
    }
    return codes;
  }

  // The queries prepared for the codec of a version; null when it has none.
  const CodeQueries* CodesOf(size_t v) {
    const Codebook& codebook = *versions_[v]->codebook;
    if (codebook.codec() == nullptr) return nullptr;
    if (codes_[v] == nullptr) {
      codes_[v] = codebook.codec()->Prepare(scan_.code_queries(), request_.query_count);
    }
    return codes_[v].get();
  }

  // Filters apply before the k nearest are chosen: a query that found fewer than k goes on until it has probed all.
  absl::Status Widen() {
    for (;;) {
      std::vector<uint32_t> hungry;
      for (const uint32_t q : everyone_) {
        if (scan_.Offered(q) < request_.k) hungry.push_back(q);
      }
      if (hungry.empty()) return absl::OkStatus();
      bool widened = false;
      for (size_t v = 0; v < versions_.size(); ++v) {
        const uint32_t lists = versions_[v]->codebook == nullptr ? 0 : versions_[v]->codebook->lists();
        if (probes_[v] >= lists) continue;
        const uint32_t probes = static_cast<uint32_t>(std::min<uint64_t>(lists, uint64_t{probes_[v]} * kWidening));
        RETURN_IF_ERROR(ScanLists(v, hungry, probes));
        probes_[v] = probes;
        widened = true;
      }
      if (!widened) return absl::OkStatus();
    }
  }

  void FillStatistics(SearchStatistics& statistics) const {
    for (size_t v = 0; v < versions_.size(); ++v) {
      statistics.rows_total += versions_[v]->rows();
      statistics.tail_rows += versions_[v]->tail_rows();
      statistics.segments += versions_[v]->segments.size();
    }
    statistics.lists_probed = (lists_probed_ + request_.query_count - 1) / request_.query_count;
    const uint64_t looked_at = scan_.rows_scanned() + rows_filtered_ * request_.query_count;
    statistics.exact = !scan_.used_codes() && looked_at == statistics.rows_total * request_.query_count;
  }

  const Versions versions_;
  const SearchRequest& request_;
  BatchScan scan_;
  std::vector<uint32_t> everyone_;
  std::vector<uint32_t> probes_;  // lists that the queries still short of k have probed, per version
  std::vector<ListedTail> listed_;  // per version
  std::vector<RowPlace> places_;    // of the rows that are scanned next
  std::vector<std::unique_ptr<CodeQueries>> codes_;  // of the versions whose codes were scanned
  uint64_t rows_filtered_ = 0;    // rows that were not scanned because the filter leaves them out
  uint64_t lists_probed_ = 0;     // summed over queries
};

absl::Status CheckRequest(const SearchRequest& request) {
  if (request.k == 0) return absl::InvalidArgumentError("k is 0; must be at least 1");
  const bool by_target = !request.exact && request.probes == 0;
  if (by_target && !(request.recall_target > 0.0 && request.recall_target <= 1.0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("recall target is ", request.recall_target, "; must be above 0 and at most 1"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SearchResult> Search(Versions versions, const SearchRequest& request) {
  RETURN_IF_ERROR(CheckRequest(request));
  if (request.query_count == 0) return SearchResult();
  return SearchRun(versions, request).Run();
}

}  // namespace mneme
