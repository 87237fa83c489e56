#include "index/batch_scan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "index/kernels/scan_distance.h"

namespace mneme {
namespace {

// Keys of one piece: they stay in the second-level cache while every group of queries passes over them.
constexpr size_t kPieceBytes = 128 * 1024;
constexpr size_t kMinPieceRows = 16;
constexpr size_t kMaxPieceRows = 1024;
// Rows that lie anywhere are asked for so many ahead of the one that is copied: a miss of all caches takes as long.
constexpr size_t kPrefetchedRows = 8;
constexpr size_t kCacheLine = 64;
// Distances between two questions whether to stop: about a tenth of a millisecond.
constexpr size_t kPairsBetweenStops = 65'536;
// Keys between two looks at missing pages: 30 us at the rate of memory, a look a hundredth of it.
constexpr size_t kBytesBetweenLooks = size_t{1} << 20;

size_t PieceRows(size_t key_bytes) {
  return std::clamp(kPieceBytes / std::max<size_t>(key_bytes, 1), kMinPieceRows, kMaxPieceRows);
}

// The keys of `rows` rows from `first` on, side by side, cut into pieces.
std::vector<ByteRange> PiecesFrom(const char* first, size_t rows, size_t piece_rows, size_t key_bytes) {
  std::vector<ByteRange> pieces;
  for (size_t row = 0; row < rows; row += piece_rows) {
    pieces.push_back({first + row * key_bytes, std::min(piece_rows, rows - row) * key_bytes});
  }
  return pieces;
}

std::vector<float> UnitQueries(const SearchRequest& request) {
  const size_t d = request.spec.dimension;
  const KeyShape f32{Metric::kCosine, Dtype::kF32, d};
  std::vector<float> unit(request.queries, request.queries + request.query_count * d);
  for (size_t q = 0; q < request.query_count; ++q) {
    const double norm = ExactNorm(f32, reinterpret_cast<const char*>(request.queries + q * d));
    if (norm == 0.0) continue;
    for (size_t i = 0; i < d; ++i) unit[q * d + i] = static_cast<float>(unit[q * d + i] / norm);
  }
  return unit;
}

}  // namespace

bool RowMayAnswer(const SearchRequest& request, const IndexVersion& version, const RowBlock& rows, size_t position,
                  size_t query) {
  if (version.dead.count() != 0 && version.dead.Contains(rows.RowAt(position))) return false;
  if (!request.exclude_ids.empty() && rows.ids[position] == request.exclude_ids[query]) return false;
  if (!request.exclude_sources.empty()) {
    const uint64_t source = rows.sources == nullptr ? Attributes().source : rows.sources[position];
    if (source == request.exclude_sources[query]) return false;
  }
  return request.filter == nullptr || request.filter->Accepts(rows, position);
}

BatchScan::BatchScan(const SearchRequest& request, double max_norm)
    : request_(request), shape_{request.spec.metric, request.spec.key_dtype, request.spec.dimension},
      piece_rows_(PieceRows(request.spec.KeyBytes())), scorer_(shape_, blocks_, request.stop),
      costs_(piece_rows_ * kScanQueries + kScanQueries),
      selected_(costs_.size()) {
  if (request.spec.metric == Metric::kCosine) unit_queries_ = UnitQueries(request);
  collectors_.reserve(request.query_count);
  for (size_t q = 0; q < request.query_count; ++q) {
    collectors_.emplace_back(shape_, request.queries + q * request.spec.dimension, request.k, max_norm, &scorer_);
    if (request.approximate_distances) collectors_.back().RankByCost();
  }
}

bool BatchScan::Admits(const ScanBlock& block, size_t position, uint32_t query) const {
  return RowMayAnswer(request_, *block.version, block.rows, position, query);
}

// Up to kScanQueries queries side by side, filled up to a width of the kernel by repeating the last.
struct BatchScan::Group {
  const float* vectors[kScanQueries];
  float cuts[kScanQueries];  // cut of query i % width; fillers accept nothing
  size_t taken;
  size_t width;

  Group(absl::Span<const uint32_t> queries, const float* all, size_t dimension,
        const std::vector<CandidateCollector>& collectors)
      : taken(queries.size()), width(ScanWidth(queries.size())) {
    for (size_t i = 0; i < kScanQueries; ++i) {
      const size_t q = i % width;
      vectors[i] = all + size_t{queries[std::min(q, taken - 1)]} * dimension;
      cuts[i] = q < taken ? collectors[queries[q]].cut() : -std::numeric_limits<float>::infinity();
    }
  }
};

void BatchScan::ScanPiece(const Piece& piece, absl::Span<const uint32_t> queries) {
  const float* vectors = unit_queries_.empty() ? request_.queries : unit_queries_.data();
  for (size_t start = 0; start < queries.size(); start += kScanQueries) {
    const absl::Span<const uint32_t> members = queries.subspan(start, kScanQueries);
    const Group group(members, vectors, shape_.dimension, collectors_);
    ScanCosts(shape_, group.vectors, group.width, piece.keys, piece.count, piece.inverse_norms, costs_.data());
    const size_t costs = piece.count * group.width;
    const size_t padded = (costs + kScanQueries - 1) / kScanQueries * kScanQueries;
    std::fill(costs_.begin() + static_cast<ptrdiff_t>(costs), costs_.begin() + static_cast<ptrdiff_t>(padded),
              std::numeric_limits<float>::max());
    const size_t found = SelectWithin(costs_.data(), padded, group.cuts, selected_.data());
    for (size_t s = 0; s < found; ++s) {
      const size_t q = selected_[s] % group.width;
      if (q >= group.taken || selected_[s] >= costs) continue;
      CandidateCollector& collector = collectors_[members[q]];
      const float cost = costs_[selected_[s]];
      // The cut may have fallen since the group began; only then ask what costs memory accesses.
      if (!collector.Wants(cost)) continue;
      const size_t i = selected_[s] / group.width;
      const RowPlace place = piece.places == nullptr
                                 ? RowPlace{piece.block, static_cast<uint32_t>(piece.first + i)}
                                 : piece.places[i];
      if (Admits(blocks_[place.block], place.position, members[q])) collector.Offer(cost, place.block, place.position);
    }
  }
}

absl::Status BatchScan::AskToStop(size_t pairs) {
  pairs_since_asked_ += pairs;
  RETURN_IF_ERROR(scorer_.status());
  if (pairs_since_asked_ < kPairsBetweenStops) return absl::OkStatus();
  pairs_since_asked_ = 0;
  return request_.stop ? request_.stop() : absl::OkStatus();
}

absl::Status BatchScan::ScanCodes(const IndexVersion& version, const RowBlock& rows, const char* codes,
                                  const CodeQueries& prepared, absl::Span<const uint32_t> queries,
                                  absl::Span<const float> bases) {
  if (rows.count == 0 || queries.empty()) return absl::OkStatus();
  const uint32_t number = AddBlock(version, rows);
  const size_t block_bytes = version.codebook->codec()->block_bytes();
  const size_t piece_blocks = CodeBlocks(std::max<size_t>(1, kPieceBytes * kCodeBlockRows / block_bytes));
  const size_t piece_rows = piece_blocks * kCodeBlockRows;
  const size_t room = CodeBlocks(std::min(piece_rows, rows.count)) * kCodeBlockRows;
  if (hit_costs_.size() < kCodeQueries * room) {
    hit_costs_.resize(kCodeQueries * room);
    hit_rows_.resize(kCodeQueries * room);
  }
  CodeHits hits[kCodeQueries];
  for (size_t i = 0; i < kCodeQueries; ++i) hits[i] = {hit_costs_.data() + i * room, hit_rows_.data() + i * room, 0};
  for (size_t first = 0; first < rows.count; first += piece_rows) {
    const size_t count = std::min(piece_rows, rows.count - first);
    RETURN_IF_ERROR(AskToStop(count * queries.size()));
    for (size_t start = 0; start < queries.size(); start += kCodeQueries) {
      const absl::Span<const uint32_t> members = queries.subspan(start, kCodeQueries);
      float cuts[kCodeQueries];
      for (size_t i = 0; i < members.size(); ++i) cuts[i] = collectors_[members[i]].cut();
      prepared.Scan(members, bases.data() + start, cuts, codes + first / kCodeBlockRows * block_bytes, count, hits);
      for (size_t i = 0; i < members.size(); ++i) TakeHits(number, first, members[i], hits[i]);
    }
  }
  used_codes_ = true;
  rows_scanned_ += rows.count * queries.size();
  return absl::OkStatus();
}

void BatchScan::TakeHits(uint32_t block_number, size_t first, uint32_t query, const CodeHits& hits) {
  CandidateCollector& collector = collectors_[query];
  const ScanBlock& block = blocks_[block_number];
  if (AdmitsAll(block)) {
    collector.OfferAll({hits.costs, hits.count}, block_number, first, {hits.rows, hits.count});
    return;
  }
  for (size_t h = 0; h < hits.count; ++h) {
    // The cut may have fallen since the group began; only then ask what costs memory accesses.
    if (!collector.Wants(hits.costs[h]) || !Admits(block, first + hits.rows[h], query)) continue;
    collector.Offer(hits.costs[h], block_number, first + hits.rows[h]);
  }
}

// True when no row of the block can be dead, excluded, filtered or expired.
bool BatchScan::AdmitsAll(const ScanBlock& block) const {
  const bool excludes = !request_.exclude_ids.empty() || !request_.exclude_sources.empty();
  if (block.version->dead.count() != 0 || excludes) return false;
  return request_.filter == nullptr || (block.rows.expiries_ms == nullptr && request_.filter->AcceptsEverything());
}

bool BatchScan::ReadsAhead() {
  scorer_.Look();
  return scorer_.reads_ahead();
}

void BatchScan::AllowSlack(double slack, double floor) {
  for (CandidateCollector& collector : collectors_) collector.AllowSlack(slack, floor);
}

absl::Status BatchScan::Scan(const IndexVersion& version, const RowBlock& rows, absl::Span<const uint32_t> queries) {
  if (rows.count == 0 || queries.empty()) return absl::OkStatus();
  const uint32_t number = AddBlock(version, rows);
  const size_t key_bytes = shape_.KeyBytes();
  const char* const keys = rows.Sparse(rows.keys);
  std::optional<ReadAhead> ahead;
  size_t ahead_from = 0;
  for (size_t first = 0; first < rows.count; first += piece_rows_) {
    const size_t count = std::min(piece_rows_, rows.count - first);
    RETURN_IF_ERROR(AskToStop(count * queries.size()));
    unlooked_bytes_ += count * key_bytes;
    if (unlooked_bytes_ >= kBytesBetweenLooks) {
      unlooked_bytes_ = 0;
      scorer_.Look();
    }
    if (!ahead && rows.sparse_map && scorer_.reads_ahead()) {
      ahead.emplace(PiecesFrom(keys + first * key_bytes, rows.count - first, piece_rows_, key_bytes), false);
      ahead_from = first;
    }
    if (ahead) ahead->Reach((first - ahead_from) / piece_rows_);
    const float* norms = rows.inverse_norms == nullptr ? nullptr : rows.inverse_norms + first;
    ScanPiece({number, keys + first * key_bytes, norms, first, count, nullptr}, queries);
  }
  rows_scanned_ += rows.count * queries.size();
  return absl::OkStatus();
}

uint32_t BatchScan::AddBlock(const IndexVersion& version, const RowBlock& rows) {
  blocks_.push_back({rows, &version});
  return static_cast<uint32_t>(blocks_.size() - 1);
}

absl::Status BatchScan::ScanRows(absl::Span<const RowPlace> places, absl::Span<const uint32_t> queries) {
  if (places.empty() || queries.empty()) return absl::OkStatus();
  const size_t key_bytes = shape_.KeyBytes();
  const auto key_of = [&](size_t i) { return scorer_.KeyAt(places[i]); };
  const auto prefetch = [&](size_t i) {
    for (size_t line = 0; line < key_bytes; line += kCacheLine) __builtin_prefetch(key_of(i) + line);
  };
  gathered_keys_.Resize(std::min(piece_rows_, places.size()) * key_bytes);
  std::optional<ReadAhead> ahead;
  if (scorer_.reads_ahead()) ahead.emplace(scorer_.KeysAt(places), /*read_once=*/true);
  for (size_t first = 0; first < places.size(); first += piece_rows_) {
    const size_t count = std::min(piece_rows_, places.size() - first);
    RETURN_IF_ERROR(AskToStop(count * queries.size()));
    gathered_norms_.clear();
    for (size_t i = 0; i < std::min(count, kPrefetchedRows); ++i) prefetch(first + i);
    for (size_t i = 0; i < count; ++i) {
      if (ahead) ahead->Reach(first + i);
      if (i + kPrefetchedRows < count) prefetch(first + i + kPrefetchedRows);
      const RowPlace& place = places[first + i];
      std::memcpy(gathered_keys_.data() + i * key_bytes, key_of(first + i), key_bytes);
      const RowBlock& rows = blocks_[place.block].rows;
      if (rows.inverse_norms != nullptr) gathered_norms_.push_back(rows.inverse_norms[place.position]);
    }
    const float* const norms = gathered_norms_.empty() ? nullptr : gathered_norms_.data();
    ScanPiece({0, gathered_keys_.data(), norms, 0, count, places.data() + first}, queries);
  }
  rows_scanned_ += places.size() * queries.size();
  return absl::OkStatus();
}

absl::Status AppendNeighbours(const std::vector<RankedRow>& ranked, const std::vector<ScanBlock>& blocks,
                              const SearchRequest& request, NeighbourColumns& out) {
  // The columns lie anywhere in the maps of the segments: ask for all rows at once rather than wait for each.
  for (const RankedRow& row : ranked) {
    const RowBlock& rows = blocks[row.block].rows;
    if (request.spec.value_bytes != 0) {
      __builtin_prefetch(rows.Sparse(rows.values) + row.position * request.spec.value_bytes);
    }
    if (rows.sources != nullptr) __builtin_prefetch(rows.sources + row.position);
    if (rows.positions != nullptr) __builtin_prefetch(rows.positions + row.position);
  }
  const size_t first = out.ids.size();
  const size_t end = first + ranked.size();
  const Attributes absent;
  out.scores.resize(end);
  out.ids.resize(end);
  out.partitions.resize(end);
  out.weights.resize(end, absent.weight);
  out.labels.resize(end, absent.label);
  out.sources.resize(end, absent.source);
  out.positions.resize(end, absent.position);
  for (size_t i = 0; i < ranked.size(); ++i) {
    const RankedRow& row = ranked[i];
    const RowBlock& rows = blocks[row.block].rows;
    out.scores[first + i] = row.score;
    out.ids[first + i] = row.id;
    out.partitions[first + i] = row.partition;
    if (rows.weights != nullptr) out.weights[first + i] = rows.weights[row.position];
    if (rows.labels != nullptr) out.labels[first + i] = rows.labels[row.position];
    if (rows.sources != nullptr) out.sources[first + i] = rows.sources[row.position];
    if (rows.positions != nullptr) out.positions[first + i] = rows.positions[row.position];
    const std::string_view value = rows.Sparse(rows.ValueAt(row.position, request.spec.value_bytes));
    if (request.spec.value_bytes == 0 && out.values.bytes.size() + value.size() > limits::kMaxAttendedBytes) {
      return absl::InvalidArgumentError(absl::StrCat("k: the values of the neighbours take more than ",
                                                     limits::kMaxAttendedBytes,
                                                     " bytes; ask for fewer rows, or give a smaller k"));
    }
    out.values.Append(value);
    if (request.with_keys) {
      const char* key = rows.Sparse(rows.keys) + row.position * request.spec.KeyBytes();
      out.keys.insert(out.keys.end(), key, key + request.spec.KeyBytes());
    }
  }
  out.offsets.push_back(out.ids.size());
  return absl::OkStatus();
}

namespace {

void Reserve(size_t rows, const SearchRequest& request, NeighbourColumns& out) {
  out.scores.reserve(rows);
  out.ids.reserve(rows);
  out.partitions.reserve(rows);
  out.weights.reserve(rows);
  out.labels.reserve(rows);
  out.sources.reserve(rows);
  out.positions.reserve(rows);
  out.values.bytes.reserve(rows * request.spec.value_bytes);
}

}  // namespace

// Gives these queries the exact scores that their order takes.
absl::Status BatchScan::Rank(absl::Span<CandidateCollector> collectors) {
  std::vector<KeyScorer::Rows> all(collectors.size());
  std::vector<double> scores;
  for (;;) {
    size_t total = 0;
    for (size_t i = 0; i < collectors.size(); ++i) {
      all[i] = {collectors[i].query(), collectors[i].RowsToScore(), nullptr};
      total += all[i].places.size();
    }
    if (total == 0) return scorer_.status();
    scores.resize(total);
    double* next = scores.data();
    for (KeyScorer::Rows& rows : all) {
      rows.scores = next;
      next += rows.places.size();
    }
    scorer_.Score(all);
    RETURN_IF_ERROR(scorer_.status());
    for (size_t i = 0; i < collectors.size(); ++i) collectors[i].TakeScores({all[i].scores, all[i].places.size()});
  }
}

// Values are written in the order of the answer, so all of one query are asked for at once.
void BatchScan::ReadValuesAhead(const std::vector<RankedRow>& ranked) const {
  std::vector<ByteRange> values;
  for (const RankedRow& row : ranked) {
    const RowBlock& rows = blocks_[row.block].rows;
    if (!rows.sparse_map) continue;
    const std::string_view value = rows.Sparse(rows.ValueAt(row.position, request_.spec.value_bytes));
    values.push_back({value.data(), value.size()});
  }
  std::sort(values.begin(), values.end(), [](const ByteRange& a, const ByteRange& b) { return a.first < b.first; });
  if (!values.empty()) ReadAhead(values, /*read_once=*/false).Reach(0);
}

absl::StatusOr<SearchResult> BatchScan::Finish() {
  SearchResult result;
  result.neighbours.values.width = request_.spec.value_bytes;
  if (request_.with_keys) result.neighbours.key_bytes = request_.spec.KeyBytes();
  size_t found = 0;
  for (const CandidateCollector& collector : collectors_) found += std::min<size_t>(collector.offered(), request_.k);
  Reserve(found, request_, result.neighbours);
  scorer_.Look();
  for (absl::Span<CandidateCollector> left = absl::MakeSpan(collectors_); !left.empty();) {
    // One query after another stays in the caches of the processor; all at once read each page once.
    const absl::Span<CandidateCollector> taken = left.first(scorer_.reads_ahead() ? left.size() : 1);
    RETURN_IF_ERROR(Rank(taken));
    for (CandidateCollector& collector : taken) {
      const std::vector<RankedRow> ranked = collector.Ranked();
      if (scorer_.reads_ahead()) ReadValuesAhead(ranked);
      RETURN_IF_ERROR(AppendNeighbours(ranked, blocks_, request_, result.neighbours));
      result.statistics.rows_reranked += collector.reranked();
    }
    left.remove_prefix(taken.size());
  }
  if (!collectors_.empty()) {
    result.statistics.rows_scanned = (rows_scanned_ + collectors_.size() / 2) / collectors_.size();
  }
  return result;
}

}  // namespace mneme
