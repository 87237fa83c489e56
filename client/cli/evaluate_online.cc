// `mneme evaluate --online`, one QueryStream with one row a step:
//   1. Write step i: the query of key i with target i, and an append of token i. The server answers the query first,
//      then stores token i under the key that it was asked with, then takes step i + 1, which sees it.
//   2. Since the server keeps that order, several steps are on their way at once; answers come in the order of steps.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/columns.h"
#include "client/cli/evaluate.h"
#include "client/cli/first_id.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

// Steps on their way: enough that the server never waits for the next one.
constexpr uint64_t kStepsAhead = 16;

// The optional columns of what is inserted, each none or one.
struct AppendColumns {
  std::vector<NpyFile> sources;
  std::vector<NpyFile> labels;
  std::vector<NpyFile> positions;
};

absl::StatusOr<std::vector<NpyFile>> OpenOptional(const std::string& path, const std::string& noun, uint64_t rows) {
  std::vector<NpyFile> files;
  if (path.empty()) return files;
  ASSIGN_OR_RETURN(NpyFile file, OpenColumn(path, rows));
  if (noun == "label") {
    RETURN_IF_ERROR(file.CheckInteger());
  } else {
    RETURN_IF_ERROR(CheckRange(file, noun, 0));
  }
  files.push_back(std::move(file));
  return files;
}

uint64_t PartitionOf(const EvaluateOptions& options) {
  const std::vector<uint64_t>& partitions = options.search.selection.partitions;
  return partitions.empty() ? 0 : partitions.front();
}

// The id of the first token. Without --first-id nothing that is stored may be replaced; with it, that is said.
absl::StatusOr<uint64_t> ChooseFirstId(const EvaluateOptions& options, uint64_t rows, Session& session) {
  const std::string& memory = options.search.memory;
  v1::CountRequest request;
  request.set_memory(memory);
  request.mutable_partitions()->add_partitions(PartitionOf(options));
  ASSIGN_OR_RETURN(const v1::CountResponse count, session.memory().Count(request));
  if (count.count() > 0) session.Note("note: the memory is not empty: it may hold this very text");
  const std::string given = options.first_id.empty() ? kAppend : options.first_id;
  ASSIGN_OR_RETURN(const uint64_t first, FirstId(given, rows, memory, PartitionOf(options), session));
  if (given == kAppend || count.count() == 0) return first;
  ASSIGN_OR_RETURN(const uint64_t unused, IdAfterLargest(memory, PartitionOf(options), session));
  if (first < unused) {
    session.Note(absl::StrCat("warning: ids from ", first, " on replace stored entries of the same ids; from ", unused,
                              " on all are unused"));
  }
  return first;
}

v1::QueryStreamRequest Step(const EvaluateOptions& options, const EvaluateInput& input, const AppendColumns& columns,
                            uint64_t first_id, uint64_t row) {
  v1::QueryStreamRequest step;
  step.set_step(row + 1);
  *step.mutable_query() = input.plan.Request(row, 1);
  *step.mutable_query()->mutable_distribution() = GridReadOut(options, input.targets, row, 1);
  v1::StepAppend& append = *step.mutable_append();
  v1::Entries& entries = *append.mutable_entries();
  entries.mutable_values()->set_tokens(ColumnRows<uint32_t>(input.targets, row, 1));
  entries.set_ids(PackColumn(std::vector<uint64_t>{first_id + row}));
  if (!columns.sources.empty()) entries.set_sources(ColumnRows<uint64_t>(columns.sources.front(), row, 1));
  if (!columns.labels.empty()) entries.set_labels(ColumnRows<int64_t>(columns.labels.front(), row, 1));
  if (!columns.positions.empty()) entries.set_positions(ColumnRows<uint64_t>(columns.positions.front(), row, 1));
  append.set_partition(PartitionOf(options));
  append.set_durability(options.durability == "sync" ? v1::DURABILITY_SYNC : v1::DURABILITY_WRITTEN);
  append.set_lm_log_probs(ColumnRows<float>(input.lm_log_probs, row, 1));
  // The server counts the benefit at one lambda: the setting's own, or the middle of the grid's.
  append.set_knn_weight(options.lambdas[options.lambdas.size() / 2]);
  return step;
}

// The line that follows the text: perplexities so far, kept as running sums, since the grid may be large.
class LiveLine {
 public:
  LiveLine(Session& session, const EvaluateOptions& options, uint64_t tokens)
      : options_(options), progress_(session.live(), "evaluate " + options.search.memory, "tokens", tokens) {}

  void Show(double lm_log_prob, bool found, double knn_log_prob) {
    ++tokens_;
    lm_ += lm_log_prob;
    mixed_ += found ? MixLogProbs(lm_log_prob, knn_log_prob, options_.lambdas.front()) : lm_log_prob;
    const auto count = static_cast<double>(tokens_);
    progress_.SetLine(absl::StrFormat("%s tokens  perplexity %.2f -> %.2f with the memory  %.0f tokens/s",
                                      HumanCount(tokens_), std::exp(-lm_ / count), std::exp(-mixed_ / count),
                                      count / std::max(progress_.seconds(), 1e-9)));
  }

 private:
  const EvaluateOptions& options_;
  Progress progress_;
  uint64_t tokens_ = 0;
  double lm_ = 0;
  double mixed_ = 0;
};

}  // namespace

absl::Status EvaluateOnline(const EvaluateOptions& options, const EvaluateInput& input, Session& session,
                            Evaluation& evaluation) {
  const uint64_t rows = input.plan.rows();
  AppendColumns columns;
  ASSIGN_OR_RETURN(columns.sources, OpenOptional(options.sources, "source", rows));
  ASSIGN_OR_RETURN(columns.labels, OpenOptional(options.labels, "label", rows));
  ASSIGN_OR_RETURN(columns.positions, OpenOptional(options.positions, "position", rows));
  ASSIGN_OR_RETURN(const uint64_t first_id, ChooseFirstId(options, rows, session));
  LiveLine live(session, options, rows);
  const auto stream = session.memory().OpenQueryStream();
  uint64_t written = 0;
  uint64_t acknowledged = 0;
  for (uint64_t row = 0; row < rows; ++row) {
    for (; written < rows && written < row + kStepsAhead; ++written) {
      RETURN_IF_ERROR(stream->Write(Step(options, input, columns, first_id, written)));
    }
    ASSIGN_OR_RETURN(const v1::QueryStreamResponse answer, stream->Read());
    acknowledged = std::max(acknowledged, answer.acknowledged_step());
    if (!answer.has_response()) {
      --row;  // an acknowledgement alone
      continue;
    }
    const v1::DistributionResult& result = answer.response().distribution();
    RETURN_IF_ERROR(AddAnswer(input, result, row, 1, options, evaluation));
    live.Show(input.lm_log_probs.NumberAt(row), ColumnItem<uint32_t>(result.found(), 0) > 0,
              ColumnItem<double>(result.target_log_probs(), 0));
  }
  RETURN_IF_ERROR(stream->WritesDone());
  absl::StatusOr<v1::QueryStreamResponse> answer;
  while ((answer = stream->Read()).ok()) acknowledged = std::max(acknowledged, answer->acknowledged_step());
  if (!absl::IsOutOfRange(answer.status())) return answer.status();
  if (acknowledged == rows) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the server acknowledged ", acknowledged, " of ", rows, " insertions"));
}

}  // namespace mneme::cli
