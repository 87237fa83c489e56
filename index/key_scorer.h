// KeyScorer: exact scores of candidates by their stored keys, which may have to be read from disk.
//
// While no pages are missing, each query's rows are scored as they come. Else the rows of all queries of a call are
// scored in the order in which their keys lie in the files, each page is read once for all of them, and the disk reads
// ahead. The scores are the same.
#ifndef MNEME_INDEX_KEY_SCORER_H_
#define MNEME_INDEX_KEY_SCORER_H_

#include <cstddef>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "index/kernels/exact_distance.h"
#include "index/missing_pages.h"
#include "index/read_ahead.h"
#include "index/scan_block.h"

namespace mneme {

// Not thread-safe; of the thread that makes it. `blocks` may be appended to; they and `stop` must outlive it.
class KeyScorer {
 public:
  KeyScorer(const KeyShape& shape, const std::vector<ScanBlock>& blocks, const std::function<absl::Status()>& stop)
      : shape_(shape), blocks_(blocks), stop_(stop) {}

  // scores[i] = that of `query` and the row at places[i].
  struct Rows {
    const float* query = nullptr;
    absl::Span<const RowPlace> places;
    double* scores = nullptr;
  };
  // Scores all of them, unless it was told to stop; what is missing then is left as it was.
  void Score(absl::Span<const Rows> all);
  // What `stop` returned when it was not OK; nothing is scored from then on.
  const absl::Status& status() const { return status_; }

  // Looks whether pages are missing.
  void Look() { missing_.Look(); }
  // Whether they are, so that rows are better scored for many queries at once.
  bool reads_ahead() const { return missing_.lately(); }
  // The bytes of the keys at `places`, where they are in files.
  std::vector<ByteRange> KeysAt(absl::Span<const RowPlace> places) const;
  const char* KeyAt(const RowPlace& place) const {
    const RowBlock& rows = blocks_[place.block].rows;
    return rows.Sparse(rows.keys) + place.position * shape_.KeyBytes();
  }
  const std::vector<ScanBlock>& blocks() const { return blocks_; }

 private:
  void ScoreAsTheyCome(const Rows& rows);
  void ScoreAsTheyLie(absl::Span<const Rows> all);
  bool IsTimeToAsk(size_t rows, size_t between);
  bool Stopped();

  const KeyShape shape_;
  const std::vector<ScanBlock>& blocks_;
  const std::function<absl::Status()>& stop_;
  MissingPages& missing_ = MissingPages::OfThisThread();
  size_t unasked_ = 0;  // rows scored since IsTimeToAsk() last said so
  absl::Status status_;
};

}  // namespace mneme

#endif  // MNEME_INDEX_KEY_SCORER_H_
