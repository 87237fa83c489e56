#include "engine/label_sums.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/vector_codec.h"
#include "engine/visible_rows.h"

namespace mneme {

absl::Span<const float> CountedKeys::Read(const char* stored) {
  DecodeVector(spec_.key_dtype, stored, spec_.dimension, key_.data());
  if (spec_.metric != Metric::kCosine) return key_;
  double squares = 0.0;
  for (const float component : key_) squares += double{component} * double{component};
  const double norm = std::sqrt(squares);
  for (float& component : key_) component = static_cast<float>(component / norm);
  return key_;
}

absl::StatusOr<KeySum*> LabelSums::Find(int64_t label) {
  const size_t width = none_.width();
  const auto [sum, added] = sums_.try_emplace(label, none_);
  const size_t most = std::min(limits::kMaxCentroidLabels, limits::kMaxMessageBytes / (width * sizeof(double)));
  if (!added || !wanted_.empty() || sums_.size() <= most) return &sum->second;
  sums_.erase(sum);
  return absl::OutOfRangeError(absl::StrCat("entries have more than ", most, " labels, of ", width,
                                            " components each"));
}

absl::Status LabelSums::Add(int64_t label, const char* stored) {
  if (!Wants(label)) return absl::OkStatus();
  ASSIGN_OR_RETURN(KeySum* const sum, Find(label));
  sum->Add(keys_.Read(stored));
  return absl::OkStatus();
}

absl::Status LabelSums::Merge(int64_t label, const KeySum& more) {
  if (!Wants(label)) return absl::OkStatus();
  ASSIGN_OR_RETURN(KeySum* const sum, Find(label));
  sum->Merge(more);
  return absl::OkStatus();
}

const KeySum& LabelSums::Of(int64_t label) const {
  const auto found = sums_.find(label);
  return found == sums_.end() ? none_ : found->second;
}

absl::Status AddEntries(const IndexVersion& version, const RowFilter& filter, const CallLimits& limits,
                        LabelSums& sums) {
  sums.CountRead(version.rows());
  absl::Status refused;
  RETURN_IF_ERROR(ForEachVisibleRow(version, filter, limits, [&](const RowBlock& block, size_t i) {
    if (!refused.ok()) return;
    refused = sums.Add(block.labels == nullptr ? 0 : block.labels[i], block.keys + i * sums.key_bytes());
  }));
  return refused;
}

}  // namespace mneme
