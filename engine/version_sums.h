// VersionSums: the sums of keys by label of one version of a partition, and what brings them to a newer one.
//
// Rows are numbered in commit order and keep their numbers for as long as a partition has one history, so the newer
// version differs by the rows from the old end on, and by those that died: these are subtracted (ascending), then those
// added (ascending). Reading everything adds segments ascending, each in the order of its lists, then the tail.
#ifndef MNEME_ENGINE_VERSION_SUMS_H_
#define MNEME_ENGINE_VERSION_SUMS_H_

#include <cstdint>
#include <limits>
#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/label_sums.h"
#include "index/index_version.h"
#include "readout/centroids.h"

namespace mneme {

// What sums are asked for.
struct SumRequest {
  IndexSpec spec;
  int64_t stamp_ms = 0;  // entries that expired by then do not count
  CallLimits limits;
};

// Immutable; thread-safe.
class VersionSums {
 public:
  using Ptr = std::shared_ptr<const VersionSums>;

  // Reads every row. Null when the sums would take more than kMaxLabelSumBytes; what the limits say.
  static absl::StatusOr<Ptr> Make(const IndexVersion& version, const SumRequest& request);

  // How these sums stand to what is asked.
  enum class Standing {
    kThere,   // they are it
    kBehind,  // BroughtTo() may lead there
    kAhead,   // the version, or the stamp, is an older one
    kApart,   // another history, or entries expired meanwhile: to be made anew
  };
  Standing StandingTo(const IndexVersion& version, int64_t stamp_ms) const;

  // The sums of a version that these are behind, and how many keys were read for it. Null when reading everything is
  // less work (or was more than once), when a row that died is no longer in the version, and as Make().
  absl::StatusOr<Ptr> BroughtTo(const IndexVersion& version, const SumRequest& request, uint64_t& rows_read) const;

  // Adds the labels that are wanted. OUT_OF_RANGE as LabelSums says.
  absl::Status AddTo(LabelSums& sums) const;
  uint64_t bytes() const { return BytesOf(sums_.size(), width_); }

 private:
  class Correction;

  explicit VersionSums(size_t width) : width_(width) {}
  static uint64_t BytesOf(size_t labels, size_t width);

  size_t width_;
  std::map<int64_t, std::shared_ptr<const KeySum>> sums_;  // shared with the sums that these were made of
  std::shared_ptr<const RowHistory> history_;
  Row end_row_ = 0;
  DeadRows dead_;
  uint64_t corrections_ = 0;  // since all rows were read
  // The stamps at which the same rows count: from the last expiry that hid one, to the first that will hide another.
  int64_t from_ms_ = std::numeric_limits<int64_t>::min();
  int64_t until_ms_ = std::numeric_limits<int64_t>::max();
};

}  // namespace mneme

#endif  // MNEME_ENGINE_VERSION_SUMS_H_
