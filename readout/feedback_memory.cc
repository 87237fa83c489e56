#include "readout/feedback_memory.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

absl::Status CheckRows(const char* name, size_t items, size_t columns) {
  if (items % columns == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": ", items, " items are not a whole number of rows of ", columns));
}

absl::Status CheckPair(const char* keys_name, absl::Span<const float> keys, size_t key_dim, const char* values_name,
                       absl::Span<const float> values, size_t value_dim) {
  RETURN_IF_ERROR(CheckRows(keys_name, keys.size(), key_dim));
  RETURN_IF_ERROR(CheckRows(values_name, values.size(), value_dim));
  if (keys.size() / key_dim == values.size() / value_dim) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(values_name, ": ", values.size() / value_dim, " rows, but ", keys_name,
                                                 " has ", keys.size() / key_dim));
}

// Keys and values that lie together; a query sees the first `seen` rows.
struct Part {
  const float* keys;
  const float* values;
  size_t seen;
};

// softmax(scale q K) V over the parts in order, into out [value_dim].
void AttendOne(const float* query, size_t key_dim, size_t value_dim, double scale, absl::Span<const Part> parts,
               std::vector<double>& weights, double* out) {
  weights.clear();
  for (const Part& part : parts) {
    for (size_t r = 0; r < part.seen; ++r) {
      const float* key = part.keys + r * key_dim;
      double dot = 0.0;
      for (size_t i = 0; i < key_dim; ++i) dot += static_cast<double>(query[i]) * static_cast<double>(key[i]);
      weights.push_back(scale * dot);
    }
  }
  const double top = *std::max_element(weights.begin(), weights.end());
  double total = 0.0;
  for (double& weight : weights) total += weight = std::exp(weight - top);
  std::fill_n(out, value_dim, 0.0);
  size_t next = 0;
  for (const Part& part : parts) {
    for (size_t r = 0; r < part.seen; ++r) {
      const double weight = weights[next++] / total;
      const float* value = part.values + r * value_dim;
      for (size_t j = 0; j < value_dim; ++j) out[j] += weight * static_cast<double>(value[j]);
    }
  }
}

}  // namespace

absl::StatusOr<FeedbackMemory> FeedbackMemory::FromParts(size_t key_dim, size_t value_dim, int64_t last_block,
                                                         std::deque<Rows> ring, Rows fam) {
  if (last_block < -1) return absl::InvalidArgumentError(absl::StrCat("last_block: ", last_block, " is below -1"));
  for (const Rows& rows : ring) {
    RETURN_IF_ERROR(CheckPair("ring keys", rows.keys, key_dim, "ring values", rows.values, value_dim));
  }
  RETURN_IF_ERROR(CheckPair("fam_keys", fam.keys, key_dim, "fam_values", fam.values, value_dim));
  FeedbackMemory memory(key_dim, value_dim);
  memory.last_block_ = last_block;
  memory.ring_ = std::move(ring);
  memory.fam_ = std::move(fam);
  return memory;
}

size_t FeedbackMemory::bytes() const {
  size_t items = fam_.keys.size() + fam_.values.size();
  for (const Rows& rows : ring_) items += rows.keys.size() + rows.values.size();
  return items * sizeof(float);
}

BlockOrder FeedbackMemory::OrderOf(int64_t block_index) const {
  // A first block has index 0, and nothing before it could be a replay.
  if (block_index >= 0 && block_index == last_block_) return BlockOrder::kReplay;
  return block_index - 1 == last_block_ ? BlockOrder::kNext : BlockOrder::kGap;
}

absl::Status FeedbackMemory::Check(const FeedbackBlock& block) const {
  RETURN_IF_ERROR(CheckPair("keys", block.keys, key_dim_, "values", block.values, value_dim_));
  RETURN_IF_ERROR(CheckPair("fam_keys", block.fam_keys, key_dim_, "fam_values", block.fam_values, value_dim_));
  RETURN_IF_ERROR(CheckRows("fam_queries", block.fam_queries.size(), key_dim_));
  if (block.keys.empty()) return absl::InvalidArgumentError("keys: a block has at least 1 row");
  if (block.queries.size() != block.keys.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("queries: ", block.queries.size(), " items, but keys has ", block.keys.size()));
  }
  if (!std::isfinite(block.scale)) return absl::InvalidArgumentError("scale: not finite");
  if (OrderOf(block.index) != BlockOrder::kNext) {
    return absl::FailedPreconditionError(
        absl::StrCat("block_index: ", block.index, " does not follow the last block, ", last_block_));
  }
  return absl::OkStatus();
}

absl::StatusOr<FeedbackAnswer> FeedbackMemory::Attend(const FeedbackBlock& block) {
  RETURN_IF_ERROR(Check(block));
  if (!block.fam_keys.empty()) {
    fam_ = {{block.fam_keys.begin(), block.fam_keys.end()}, {block.fam_values.begin(), block.fam_values.end()}};
  }
  while (ring_.size() > block.ring_blocks) ring_.pop_front();

  const size_t rows = block.keys.size() / key_dim_;
  std::vector<Part> parts;
  for (const Rows& past : ring_) {
    parts.push_back({past.keys.data(), past.values.data(), past.keys.size() / key_dim_});
  }
  parts.push_back({fam_.keys.data(), fam_.values.data(), fam_.keys.size() / key_dim_});
  parts.push_back({block.keys.data(), block.values.data(), rows});

  FeedbackAnswer answer;
  std::vector<double> weights;
  answer.tokens.resize(rows * value_dim_);
  for (size_t t = 0; t < rows; ++t) {
    if (block.causal) parts.back().seen = t + 1;
    AttendOne(block.queries.data() + t * key_dim_, key_dim_, value_dim_, block.scale, parts, weights,
              answer.tokens.data() + t * value_dim_);
  }
  parts.back().seen = rows;
  const absl::Span<const Part> without_ring = absl::MakeConstSpan(parts).subspan(ring_.size());
  const size_t fam_rows = block.fam_queries.size() / key_dim_;
  answer.fam.resize(fam_rows * value_dim_);
  for (size_t r = 0; r < fam_rows; ++r) {
    AttendOne(block.fam_queries.data() + r * key_dim_, key_dim_, value_dim_, block.scale, without_ring, weights,
              answer.fam.data() + r * value_dim_);
  }

  if (block.ring_blocks > 0) {
    if (ring_.size() == block.ring_blocks) ring_.pop_front();
    ring_.push_back({{block.keys.begin(), block.keys.end()}, {block.values.begin(), block.values.end()}});
  }
  last_block_ = block.index;
  return answer;
}

}  // namespace mneme
