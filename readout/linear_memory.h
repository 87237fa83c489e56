// LinearMemory: the associative state of Infini-attention (Munkhdalai et al. 2024), one per layer and head.
//
// State: M [key_dim x value_dim] and z [key_dim], in double. With sigma(x) = ELU(x) + 1:
//   read    sigma(q) M / max(sigma(q) z, eps); zeros while nothing was written
//   LINEAR  M += sigma(K)^T V;                                           z += sum of sigma(K)
//   DELTA   M += sigma(K)^T (V - sigma(K) M / max(sigma(K) z, eps));     z += sum of sigma(K)
// Under DELTA a pair that is written again leaves M as it was, but z grows: its read halves. That is the paper's rule.
// Pure: no I/O, one fixed order of summation. Const methods may run concurrently.
#ifndef MNEME_READOUT_LINEAR_MEMORY_H_
#define MNEME_READOUT_LINEAR_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace mneme {

enum class LinearRule : uint8_t { kLinear, kDelta };
enum class LinearOrder : uint8_t { kReadThenWrite, kWriteThenRead };

// One call: rows [n x key_dim] and [n x value_dim] to write, queries [m x key_dim] to read; n and m may be 0.
// All components are finite (the caller's to check).
struct LinearUpdate {
  absl::Span<const float> keys;
  absl::Span<const float> values;
  absl::Span<const float> queries;
  LinearRule rule = LinearRule::kLinear;
  // Every query reads the state before the first segment is written, or after the last.
  LinearOrder order = LinearOrder::kReadThenWrite;
  // Rows written together. DELTA subtracts what the state held before the segment, so its result depends on this;
  // LINEAR does not. 0: all rows are one segment.
  size_t segment_length = 0;
  double epsilon = 1e-10;  // > 0: the least denominator
};

class LinearMemory {
 public:
  // An empty state; both dimensions >= 1.
  LinearMemory(size_t key_dim, size_t value_dim)
      : key_dim_(key_dim), value_dim_(value_dim), state_(key_dim * (value_dim + 1), 0.0) {}

  // A state from its flat view. Returns INVALID_ARGUMENT unless it has key_dim x (value_dim + 1) items.
  static absl::StatusOr<LinearMemory> FromFlat(size_t key_dim, size_t value_dim, uint64_t tokens,
                                               absl::Span<const double> flat);

  size_t key_dim() const { return key_dim_; }
  size_t value_dim() const { return value_dim_; }
  uint64_t tokens() const { return tokens_; }  // rows written so far

  // Rows of M, then z: the whole state beside `tokens`, of constant size.
  absl::Span<const double> flat() const { return state_; }
  absl::Span<const double> matrix() const { return flat().first(key_dim_ * value_dim_); }
  absl::Span<const double> normaliser() const { return flat().subspan(key_dim_ * value_dim_); }

  // Returns what the queries read [m x value_dim], or INVALID_ARGUMENT (nothing is written then) when a length is not
  // a whole number of rows, keys and values differ in rows, or epsilon is not positive.
  absl::StatusOr<std::vector<double>> Apply(const LinearUpdate& update);

  // Adds a state that was written apart by LINEAR: the same as one state written with both (DELTA does not commute).
  // Returns INVALID_ARGUMENT when the dimensions differ.
  absl::Status Merge(const LinearMemory& other);

 private:
  absl::Status Check(const LinearUpdate& update) const;
  // What the feature row sigma(x) reads, into out [value_dim].
  void Read(absl::Span<const double> features, double epsilon, double* out) const;
  void WriteSegment(const LinearUpdate& update, size_t first, size_t count);

  size_t key_dim_;
  size_t value_dim_;
  uint64_t tokens_ = 0;
  std::vector<double> state_;
};

}  // namespace mneme

#endif  // MNEME_READOUT_LINEAR_MEMORY_H_
