#include "engine/label_sum_cache.h"

#include <iterator>
#include <utility>

#include "common/status_macros.h"

namespace mneme {
namespace {

// Of a list node and a node of the map.
constexpr uint64_t kOverheadBytes = 256;

}  // namespace

absl::Status LabelSumCache::AddSums(const Place& place, const IndexVersion& version, const SumRequest& request,
                                    LabelSums& sums) {
  uint64_t rows_read = 0;
  ASSIGN_OR_RETURN(const VersionSums::Ptr found, Find(place, version, request, rows_read));
  sums.CountRead(rows_read);
  if (found != nullptr) return found->AddTo(sums);
  RowFilter filter;
  filter.stamp_ms = request.stamp_ms;
  return AddEntries(version, filter, request.limits, sums);
}

absl::StatusOr<VersionSums::Ptr> LabelSumCache::Find(const Place& place, const IndexVersion& version,
                                                     const SumRequest& request, uint64_t& rows_read) {
  using Standing = VersionSums::Standing;
  if (version.rows() < limits::kMinSummedRows || version.history == nullptr) return nullptr;
  const Known known = Look(place);
  if (known.history == version.history && known.sums == nullptr) return nullptr;
  const Standing standing =
      known.sums == nullptr ? Standing::kApart : known.sums->StandingTo(version, request.stamp_ms);
  if (standing == Standing::kThere) return known.sums;
  if (standing == Standing::kAhead) return nullptr;
  VersionSums::Ptr next;
  if (standing == Standing::kBehind) {
    ASSIGN_OR_RETURN(next, known.sums->BroughtTo(version, request, rows_read));
  }
  if (next == nullptr) {
    ASSIGN_OR_RETURN(next, VersionSums::Make(version, request));
    rows_read += version.rows();
  }
  Keep({place, version.history, next, kOverheadBytes + (next == nullptr ? 0 : next->bytes())});
  return next;
}

LabelSumCache::Known LabelSumCache::Look(const Place& place) {
  MutexLock lock(&mutex_);
  const auto at = by_place_.find(place);
  if (at == by_place_.end()) return {};
  known_.splice(known_.begin(), known_, at->second);
  return *at->second;
}

void LabelSumCache::Keep(Known known) {
  MutexLock lock(&mutex_);
  if (const auto at = by_place_.find(known.place); at != by_place_.end()) Drop(at->second);
  ram_bytes_ += known.bytes;
  known_.push_front(std::move(known));
  by_place_[known_.front().place] = known_.begin();
  while (ram_bytes_ > budget_bytes_) Drop(std::prev(known_.end()));
}

void LabelSumCache::Drop(std::list<Known>::iterator known) {
  ram_bytes_ -= known->bytes;
  by_place_.erase(known->place);
  known_.erase(known);
}

void LabelSumCache::Forget(MemoryNumber memory) {
  MutexLock lock(&mutex_);
  for (auto at = known_.begin(); at != known_.end();) {
    const auto next = std::next(at);
    if (at->place.partition.memory == memory) Drop(at);
    at = next;
  }
}

uint64_t LabelSumCache::ram_bytes() const {
  MutexLock lock(&mutex_);
  return ram_bytes_;
}

}  // namespace mneme
