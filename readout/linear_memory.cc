#include "readout/linear_memory.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

void Features(const float* row, size_t count, double* out) {
  for (size_t i = 0; i < count; ++i) {
    const double x = static_cast<double>(row[i]);
    out[i] = x > 0.0 ? x + 1.0 : std::exp(x);
  }
}

}  // namespace

absl::StatusOr<LinearMemory> LinearMemory::FromFlat(size_t key_dim, size_t value_dim, uint64_t tokens,
                                                    absl::Span<const double> flat) {
  LinearMemory memory(key_dim, value_dim);
  if (flat.size() != memory.state_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("linear state: has ", flat.size(), " items, not ",
                                                   memory.state_.size(), " (key_dim x (value_dim + 1))"));
  }
  memory.state_.assign(flat.begin(), flat.end());
  memory.tokens_ = tokens;
  return memory;
}

absl::Status LinearMemory::Check(const LinearUpdate& update) const {
  const auto check_rows = [](const char* name, size_t items, size_t columns) {
    if (items % columns == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", items, " items are not a whole number of rows of ", columns));
  };
  RETURN_IF_ERROR(check_rows("keys", update.keys.size(), key_dim_));
  RETURN_IF_ERROR(check_rows("values", update.values.size(), value_dim_));
  RETURN_IF_ERROR(check_rows("queries", update.queries.size(), key_dim_));
  if (update.keys.size() / key_dim_ != update.values.size() / value_dim_) {
    return absl::InvalidArgumentError(absl::StrCat("values: ", update.values.size() / value_dim_,
                                                   " rows, but keys has ", update.keys.size() / key_dim_));
  }
  if (!(update.epsilon > 0.0)) {
    return absl::InvalidArgumentError(absl::StrCat("epsilon: ", update.epsilon, " is not above 0"));
  }
  return absl::OkStatus();
}

void LinearMemory::Read(absl::Span<const double> features, double epsilon, double* out) const {
  std::fill_n(out, value_dim_, 0.0);
  const double* z = state_.data() + key_dim_ * value_dim_;
  double denominator = 0.0;
  for (size_t i = 0; i < key_dim_; ++i) {
    denominator += features[i] * z[i];
    const double* row = state_.data() + i * value_dim_;
    for (size_t j = 0; j < value_dim_; ++j) out[j] += features[i] * row[j];
  }
  denominator = std::max(denominator, epsilon);
  for (size_t j = 0; j < value_dim_; ++j) out[j] /= denominator;
}

void LinearMemory::WriteSegment(const LinearUpdate& update, size_t first, size_t count) {
  std::vector<double> features(count * key_dim_);
  Features(update.keys.data() + first * key_dim_, features.size(), features.data());
  std::vector<double> written(update.values.begin() + static_cast<std::ptrdiff_t>(first * value_dim_),
                              update.values.begin() + static_cast<std::ptrdiff_t>((first + count) * value_dim_));
  if (update.rule == LinearRule::kDelta) {
    std::vector<double> held(value_dim_);
    for (size_t t = 0; t < count; ++t) {
      Read({features.data() + t * key_dim_, key_dim_}, update.epsilon, held.data());
      for (size_t j = 0; j < value_dim_; ++j) written[t * value_dim_ + j] -= held[j];
    }
  }
  double* z = state_.data() + key_dim_ * value_dim_;
  for (size_t t = 0; t < count; ++t) {
    const double* value = written.data() + t * value_dim_;
    for (size_t i = 0; i < key_dim_; ++i) {
      const double feature = features[t * key_dim_ + i];
      double* row = state_.data() + i * value_dim_;
      for (size_t j = 0; j < value_dim_; ++j) row[j] += feature * value[j];
      z[i] += feature;
    }
  }
}

absl::StatusOr<std::vector<double>> LinearMemory::Apply(const LinearUpdate& update) {
  RETURN_IF_ERROR(Check(update));
  const size_t queries = update.queries.size() / key_dim_;
  const size_t rows = update.keys.size() / key_dim_;
  std::vector<double> answer(queries * value_dim_);
  const auto read = [&] {
    std::vector<double> features(key_dim_);
    for (size_t q = 0; q < queries; ++q) {
      Features(update.queries.data() + q * key_dim_, key_dim_, features.data());
      Read(features, update.epsilon, answer.data() + q * value_dim_);
    }
  };
  if (update.order == LinearOrder::kReadThenWrite) read();
  const size_t segment = update.segment_length == 0 ? rows : update.segment_length;
  for (size_t first = 0; first < rows; first += std::min(segment, rows - first)) {
    WriteSegment(update, first, std::min(segment, rows - first));
  }
  tokens_ += rows;
  if (update.order == LinearOrder::kWriteThenRead) read();
  return answer;
}

absl::Status LinearMemory::Merge(const LinearMemory& other) {
  if (other.key_dim_ != key_dim_ || other.value_dim_ != value_dim_) {
    return absl::InvalidArgumentError(absl::StrCat("linear state: of ", other.key_dim_, " x ", other.value_dim_,
                                                   ", cannot be added to one of ", key_dim_, " x ", value_dim_));
  }
  for (size_t i = 0; i < state_.size(); ++i) state_[i] += other.state_[i];
  tokens_ += other.tokens_;
  return absl::OkStatus();
}

}  // namespace mneme
