// RequestAges: the newest of many remembered requests, and how they stand by age.
#ifndef MNEME_STORAGE_REQUEST_AGES_H_
#define MNEME_STORAGE_REQUEST_AGES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "common/checksum.h"

namespace mneme {

// Holds 32 bytes for each of the newest `most`. All are added before any is asked for. Not thread-safe.
class RequestAges {
 public:
  explicit RequestAges(size_t most) : most_(most) {}

  // The same one may be added again.
  void Add(int64_t stamp_ms, const Hash128& id) {
    newest_ms_ = std::max(newest_ms_, stamp_ms);
    ages_.emplace_back(stamp_ms, id.low);
    if (ages_.size() == 2 * most_) Trim();
  }
  void Finish() { Trim(); }

  size_t size() const { return ages_.size(); }
  int64_t newest_ms() const { return newest_ms_; }
  // How many are older, of those that are held; nullopt when it is not one of them.
  std::optional<size_t> RankOf(int64_t stamp_ms, const Hash128& id) const {
    const std::pair<int64_t, uint64_t> wanted(stamp_ms, id.low);
    const auto at = std::lower_bound(ages_.begin(), ages_.end(), wanted);
    if (at == ages_.end() || *at != wanted) return std::nullopt;
    return static_cast<size_t>(at - ages_.begin());
  }

 private:
  void Trim() {
    std::sort(ages_.begin(), ages_.end());
    ages_.erase(std::unique(ages_.begin(), ages_.end()), ages_.end());
    const size_t more = ages_.size() - std::min(ages_.size(), most_);
    ages_.erase(ages_.begin(), ages_.begin() + static_cast<ptrdiff_t>(more));
  }

  const size_t most_;
  int64_t newest_ms_ = std::numeric_limits<int64_t>::min();
  std::vector<std::pair<int64_t, uint64_t>> ages_;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_REQUEST_AGES_H_
