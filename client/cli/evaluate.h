// Evaluate: perplexity with and without a memory, what `mneme evaluate` does in batches and online.
#ifndef MNEME_CLIENT_CLI_EVALUATE_H_
#define MNEME_CLIENT_CLI_EVALUATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/evaluation.h"
#include "client/cli/selection.h"
#include "client/cli/session.h"
#include "client/npy/npy_file.h"

namespace mneme::cli {

struct EvaluateOptions {
  SearchOptions search;
  std::string targets;
  std::string lm_log_probs;
  std::vector<uint32_t> ks;
  std::vector<double> temperatures;
  std::vector<double> lambdas;
  std::string out;
  bool online = false;
  std::string first_id;  // online: a number; empty or "append": after the largest id
  std::string sources;   // online: columns of the entries that are inserted
  std::string labels;
  std::string positions;
  std::string durability = "written";
};

// The opened files of one evaluation.
struct EvaluateInput {
  QueryPlan plan;
  NpyFile targets;
  NpyFile lm_log_probs;
};

// The read-out that answers the whole grid with ln p of the targets of rows [first, first + count).
v1::DistributionReadOut GridReadOut(const EvaluateOptions& options, const NpyFile& targets, uint64_t first,
                                    uint64_t count);

// Adds rows [first, first + count) of an answer. Returns INTERNAL if it does not have their number of cells.
absl::Status AddAnswer(const EvaluateInput& input, const v1::DistributionResult& result, uint64_t first,
                       uint64_t count, const EvaluateOptions& options, Evaluation& evaluation);

// Predicts each token, then inserts it, in order.
absl::Status EvaluateOnline(const EvaluateOptions& options, const EvaluateInput& input, Session& session,
                            Evaluation& evaluation);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_EVALUATE_H_
