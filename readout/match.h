// Match: nearest neighbours between two sets of rows, corrected for hubs by CSLS (Lample et al. 2018).
//
//   m1_i = mean of the K largest similarities of row i, m0_j = of column j.
//   MUSE: 2 S_ij - m0_j - m1_i (the paper's eq. 3);  HALF: S_ij - (m0_j + m1_i) / 2 (Coocmap, Wang 2023): the same
//   order, half the value.
// Coocmap's loop stays in the client: it asks for matches, picks the columns of its next step and asks again; the
// normalisations of its rows are here. Pure, double accumulators, summed in the order of the columns. Thread-safe.
#ifndef MNEME_READOUT_MATCH_H_
#define MNEME_READOUT_MATCH_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace mneme {

enum class CslsForm { kHalf, kMuse };

struct LargestMean {
  double mean = 0.0;  // 0 when there is nothing to take it of
  size_t used = 0;    // min(csls_k, size): less than csls_k says that it was clamped
};

// The mean of the csls_k largest similarities, summed from the largest down. csls_k >= 1; no NaN.
LargestMean MeanOfLargest(absl::Span<const double> similarities, size_t csls_k);

double Csls(double similarity, double column_mean, double row_mean, CslsForm form);

// The position of the greatest, the lowest of equals. `scores` is not empty.
size_t ArgMax(absl::Span<const double> scores);

// One target of a query, of its forward top-n by similarity.
struct MatchCandidate {
  uint64_t id = 0;
  double similarity = 0.0;
  double reverse_mean = 0.0;  // m0 of the target
};

// Orders candidates by CSLS descending, then id ascending, and returns their scores in that order.
std::vector<double> RankByCsls(std::vector<MatchCandidate>& candidates, double forward_mean, CslsForm form);

// Row-major matrix f64[rows x columns], borrowed.
struct MatrixView {
  absl::Span<const double> values;
  size_t rows = 0;
  size_t columns = 0;

  absl::Span<const double> Row(size_t i) const { return values.subspan(i * columns, columns); }
};

struct MatrixMatch {
  std::vector<double> row_means;       // m1 [n1]
  std::vector<double> column_means;    // m0 [n2]
  std::vector<size_t> best_column;     // [n1]: argmax_j; ties to the lower index
  std::vector<double> best_score;      // [n1]: CSLS of it
  std::vector<size_t> best_row;        // [n2]: argmax_i; ties to the lower index
  std::vector<double> best_row_score;  // [n2]
  std::vector<bool> mutual;            // [n1]: best_row[best_column[i]] == i
  size_t row_k = 0;                    // means of rows are over so many: min(csls_k, n2)
  size_t column_k = 0;                 // min(csls_k, n1)
  uint64_t products = 0;               // multiplications that it took
};

// CSLS over S = X Z^T, X [n1 x d], Z [n2 x d]; empty when either has no rows. csls_k = 0: S itself, without correction.
// S is never held: its rows are made twice, and the memory is O(n1 + n2 csls_k). `stop` (may be null) is asked every
// few rows; what it returns, when it is not OK, is returned.
absl::StatusOr<MatrixMatch> MatchMatrices(const MatrixView& x, const MatrixView& z, size_t csls_k, CslsForm form,
                                          const std::function<absl::Status()>& stop = nullptr);

// Coocmap's normalisations, in place on f64[rows x columns]. Rows of zeros stay zeros in UnitRows.
void UnitRows(absl::Span<double> values, size_t columns);
// Unit rows, minus the mean of each column, unit rows again.
void UnitCenterUnit(absl::Span<double> values, size_t columns);
// Each row's values ascending: what Coocmap compares before it has any pair of words.
void SortRows(absl::Span<double> values, size_t columns);
// [rows x picks.size()]; a column may be picked more than once. picks < matrix.columns.
std::vector<double> PickColumns(const MatrixView& matrix, absl::Span<const size_t> picks);

}  // namespace mneme

#endif  // MNEME_READOUT_MATCH_H_
