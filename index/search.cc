#include "index/search.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "index/batch_scan.h"
#include "index/filter_survivors.h"
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
      RETURN_IF_ERROR(scan_.ScanRows(version, rows, positions, everyone_));
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

  // A part of a tail of whose first rows it is known in which lists they are.
  struct ListedPart {
    RowBlock rows;  // positions are those of the chunk
    size_t first = 0;
    size_t end = 0;
    std::shared_ptr<const TailLists> lists;
  };

  // Looks once which rows of the tail are in lists: what is sorted while the search goes on does not count.
  void TakeTailLists(size_t v) {
    const IndexVersion& version = *versions_[v];
    for (const auto& part : version.tail.parts) {
      std::shared_ptr<const TailLists> lists = ListsOf(part);
      if (lists != nullptr && lists->codebook != version.codebook->number()) lists = nullptr;
      const Row first_row = FirstRowOf(part);
      const size_t first =
          version.tail_from <= first_row ? 0 : std::min<size_t>(version.tail_from - first_row, part.count);
      const size_t end = lists == nullptr ? first : std::clamp(lists->count, first, part.count);
      listed_[v].push_back({BlockOf(part, first_row), first, end, std::move(lists)});
    }
  }

  // The rows of the tail that are in no list; all of them when the lists were not taken.
  absl::Status ScanTail(size_t v) {
    const IndexVersion& version = *versions_[v];
    if (listed_[v].empty()) {
      for (const auto& part : version.tail.parts) {
        RETURN_IF_ERROR(scan_.Scan(version, BlockOf(part, version.tail_from), everyone_));
      }
    }
    for (const ListedPart& part : listed_[v]) {
      const RowBlock rest = part.rows.Slice(part.end, part.rows.count - part.end, request_.spec);
      RETURN_IF_ERROR(scan_.Scan(version, rest, everyone_));
    }
    return absl::OkStatus();
  }

  // The rows of the tail that are in `list`.
  absl::Status ScanTailList(size_t v, uint32_t list, absl::Span<const uint32_t> queries) {
    for (const ListedPart& part : listed_[v]) {
      if (part.first == part.end) continue;
      const absl::Span<const uint32_t> all = part.lists->Of(list);
      const auto begin = std::lower_bound(all.begin(), all.end(), part.first);
      const auto end = std::lower_bound(begin, all.end(), part.end);
      const absl::Span<const uint32_t> rows(begin, static_cast<size_t>(end - begin));
      RETURN_IF_ERROR(scan_.ScanRows(*versions_[v], part.rows, rows, queries));
    }
    return absl::OkStatus();
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
    for (uint32_t list = 0; list < version.codebook->lists(); ++list) {
      const size_t begin = ends[list];
      const absl::Span<const uint32_t> members(wanting.data() + begin, ends[list + 1] - begin);
      if (members.empty()) continue;
      RETURN_IF_ERROR(ScanTailList(v, list, members));
      for (const auto& segment : version.segments) {
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
  std::vector<std::vector<ListedPart>> listed_;  // of the tails, where the lists are asked; empty: scanned whole
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
