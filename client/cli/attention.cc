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
#include "client/cli/exit_code.h"
#include "client/cli/group_rows.h"
#include "client/cli/mix.h"
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
  GroupFiles groups;
  std::string out;         // files
  std::string groups_out;
};

// Rows [first, first + count) of the queries, which one request asks: a batch, or a group.
struct Range {
  uint64_t first;
  uint64_t count;
};

Json RowJson(const v1::AttentionResult& result, size_t row, size_t rows, bool weights) {
  Json json = {{"found", ColumnItem<uint32_t>(result.found(), row)},
               {"active", ColumnItem<uint32_t>(result.active(), row)},
               {"all_zero", ColumnItem<uint8_t>(result.all_zero(), row) != 0},
               {"entropy", ColumnItem<double>(result.entropies(), row)}};
  if (result.sparse_offsets().empty()) {
    json["output"] = MatrixRow<double>(result.outputs(), row, rows);
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
  json["log_total_mass"] = ColumnItem<double>(result.log_total_mass(), row);
  if (!result.group_weights().empty()) json["group_weight"] = ColumnItem<double>(result.group_weights(), row);
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
  if (!result.weight_partitions().empty()) {
    Json partitions = Json::array();
    for (auto i = ColumnItem<uint64_t>(result.weight_offsets(), row); i < last; ++i) {
      partitions.push_back(ColumnItem<uint64_t>(result.weight_partitions(), i));
    }
    json["partitions"] = std::move(partitions);
  }
  return json;
}

std::string RowText(const v1::AttentionResult& result, size_t row, size_t rows, size_t query) {
  std::string text = absl::StrCat("query ", query, ": ", ColumnItem<uint32_t>(result.active(), row), " of ",
                                  ColumnItem<uint32_t>(result.found(), row), " entries active, entropy ",
                                  HumanNumber(ColumnItem<double>(result.entropies(), row)), "\n ");
  const std::vector<double> output = MatrixRow<double>(result.outputs(), row, rows);
  return absl::StrCat(text, " ", output.empty() ? "a sparse output; -o json shows it" : VectorText(output), "\n");
}

v1::AttentionReadOut CommonReadOut(const AttentionOptions& options) {
  v1::AttentionReadOut read_out;
  read_out.set_kernel(options.kernel == "softmax" ? v1::ATTENTION_KERNEL_SOFTMAX
                                                  : v1::ATTENTION_KERNEL_EXP_NEG_DISTANCE);
  read_out.set_scale(options.scale);
  read_out.set_shrink(options.shrink);
  read_out.set_keep_ties(options.keep_ties);
  read_out.set_with_weights(options.weights);
  return read_out;
}

std::vector<Range> RangesOf(const QueryPlan& plan, const GroupRows& groups) {
  std::vector<Range> ranges;
  for (size_t i = 0; i < groups.count(); ++i) ranges.push_back({groups.First(i), groups.Count(i)});
  if (!groups.any()) {
    for (size_t i = 0; i < plan.batches(); ++i) ranges.push_back({plan.FirstRow(i), plan.RowCount(i)});
  }
  return ranges;
}

// Where the answers of one command go: item by item to `answer`, and whole to .npy files.
class AttentionWriter {
 public:
  AttentionWriter(const AttentionOptions& options, uint32_t value_dimension, Session& session)
      : options_(options),
        value_dimension_(value_dimension),
        session_(session),
        answer_(session, options.statistics, options.search.NothingFound()) {}

  void Add(const Range& range, const v1::QueryResponse& response) {
    const v1::AttentionResult& result = response.attention();
    for (size_t row = 0; row < range.count; ++row) {
      const auto found = ColumnItem<uint32_t>(result.found(), row);
      if (session_.json()) {
        Json json = RowJson(result, row, range.count, options_.weights);
        if (response.sources_size() != 0) json["sources"] = SourcesJson(response, row);
        answer_.Add(json, found);
      } else {
        answer_.Add(RowText(result, row, range.count, range.first + row) + SourcesText(response, row), found);
      }
    }
    answer_.AddStatistics(WholeStatistics(response), WholeCoverage(response), range.count);
    if (!options_.out.empty()) outputs_ += result.outputs();
    if (result.group_outputs().empty()) return;
    groups_out_ += result.group_outputs();
    if (session_.json()) {
      groups_.push_back(MatrixRow<double>(result.group_outputs(), 0, 1));
    } else {
      answer_.Add(absl::StrCat("group ", groups_out_.size() / (value_dimension_ * sizeof(double)) - 1, ": ",
                               VectorText(MatrixRow<double>(result.group_outputs(), 0, 1)), "\n"), 0);
    }
  }

  absl::Status Finish() {
    if (!options_.out.empty()) RETURN_IF_ERROR(WriteArray(options_.out, NpyDtype::kF64, value_dimension_, outputs_));
    if (!options_.groups_out.empty()) {
      RETURN_IF_ERROR(WriteArray(options_.groups_out, NpyDtype::kF64, value_dimension_, groups_out_));
    }
    if (!groups_.empty()) answer_.Attach("groups", std::move(groups_));
    answer_.Finish();
    return absl::OkStatus();
  }

 private:
  const AttentionOptions& options_;
  const uint32_t value_dimension_;
  Session& session_;
  AnswerWriter answer_;
  std::string outputs_;     // columns of f64
  std::string groups_out_;
  Json groups_ = Json::array();
};

absl::Status CheckFiles(const AttentionOptions& options, const v1::MemoryDescription& memory) {
  if (!options.out.empty() && memory.value_kind() == v1::VALUE_KIND_SPARSE_VECTOR) {
    return UsageError(absl::StrCat("--out is for vector values; memory \"", memory.name(), "\" has sparse ones"));
  }
  const bool no_groups = !options.groups_out.empty() && options.groups.contexts.empty();
  return no_groups ? UsageError("--groups-out needs --contexts") : absl::OkStatus();
}

absl::Status Attention(const AttentionOptions& options, Session& session) {
  const std::string& name = options.search.memory;
  // A weight for each neighbour; over all entries few rows at a time.
  constexpr uint64_t kWeightBytes = 16;
  constexpr uint64_t kRowOverAllBytes = 1 << 20;
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(name));
  RETURN_IF_ERROR(CheckFiles(options, memory));
  ASSIGN_OR_RETURN(const QueryPlan plan,
                   QueryPlan::New(options.search, memory.dimension(), std::max(1U, options.k),
                                  options.k == 0 ? kRowOverAllBytes : kWeightBytes));
  ASSIGN_OR_RETURN(const GroupRows groups, GroupRows::Open(options.groups, plan.rows(), memory));
  const std::vector<Range> ranges = RangesOf(plan, groups);
  const v1::AttentionReadOut read_out = CommonReadOut(options);
  Progress progress(session.live(), "attention " + name, "queries", plan.rows());
  AttentionWriter writer(options, memory.value_dimension(), session);
  const auto fetch = [&](size_t i) {
    v1::QueryRequest request = plan.Request(ranges[i].first, ranges[i].count);
    request.set_k(options.k);
    *request.mutable_attention() = read_out;
    if (groups.any()) *request.mutable_attention()->mutable_groups() = groups.Group(i);
    return session.memory().Query(request);
  };
  const auto consume = [&](size_t i, v1::QueryResponse response) {
    writer.Add(ranges[i], response);
    progress.Set(ranges[i].first + ranges[i].count);
    return session.CheckReader();
  };
  RETURN_IF_ERROR(RunInOrder<v1::QueryResponse>(ranges.size(), fetch, consume));
  return writer.Finish();
}

}  // namespace

void AddAttention(Command app, Action& action) {
  Command verb = app.AddVerb("attention", "Read a weighted mean of vector values", kQuestions,
                             "  mneme attention slots --keys z.npy --shrink 0.05\n"
                             "  mneme attention residuals --keys q.npy -k 20 --kernel exp_neg_distance "
                              "--scale 0.3 -o json\n"
                             "  mneme attention residuals --keys q.npy -k 20 --mix tenant=0.3:12");
  auto options = std::make_shared<AttentionOptions>();
  AddSearchOptions(verb, options->search);
  AddPartialOption(verb, options->search.allow_partial);
  verb.AddOption("-k", options->k, "Neighbours of each key; 0: all entries").Type("K").ShowDefault()
      .Range(0U, limits::kMaxK);
  verb.AddOption("--kernel", options->kernel, "exp of score / SCALE, or of -distance / SCALE").ShowDefault()
      .OneOf({"softmax", "exp_neg_distance"});
  verb.AddOption("--scale", options->scale, "T, or sigma").Type("SCALE").ShowDefault()
      .Range(limits::kMinTemperature, limits::kMaxTemperature);
  verb.AddOption("--shrink", options->shrink, "Weights below it are dropped, the rest is normalised again")
      .Type("LAMBDA").ShowDefault();
  verb.AddFlag("--keep-ties", options->keep_ties, "Entries as near as the k-th take part");
  AddMixOption(verb, options->search.mix);
  verb.AddFlag("--weights", options->weights, "Also tell ids and weights");
  verb.AddFlag("--statistics", options->statistics, "Also tell what was searched");
  verb.AddOption("--out", options->out, "Where the outputs go too, f64 [n x value dimension]").Type("FILE.npy");
  AddGroupOptions(verb, options->groups);
  verb.AddOption("--groups-out", options->groups_out, "Where their outputs go too, f64").Type("FILE.npy")
      .Group(kGroups);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Attention(*options, session); };
  });
}

}  // namespace mneme::cli
