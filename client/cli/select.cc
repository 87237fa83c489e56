// `mneme select`: choices among candidates by their scores (Selfmem).
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/selection.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct SelectOptions {
  std::string memory;
  Selection selection;
  std::string mode = "argmax";
  double temperature = 1;
  uint64_t seed = 0;
  uint32_t n = 1;
};

absl::Status Select(const SelectOptions& options, Session& session) {
  v1::QueryRequest request;
  request.set_memory(options.memory);
  *request.mutable_partitions() = options.selection.ToPartitions();
  if (options.selection.HasFilter()) {
    ASSIGN_OR_RETURN(*request.mutable_filter(), options.selection.ToFilter());
  }
  v1::SelectReadOut* read_out = request.mutable_select();
  read_out->set_mode(options.mode == "softmax" ? v1::SELECT_MODE_SOFTMAX : v1::SELECT_MODE_ARGMAX);
  read_out->set_temperature(options.temperature);
  read_out->set_seed(options.seed);
  read_out->set_n(options.n);
  ASSIGN_OR_RETURN(const v1::QueryResponse response, session.memory().Query(request));
  const v1::SelectResult& result = response.select();
  const std::vector<uint64_t> partitions = UnpackColumn<uint64_t>(result.partitions());
  Json pools = Json::array();
  Table table({"POOL", "ID", "SCORE", "P", "VALUE"});
  for (size_t pool = 0; pool < partitions.size(); ++pool) {
    Json chosen = Json::array();
    const auto last = ColumnItem<uint64_t>(result.offsets(), pool + 1);
    for (auto i = ColumnItem<uint64_t>(result.offsets(), pool); i < last; ++i) {
      const auto id = ColumnItem<uint64_t>(result.ids(), i);
      const auto score = ColumnItem<double>(result.scores(), i);
      const auto p = ColumnItem<double>(result.probabilities(), i);
      table.Add({absl::StrCat(partitions[pool]), absl::StrCat(id), HumanNumber(score), HumanNumber(p),
                 ValueText(result.values(), i, Vocabulary())});
      chosen.push_back({{"id", id}, {"score", score}, {"p", p}, {"value", ValueJson(result.values(), i)},
                        {"label", ColumnItem<int64_t>(result.labels(), i)},
                        {"source", ColumnItem<uint64_t>(result.sources(), i)},
                        {"position", ColumnItem<uint64_t>(result.positions(), i)}});
    }
    pools.push_back({{"partition", partitions[pool]}, {"size", ColumnItem<uint64_t>(result.pool_sizes(), pool)},
                     {"chosen", std::move(chosen)}});
  }
  if (session.json()) {
    session.PrintJson({{"pools", std::move(pools)}});
  } else {
    session.Print(table.ToString());
  }
  return absl::OkStatus();
}

}  // namespace

void AddSelect(Command app, Action& action) {
  Command verb = app.AddVerb("select", "Choose entries of each partition by their scores", kQuestions,
                             "  mneme select candidates --partition 7\n"
                             "  mneme select candidates --all-partitions --mode softmax --temperature 2 --seed 5 -n 3");
  auto options = std::make_shared<SelectOptions>();
  verb.AddOption("memory", options->memory, "The memory's name").Required().Type("");
  verb.AddOption("--mode", options->mode, "By score, or drawn").ShowDefault().OneOf({"argmax", "softmax"});
  verb.AddOption("--temperature", options->temperature, "tau of the draws").Type("T").ShowDefault()
      .Range(limits::kMinTemperature, limits::kMaxTemperature);
  verb.AddOption("--seed", options->seed, "Of the draws").Type("N").ShowDefault();
  verb.AddOption("-n", options->n, "Entries of each pool").Type("N").ShowDefault().Range(1U, limits::kMaxK);
  AddSelectionOptions(verb, options->selection);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Select(*options, session); };
  });
}

}  // namespace mneme::cli
