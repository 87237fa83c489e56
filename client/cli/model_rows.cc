#include "client/cli/model_rows.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "client/cli/exit_code.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

absl::Status CheckLogProbs(const NpyFile& file) {
  for (uint64_t i = 0; i < file.rows() * file.row_items(); ++i) {
    const double log_prob = file.NumberAt(i);
    if (log_prob <= 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": row ", i / file.row_items(), " has ", log_prob,
                                                   "; a natural logarithm of a probability is at most 0"));
  }
  return absl::OkStatus();
}

absl::StatusOr<NpyFile> OpenLogProbs(const std::string& path, uint64_t rows, uint64_t vocabulary_size) {
  ASSIGN_OR_RETURN(NpyFile file, NpyFile::Open(path));
  if (vocabulary_size == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": the memory has no vocabulary size, so a whole distribution does not fit it; give --targets"));
  }
  if (file.rows() != rows || file.row_items() != vocabulary_size) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is ", file.rows(), " x ", file.row_items(), "; must be ",
                                                   rows, " x ", vocabulary_size, ", queries x vocabulary"));
  }
  RETURN_IF_ERROR(CheckLogProbs(file));
  return file;
}

}  // namespace

absl::StatusOr<NpyFile> OpenTargets(const std::string& path, const v1::MemoryDescription& memory, uint64_t rows) {
  ASSIGN_OR_RETURN(NpyFile targets, OpenColumn(path, rows));
  const uint64_t any_token = uint64_t{1} << 32;
  RETURN_IF_ERROR(CheckRange(targets, "token", memory.vocabulary_size() > 0 ? memory.vocabulary_size() : any_token));
  return targets;
}

absl::StatusOr<NpyFile> OpenTargetLogProbs(const std::string& path, uint64_t rows) {
  ASSIGN_OR_RETURN(NpyFile log_probs, OpenColumn(path, rows));
  RETURN_IF_ERROR(CheckLogProbs(log_probs));
  return log_probs;
}

void AddModelOptions(Command verb, ModelFiles& files) {
  verb.AddOption("--targets", files.targets, "One token for each key: tell only ln p of it").Type("FILE.npy");
  verb.AddOption("--lm-logprobs", files.lm_log_probs,
                 "ln p of the model, mixed in: of every token, or of the targets").Type("FILE.npy");
  verb.AddOption("--knn-weight", files.knn_weight, "lambda: the memory's share of that mixture").Type("W")
      .Range(0.0, 1.0);
}

absl::StatusOr<ModelRows> ModelRows::Open(const ModelFiles& files, const v1::MemoryDescription& memory,
                                          uint64_t rows) {
  if (files.lm_log_probs.empty() != (files.knn_weight < 0)) {
    return UsageError("--lm-logprobs and --knn-weight mix the model in: give both, or none");
  }
  ModelRows model;
  if (!files.targets.empty()) {
    ASSIGN_OR_RETURN(NpyFile targets, OpenTargets(files.targets, memory, rows));
    model.targets_ = std::move(targets);
  }
  if (files.lm_log_probs.empty()) return model;
  ASSIGN_OR_RETURN(NpyFile log_probs, model.has_targets()
                                          ? OpenTargetLogProbs(files.lm_log_probs, rows)
                                          : OpenLogProbs(files.lm_log_probs, rows, memory.vocabulary_size()));
  model.lm_log_probs_ = std::move(log_probs);
  model.knn_weight_ = files.knn_weight;
  return model;
}

uint64_t ModelRows::row_bytes() const {
  uint64_t bytes = targets_.has_value() ? sizeof(uint32_t) : 0;
  if (lm_log_probs_.has_value()) bytes += lm_log_probs_->row_items() * sizeof(float);
  return bytes;
}

void ModelRows::AddTo(uint64_t first, uint64_t count, v1::DistributionReadOut& read_out) const {
  if (targets_.has_value()) read_out.set_targets(ColumnRows<uint32_t>(*targets_, first, count));
  if (!lm_log_probs_.has_value()) return;
  const uint64_t width = lm_log_probs_->row_items();
  read_out.mutable_mix()->set_knn_weight(knn_weight_);
  read_out.mutable_mix()->set_lm_log_probs(ColumnRows<float>(*lm_log_probs_, first * width, count * width));
}

}  // namespace mneme::cli
