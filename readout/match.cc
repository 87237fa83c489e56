#include "readout/match.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "common/status_macros.h"
#include "readout/similarity_rows.h"

namespace mneme {
namespace {

// Keeps the `limit` largest seen: a heap whose front is the least of them.
void KeepLargest(std::vector<double>& heap, size_t limit, double value) {
  if (limit == 0) return;
  if (heap.size() < limit) {
    heap.push_back(value);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  } else if (value > heap.front()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.back() = value;
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
}

}  // namespace

LargestMean MeanOfLargest(absl::Span<const double> similarities, size_t csls_k) {
  const size_t used = std::min(csls_k, similarities.size());
  if (used == 0) return {};
  std::vector<double> largest(used);
  std::partial_sort_copy(similarities.begin(), similarities.end(), largest.begin(), largest.end(), std::greater<>());
  double sum = 0.0;
  for (const double similarity : largest) sum += similarity;
  return {sum / static_cast<double>(used), used};
}

double Csls(double similarity, double column_mean, double row_mean, CslsForm form) {
  const double half = similarity - 0.5 * (column_mean + row_mean);
  return form == CslsForm::kHalf ? half : 2.0 * half;
}

size_t ArgMax(absl::Span<const double> scores) {
  return static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

std::vector<double> RankByCsls(std::vector<MatchCandidate>& candidates, double forward_mean, CslsForm form) {
  const auto score = [&](const MatchCandidate& c) { return Csls(c.similarity, c.reverse_mean, forward_mean, form); };
  std::sort(candidates.begin(), candidates.end(), [&](const MatchCandidate& a, const MatchCandidate& b) {
    const double score_a = score(a);
    const double score_b = score(b);
    return score_a > score_b || (score_a == score_b && a.id < b.id);
  });
  std::vector<double> scores;
  scores.reserve(candidates.size());
  for (const MatchCandidate& candidate : candidates) scores.push_back(score(candidate));
  return scores;
}

absl::StatusOr<MatrixMatch> MatchMatrices(const MatrixView& x, const MatrixView& z, size_t csls_k, CslsForm form,
                                          const std::function<absl::Status()>& stop) {
  MatrixMatch match;
  if (x.rows == 0 || z.rows == 0) return match;
  match.row_k = std::min(csls_k, z.rows);
  match.column_k = std::min(csls_k, x.rows);
  std::vector<double> block(kSimilarityRows * z.rows);
  // Calls visit(i, row) for each row of S.
  const auto for_rows = [&](const auto& visit) -> absl::Status {
    for (size_t first = 0; first < x.rows; first += kSimilarityRows) {
      if (stop != nullptr) RETURN_IF_ERROR(stop());
      const size_t count = std::min(kSimilarityRows, x.rows - first);
      match.products += uint64_t{count} * z.rows * x.columns;
      SimilarityRows(x.Row(first).data(), count, z.values.data(), z.rows, x.columns, block.data());
      for (size_t i = 0; i < count; ++i) visit(first + i, absl::MakeSpan(block).subspan(i * z.rows, z.rows));
    }
    return absl::OkStatus();
  };
  std::vector<std::vector<double>> largest(z.rows);
  match.row_means.assign(x.rows, 0.0);
  if (csls_k != 0) {
    RETURN_IF_ERROR(for_rows([&](size_t i, absl::Span<double> row) {
      match.row_means[i] = MeanOfLargest(row, csls_k).mean;
      for (size_t j = 0; j < z.rows; ++j) KeepLargest(largest[j], match.column_k, row[j]);
    }));
  }
  for (const std::vector<double>& column : largest) match.column_means.push_back(MeanOfLargest(column, csls_k).mean);
  match.best_row.assign(z.rows, 0);
  match.best_row_score.assign(z.rows, -std::numeric_limits<double>::infinity());
  RETURN_IF_ERROR(for_rows([&](size_t i, absl::Span<double> row) {
    for (size_t j = 0; j < z.rows; ++j) {
      row[j] = Csls(row[j], match.column_means[j], match.row_means[i], form);
      if (row[j] > match.best_row_score[j]) {
        match.best_row_score[j] = row[j];
        match.best_row[j] = i;
      }
    }
    match.best_column.push_back(ArgMax(row));
    match.best_score.push_back(row[match.best_column[i]]);
  }));
  for (size_t i = 0; i < x.rows; ++i) match.mutual.push_back(match.best_row[match.best_column[i]] == i);
  return match;
}

void UnitRows(absl::Span<double> values, size_t columns) {
  if (columns == 0) return;
  for (size_t begin = 0; begin < values.size(); begin += columns) {
    const absl::Span<double> row = values.subspan(begin, columns);
    double squares = 0.0;
    for (const double v : row) squares += v * v;
    if (squares == 0.0) continue;
    const double norm = std::sqrt(squares);
    for (double& v : row) v /= norm;
  }
}

void UnitCenterUnit(absl::Span<double> values, size_t columns) {
  if (columns == 0 || values.empty()) return;
  UnitRows(values, columns);
  std::vector<double> means(columns, 0.0);
  for (size_t i = 0; i < values.size(); ++i) means[i % columns] += values[i];
  for (double& mean : means) mean /= static_cast<double>(values.size() / columns);
  for (size_t i = 0; i < values.size(); ++i) values[i] -= means[i % columns];
  UnitRows(values, columns);
}

void SortRows(absl::Span<double> values, size_t columns) {
  if (columns == 0) return;
  for (size_t begin = 0; begin < values.size(); begin += columns) {
    const absl::Span<double> row = values.subspan(begin, columns);
    std::sort(row.begin(), row.end());
  }
}

std::vector<double> PickColumns(const MatrixView& matrix, absl::Span<const size_t> picks) {
  std::vector<double> picked;
  picked.reserve(matrix.rows * picks.size());
  for (size_t i = 0; i < matrix.rows; ++i) {
    for (const size_t column : picks) picked.push_back(matrix.Row(i)[column]);
  }
  return picked;
}

}  // namespace mneme
