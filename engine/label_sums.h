// LabelSums: the sums of keys by label that one read-out of centroids gathers, over entries, versions and shards.
#ifndef MNEME_ENGINE_LABEL_SUMS_H_
#define MNEME_ENGINE_LABEL_SUMS_H_

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/commands.h"
#include "index/index_spec.h"
#include "index/index_version.h"
#include "readout/centroids.h"

namespace mneme {

// Stored keys as centroids count them: those of a cosine memory as unit vectors, rounded to f32. Not thread-safe.
class CountedKeys {
 public:
  explicit CountedKeys(const IndexSpec& spec) : spec_(spec), key_(spec.dimension) {}

  size_t key_bytes() const { return spec_.KeyBytes(); }
  // f32[dimension], good until the next call.
  absl::Span<const float> Read(const char* stored);

 private:
  const IndexSpec spec_;
  std::vector<float> key_;
};

// Not thread-safe.
class LabelSums {
 public:
  // `wanted` empty: every label.
  LabelSums(const IndexSpec& spec, absl::Span<const int64_t> wanted)
      : wanted_(wanted.begin(), wanted.end()), keys_(spec), none_(spec.dimension) {}

  const std::set<int64_t>& wanted() const { return wanted_; }
  bool Wants(int64_t label) const { return wanted_.empty() || wanted_.contains(label); }
  // What is not wanted is passed over. OUT_OF_RANGE, and nothing is added, for a label beyond kMaxCentroidLabels or
  // beyond what a message holds, where every label is wanted.
  absl::Status Add(int64_t label, const char* stored);
  absl::Status Merge(int64_t label, const KeySum& sum);

  size_t key_bytes() const { return keys_.key_bytes(); }
  // Keys that were looked at to gather them.
  uint64_t rows_read() const { return rows_read_; }
  void CountRead(uint64_t rows) { rows_read_ += rows; }

  // By label, of those that have entries.
  const std::map<int64_t, KeySum>& sums() const { return sums_; }
  // Zeros where there are no entries.
  const KeySum& Of(int64_t label) const;

 private:
  absl::StatusOr<KeySum*> Find(int64_t label);

  const std::set<int64_t> wanted_;
  CountedKeys keys_;
  const KeySum none_;
  std::map<int64_t, KeySum> sums_;
  uint64_t rows_read_ = 0;
};

// Reads every entry of `version` that is alive and that `filter` accepts. What `limits` says; OUT_OF_RANGE as above.
absl::Status AddEntries(const IndexVersion& version, const RowFilter& filter, const CallLimits& limits,
                        LabelSums& sums);

}  // namespace mneme

#endif  // MNEME_ENGINE_LABEL_SUMS_H_
