// `mneme attention`: a weighted mean of the values of the nearest, or of all entries.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/answer.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/ordered.h"
#include "client/cli/progress.h"
#include "client/cli/selection.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct AttentionOptions {
  SearchOptions search;
  uint32_t k = 0;
  std::string kernel = "softmax";
  double scale = 1;
  double shrink = 0;
  bool keep_ties = false;
  bool weights = false;
  bool statistics = false;
};

constexpr size_t kShownComponents = 8;

std::vector<double> Output(const v1::AttentionResult& result, size_t row, size_t rows) {
  const size_t width = result.outputs().size() / sizeof(double) / std::max<size_t>(1, rows);
  std::vector<double> output(width);
  for (size_t i = 0; i < width; ++i) output[i] = ColumnItem<double>(result.outputs(), row * width + i);
  return output;
}

Json RowJson(const v1::AttentionResult& result, size_t row, size_t rows, bool weights) {
  Json json = {{"found", ColumnItem<uint32_t>(result.found(), row)},
               {"active", ColumnItem<uint32_t>(result.active(), row)},
               {"all_zero", ColumnItem<uint8_t>(result.all_zero(), row) != 0},
               {"entropy", ColumnItem<double>(result.entropies(), row)}};
  if (result.sparse_offsets().empty()) {
    json["output"] = Output(result, row, rows);
  } else {
    Json indices = Json::array();
    Json components = Json::array();
    const auto last = ColumnItem<uint64_t>(result.sparse_offsets(), row + 1);
    for (auto i = ColumnItem<uint64_t>(result.sparse_offsets(), row); i < last; ++i) {
      indices.push_back(ColumnItem<uint32_t>(result.sparse_indices(), i));
      components.push_back(ColumnItem<double>(result.sparse_components(), i));
    }
    json["indices"] = std::move(indices);
    json["components"] = std::move(components);
    json["elsewhere"] = ColumnItem<double>(result.sparse_elsewhere(), row);
  }
  if (!result.ties_cut().empty()) json["ties_cut"] = ColumnItem<uint8_t>(result.ties_cut(), row) != 0;
  if (!weights) return json;
  Json ids = Json::array();
  Json shares = Json::array();
  const auto last = ColumnItem<uint64_t>(result.weight_offsets(), row + 1);
  for (auto i = ColumnItem<uint64_t>(result.weight_offsets(), row); i < last; ++i) {
    ids.push_back(ColumnItem<uint64_t>(result.weight_ids(), i));
    shares.push_back(ColumnItem<double>(result.weights(), i));
  }
  json["ids"] = std::move(ids);
  json["weights"] = std::move(shares);
  return json;
}

std::string RowText(const v1::AttentionResult& result, size_t row, size_t rows, size_t query) {
  std::string text = absl::StrCat("query ", query, ": ", ColumnItem<uint32_t>(result.active(), row), " of ",
                                  ColumnItem<uint32_t>(result.found(), row), " entries active, entropy ",
                                  HumanNumber(ColumnItem<double>(result.entropies(), row)), "\n ");
  const std::vector<double> output = Output(result, row, rows);
  for (size_t i = 0; i < std::min(output.size(), kShownComponents); ++i) {
    absl::StrAppend(&text, " ", HumanNumber(output[i]));
  }
  if (output.size() > kShownComponents) absl::StrAppend(&text, " .. (", output.size(), " components)");
  if (output.empty()) text += " a sparse output; -o json shows it";
  return text + "\n";
}

absl::Status Attention(const AttentionOptions& options, Session& session) {
  const std::string& name = options.search.memory;
  // A weight for each neighbour; over all entries few rows at a time.
  constexpr uint64_t kWeightBytes = 16;
  constexpr uint64_t kRowOverAllBytes = 1 << 20;
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(name));
  ASSIGN_OR_RETURN(const QueryPlan plan,
                   QueryPlan::New(options.search, memory.dimension(), std::max(1U, options.k),
                                  options.k == 0 ? kRowOverAllBytes : kWeightBytes));
  Progress progress(session.live(), "attention " + name, "queries", plan.rows());
  AnswerWriter answer(session, options.statistics, options.search.NothingFound());
  const auto fetch = [&](size_t batch) {
    v1::QueryRequest request = plan.Request(plan.FirstRow(batch), plan.RowCount(batch));
    request.set_k(options.k);
    v1::AttentionReadOut* read_out = request.mutable_attention();
    read_out->set_kernel(options.kernel == "softmax" ? v1::ATTENTION_KERNEL_SOFTMAX
                                                     : v1::ATTENTION_KERNEL_EXP_NEG_DISTANCE);
    read_out->set_scale(options.scale);
    read_out->set_shrink(options.shrink);
    read_out->set_keep_ties(options.keep_ties);
    read_out->set_with_weights(options.weights);
    return session.memory().Query(request);
  };
  const auto consume = [&](size_t batch, v1::QueryResponse response) {
    const v1::AttentionResult& result = response.attention();
    const size_t rows = plan.RowCount(batch);
    for (size_t row = 0; row < rows; ++row) {
      const auto found = ColumnItem<uint32_t>(result.found(), row);
      if (session.json()) {
        answer.Add(RowJson(result, row, rows, options.weights), found);
      } else {
        answer.Add(RowText(result, row, rows, plan.FirstRow(batch) + row), found);
      }
    }
    answer.AddStatistics(response.statistics(), response.coverage(), rows);
    progress.Set(plan.FirstRow(batch) + rows);
    return session.CheckReader();
  };
  RETURN_IF_ERROR(RunInOrder<v1::QueryResponse>(plan.batches(), fetch, consume));
  answer.Finish();
  return absl::OkStatus();
}

}  // namespace

void AddAttention(CLI::App& app, Action& action) {
  CLI::App* verb = AddVerb(app, "attention", "Read a weighted mean of vector values", kQuestions,
                           "  mneme attention slots --keys z.npy --shrink 0.05\n"
                           "  mneme attention residuals --keys q.npy -k 20 --kernel exp_neg_distance --scale 0.3 -o json");
  auto options = std::make_shared<AttentionOptions>();
  AddSearchOptions(*verb, options->search);
  verb->add_option("-k", options->k, "Neighbours of each key; 0: all entries")->type_name("K")->capture_default_str()
      ->check(CLI::Range(0U, limits::kMaxK));
  verb->add_option("--kernel", options->kernel, "exp of score / SCALE, or of -distance / SCALE")->capture_default_str()
      ->check(CLI::IsMember({"softmax", "exp_neg_distance"}));
  verb->add_option("--scale", options->scale, "T, or sigma")->type_name("SCALE")->capture_default_str()
      ->check(CLI::Range(limits::kMinTemperature, limits::kMaxTemperature));
  verb->add_option("--shrink", options->shrink, "Weights below it are dropped, the rest is normalised again")
      ->type_name("LAMBDA")->capture_default_str();
  verb->add_flag("--keep-ties", options->keep_ties, "Entries as near as the k-th take part");
  verb->add_flag("--weights", options->weights, "Also tell ids and weights");
  verb->add_flag("--statistics", options->statistics, "Also tell what was searched");
  verb->callback([options, &action] {
    action = [options](Session& session) { return Attention(*options, session); };
  });
}

}  // namespace mneme::cli
