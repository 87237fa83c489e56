// ModelRows: what `mneme distribution` is told of each query beside its key, from files: the token that is asked for,
// and what the language model itself says (kNN-LM's interpolation).
#ifndef MNEME_CLIENT_CLI_MODEL_ROWS_H_
#define MNEME_CLIENT_CLI_MODEL_ROWS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/cli/command.h"
#include "client/npy/npy_file.h"
#include "mneme/v1/memory.pb.h"
#include "mneme/v1/types.pb.h"

namespace mneme::cli {

struct ModelFiles {
  std::string targets;       // [n]; empty: every token
  std::string lm_log_probs;  // [n] with targets, else [n x vocabulary size]; empty: the memory alone
  double knn_weight = -1;    // lambda of the paper; below 0: not given
};

// One token of the memory for each of `rows` queries, and ln p of it by the model. INVALID_ARGUMENT, naming file, row
// and bound, when the file holds something else.
absl::StatusOr<NpyFile> OpenTargets(const std::string& path, const v1::MemoryDescription& memory, uint64_t rows);
absl::StatusOr<NpyFile> OpenTargetLogProbs(const std::string& path, uint64_t rows);

void AddModelOptions(Command verb, ModelFiles& files);

// Opened, checked files. Immutable, thread-safe.
class ModelRows {
 public:
  // A usage error when options miss each other; INVALID_ARGUMENT, naming file, row and bound, when a file is not one of
  // `rows` queries to `memory`.
  static absl::StatusOr<ModelRows> Open(const ModelFiles& files, const v1::MemoryDescription& memory, uint64_t rows);

  bool has_targets() const { return targets_.has_value(); }
  // Of one query; only with targets.
  uint32_t Target(uint64_t query) const { return static_cast<uint32_t>(targets_->IntegerAt(query)); }
  // Bytes of one query in a request.
  uint64_t row_bytes() const;
  // Adds those of queries [first, first + count).
  void AddTo(uint64_t first, uint64_t count, v1::DistributionReadOut& read_out) const;

 private:
  std::optional<NpyFile> targets_;
  std::optional<NpyFile> lm_log_probs_;
  double knn_weight_ = 0;
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_MODEL_ROWS_H_
