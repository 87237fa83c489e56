#include "engine/version_sums.h"

#include <algorithm>
#include <optional>

#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/visible_rows.h"
#include "index/row_finder.h"

namespace mneme {
namespace {

// Rows that are read one after the other while one is found by its number.
constexpr uint64_t kReadsOfOneFound = 4;
// Rows between two questions whether to stop.
constexpr uint64_t kRowsBetweenChecks = 16'384;
// Of a node of the map, the two columns' headers and what shares them.
constexpr uint64_t kOverheadBytes = 192;

}  // namespace

uint64_t VersionSums::BytesOf(size_t labels, size_t width) {
  return labels * (2 * width * sizeof(double) + kOverheadBytes);
}

// Changes `next`: a sum is copied when it is first changed.
class VersionSums::Correction {
 public:
  Correction(VersionSums& next, const IndexSpec& spec) : next_(next), keys_(spec) {}

  void Add(const RowBlock& block, size_t i, int64_t stamp_ms) {
    const Attributes attributes = block.AttributesAt(i);
    if (attributes.expiry_ms != 0 && attributes.expiry_ms <= stamp_ms) {
      next_.from_ms_ = std::max(next_.from_ms_, attributes.expiry_ms);
      return;
    }
    if (attributes.expiry_ms != 0) next_.until_ms_ = std::min(next_.until_ms_, attributes.expiry_ms);
    if (KeySum* const sum = Of(attributes.label)) sum->Add(keys_.Read(KeyAt(block, i)));
  }

  // The row was added, or hidden by its expiry, before.
  void Subtract(const RowBlock& block, size_t i) {
    const Attributes attributes = block.AttributesAt(i);
    if (attributes.expiry_ms != 0 && attributes.expiry_ms <= next_.from_ms_) return;
    if (KeySum* const sum = Of(attributes.label)) sum->Subtract(keys_.Read(KeyAt(block, i)));
  }

  // True when the sums grew too large: what was added since is lost.
  bool overflowed() const { return overflowed_; }

  void Finish(const IndexVersion& version) {
    for (auto& [label, sum] : changed_) {
      if (sum->count() == 0) {
        next_.sums_.erase(label);
      } else {
        next_.sums_[label] = std::move(sum);
      }
    }
    next_.history_ = version.history;
    next_.end_row_ = version.end_row();
    next_.dead_ = version.dead;
  }

 private:
  const char* KeyAt(const RowBlock& block, size_t i) const { return block.keys + i * keys_.key_bytes(); }

  // Null when there is no room for one more.
  KeySum* Of(int64_t label) {
    if (overflowed_) return nullptr;
    std::shared_ptr<KeySum>& own = changed_[label];
    if (own != nullptr) return own.get();
    const auto known = next_.sums_.find(label);
    const bool fresh = known == next_.sums_.end();
    own = fresh ? std::make_shared<KeySum>(next_.width_) : std::make_shared<KeySum>(*known->second);
    fresh_ += fresh ? 1 : 0;
    overflowed_ = BytesOf(next_.sums_.size() + fresh_, next_.width_) > limits::kMaxLabelSumBytes;
    return own.get();
  }

  VersionSums& next_;
  CountedKeys keys_;
  std::map<int64_t, std::shared_ptr<KeySum>> changed_;
  size_t fresh_ = 0;  // of them new labels
  bool overflowed_ = false;
};

absl::StatusOr<VersionSums::Ptr> VersionSums::Make(const IndexVersion& version, const SumRequest& request) {
  const std::shared_ptr<VersionSums> made(new VersionSums(request.spec.dimension));
  Correction correction(*made, request.spec);
  // A filter without a stamp: what expired is looked at, too, to know from when on the sums hold.
  RETURN_IF_ERROR(ForEachVisibleRow(version, RowFilter(), request.limits, [&](const RowBlock& block, size_t i) {
    correction.Add(block, i, request.stamp_ms);
  }));
  if (correction.overflowed()) return nullptr;
  correction.Finish(version);
  return made;
}

VersionSums::Standing VersionSums::StandingTo(const IndexVersion& version, int64_t stamp_ms) const {
  if (version.history != history_) return Standing::kApart;
  const uint64_t dead = version.dead.count();
  if (version.end_row() < end_row_ || dead < dead_.count() || stamp_ms < from_ms_) return Standing::kAhead;
  if (stamp_ms >= until_ms_) return Standing::kApart;
  return version.end_row() == end_row_ && dead == dead_.count() ? Standing::kThere : Standing::kBehind;
}

absl::StatusOr<VersionSums::Ptr> VersionSums::BroughtTo(const IndexVersion& version, const SumRequest& request,
                                                        uint64_t& rows_read) const {
  const uint64_t changes = version.end_row() - end_row_ + version.dead.count() - dead_.count();
  if (changes * kReadsOfOneFound > version.rows() || corrections_ + changes > version.rows()) return nullptr;
  const std::shared_ptr<VersionSums> next(new VersionSums(*this));
  next->corrections_ += changes;
  Correction correction(*next, request.spec);
  const RowFinder finder(version);
  uint64_t found = 0;
  // The place of `row`; nullopt when the version does not hold it.
  const auto find = [&](Row row) -> absl::StatusOr<std::optional<RowFinder::Place>> {
    if (++found % kRowsBetweenChecks == 0) RETURN_IF_ERROR(request.limits.Check());
    return finder.Find(row);
  };
  for (const Row row : version.dead.NotIn(dead_)) {
    if (row >= end_row_) break;  // it came and went meanwhile
    ASSIGN_OR_RETURN(const auto place, find(row));
    if (!place) return nullptr;
    correction.Subtract(finder.blocks()[place->block], place->position);
  }
  for (Row row = end_row_; row < version.end_row(); ++row) {
    if (version.dead.Contains(row)) continue;
    ASSIGN_OR_RETURN(const auto place, find(row));
    if (!place) return nullptr;
    correction.Add(finder.blocks()[place->block], place->position, request.stamp_ms);
  }
  if (correction.overflowed()) return nullptr;
  correction.Finish(version);
  rows_read += found;
  return next;
}

absl::Status VersionSums::AddTo(LabelSums& sums) const {
  for (const auto& [label, sum] : sums_) RETURN_IF_ERROR(sums.Merge(label, *sum));
  return absl::OkStatus();
}

}  // namespace mneme
