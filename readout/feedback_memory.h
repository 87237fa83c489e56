// FeedbackMemory: the state of TransformerFAM (Hwang et al. 2024, Algorithm 2), one per layer and head: a ring of the
// last m blocks' keys and values, and the keys and values of the feedback activations (FAM).
//
//   A[t]  = softmax(scale q_t [ring, K^F, K_{0..t}]) [ring, V^F, V_{0..t}]     (all of K without `causal`)
//   A^F   = softmax(scale Q^F [K^F, K]) [V^F, V]                               (no ring)
// Without residuals: those, the weights and the next K^F, V^F are the model's.
// Pure: no I/O, double accumulators, one fixed order of summation. Const methods may run concurrently.
#ifndef MNEME_READOUT_FEEDBACK_MEMORY_H_
#define MNEME_READOUT_FEEDBACK_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace mneme {

// One block: rows of key_dim (queries, keys) and of value_dim (values), all finite (the caller's to check).
struct FeedbackBlock {
  int64_t index = 0;                    // the last block's + 1; 0 for the first
  double scale = 1.0;                   // finite
  size_t ring_blocks = 0;               // m: past blocks that tokens see, and that are kept after this one
  bool causal = true;
  absl::Span<const float> queries;      // [n x key_dim], n >= 1
  absl::Span<const float> keys;         // [n x key_dim]
  absl::Span<const float> values;       // [n x value_dim]
  absl::Span<const float> fam_queries;  // [f x key_dim]; f may be 0
  absl::Span<const float> fam_keys;     // of the FAM of the block before; empty: those that the state holds
  absl::Span<const float> fam_values;   // as many rows as fam_keys
};

struct FeedbackAnswer {
  std::vector<double> tokens;  // A [n x value_dim]
  std::vector<double> fam;     // A^F [f x value_dim]
};

// What a block index asks for. Whether a replay really is one, a hash of the request decides, which the caller keeps.
enum class BlockOrder : uint8_t { kNext, kReplay, kGap };

class FeedbackMemory {
 public:
  // Rows of keys and values.
  struct Rows {
    std::vector<float> keys;
    std::vector<float> values;
  };

  // No block yet, an empty ring and no FAM; both dimensions >= 1.
  FeedbackMemory(size_t key_dim, size_t value_dim) : key_dim_(key_dim), value_dim_(value_dim) {}

  // A state from its parts. Returns INVALID_ARGUMENT when rows do not fit the dimensions or last_block is below -1.
  static absl::StatusOr<FeedbackMemory> FromParts(size_t key_dim, size_t value_dim, int64_t last_block,
                                                  std::deque<Rows> ring, Rows fam);

  size_t key_dim() const { return key_dim_; }
  size_t value_dim() const { return value_dim_; }
  int64_t last_block() const { return last_block_; }           // -1: none yet
  const std::deque<Rows>& ring() const { return ring_; }       // oldest first
  const Rows& fam() const { return fam_; }
  size_t bytes() const;                                        // of the ring and the FAM

  BlockOrder OrderOf(int64_t block_index) const;

  // Attends with the block and takes it into the state. Returns, and leaves the state as it was: INVALID_ARGUMENT when
  // rows do not fit; FAILED_PRECONDITION unless the index is the last block's + 1.
  absl::StatusOr<FeedbackAnswer> Attend(const FeedbackBlock& block);

 private:
  absl::Status Check(const FeedbackBlock& block) const;

  size_t key_dim_;
  size_t value_dim_;
  int64_t last_block_ = -1;
  std::deque<Rows> ring_;
  Rows fam_;
};

}  // namespace mneme

#endif  // MNEME_READOUT_FEEDBACK_MEMORY_H_
