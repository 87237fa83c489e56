// `mneme centroids`, `mneme match` and `mneme select`: read-outs of entries rather than of the nearest ones.
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

v1::QueryRequest SelectionRequest(const std::string& memory, const Selection& selection) {
  v1::QueryRequest request;
  request.set_memory(memory);
  *request.mutable_partitions() = selection.ToPartitions();
  if (selection.HasFilter()) *request.mutable_filter() = selection.ToFilter();
  return request;
}

// Row `row` of a matrix of `rows` rows of f64.
std::vector<double> MatrixRow(const std::string& column, size_t row, size_t rows) {
  const size_t width = column.size() / sizeof(double) / rows;
  std::vector<double> out(width);
  for (size_t i = 0; i < width; ++i) out[i] = ColumnItem<double>(column, row * width + i);
  return out;
}

// --- centroids ---

struct CentroidsOptions {
  std::string memory;
  Selection selection;
  std::vector<int64_t> labels;
  bool mean = false;
  std::string rows;  // a file
  double mix_weight = 0.5;
};

absl::Status Centroids(const CentroidsOptions& options, Session& session) {
  v1::QueryRequest request = SelectionRequest(options.memory, options.selection);
  v1::CentroidsReadOut* read_out = request.mutable_centroids();
  read_out->set_labels(PackColumn(options.labels));
  read_out->set_mean(options.mean);
  if (!options.rows.empty()) {
    ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(options.memory));
    ASSIGN_OR_RETURN(const NpyFile rows, OpenKeys(options.rows, options.memory, memory.dimension()));
    *read_out->mutable_rows() = KeyRows(rows, 0, rows.rows());
    read_out->set_mix_weight(options.mix_weight);
  }
  ASSIGN_OR_RETURN(const v1::QueryResponse response, session.memory().Query(request));
  const v1::CentroidsResult& result = response.centroids();
  const std::vector<int64_t> labels = UnpackColumn<int64_t>(result.labels());
  Json list = Json::array();
  Table table({"LABEL", "ENTRIES", ""});
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto count = ColumnItem<uint64_t>(result.counts(), i);
    const bool zero = ColumnItem<uint8_t>(result.zero(), i) != 0;
    table.Add({absl::StrCat(labels[i]), HumanCount(count), zero ? "zero" : ""});
    Json each = {{"label", labels[i]}, {"entries", count}, {"zero", zero},
                 {"centroid", MatrixRow(result.centroids(), i, labels.size())}};
    if (!result.mixed().empty()) each["mixed"] = MatrixRow(result.mixed(), i, labels.size());
    list.push_back(std::move(each));
  }
  if (session.json()) {
    session.PrintJson({{"centroids", std::move(list)}});
  } else {
    session.Print(table.ToString());
  }
  return absl::OkStatus();
}

// --- match ---

struct MatchOptions {
  std::string memory;
  std::string source;
  Selection selection;
  std::vector<uint64_t> source_partitions;
  std::vector<uint64_t> source_ids;
  uint32_t csls_k = 10;
  std::string form = "half";
};

absl::Status Match(const MatchOptions& options, Session& session) {
  v1::QueryRequest request = SelectionRequest(options.memory, options.selection);
  v1::MatchReadOut* read_out = request.mutable_match();
  read_out->set_source_memory(options.source);
  for (const uint64_t partition : options.source_partitions) {
    read_out->mutable_source_partitions()->add_partitions(partition);
  }
  read_out->set_source_ids(PackColumn(options.source_ids));
  read_out->set_csls_k(options.csls_k);
  read_out->set_form(options.form == "muse" ? v1::CSLS_FORM_MUSE : v1::CSLS_FORM_HALF);
  ASSIGN_OR_RETURN(const v1::QueryResponse response, session.memory().Query(request));
  const v1::MatchResult& result = response.match();
  const std::vector<uint64_t> sources = UnpackColumn<uint64_t>(result.source_ids());
  Json pairs = Json::array();
  Table table({"SOURCE", "TARGET", "CSLS", ""});
  for (size_t i = 0; i < sources.size() && !result.best_targets().empty(); ++i) {
    const auto target = ColumnItem<uint64_t>(result.target_ids(), ColumnItem<uint32_t>(result.best_targets(), i));
    const auto score = ColumnItem<double>(result.target_scores(), i);
    const bool mutual = ColumnItem<uint8_t>(result.mutual(), i) != 0;
    table.Add({absl::StrCat(sources[i]), absl::StrCat(target), HumanNumber(score), mutual ? "mutual" : ""});
    pairs.push_back({{"source", sources[i]}, {"target", target}, {"score", score}, {"mutual", mutual}});
  }
  if (session.json()) {
    session.PrintJson({{"pairs", std::move(pairs)}, {"source_k", result.source_k()}, {"target_k", result.target_k()}});
  } else {
    session.Print(table.ToString());
  }
  return absl::OkStatus();
}

// --- select ---

struct SelectOptions {
  std::string memory;
  Selection selection;
  std::string mode = "argmax";
  double temperature = 1;
  uint64_t seed = 0;
  uint32_t n = 1;
};

// The value of chosen entry `i` as JSON: a number, or text.
Json ValueJson(const v1::Values& values, size_t i) {
  if (values.has_tokens()) return ColumnItem<uint32_t>(values.tokens(), i);
  if (!values.has_blobs()) return nullptr;
  const auto first = ColumnItem<uint64_t>(values.blobs().offsets(), i);
  const auto last = ColumnItem<uint64_t>(values.blobs().offsets(), i + 1);
  return values.blobs().data().substr(first, last - first);
}

absl::Status Select(const SelectOptions& options, Session& session) {
  v1::QueryRequest request = SelectionRequest(options.memory, options.selection);
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
      const Json value = ValueJson(result.values(), i);
      const std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
      table.Add({absl::StrCat(partitions[pool]), absl::StrCat(id), HumanNumber(score), HumanNumber(p), shown});
      chosen.push_back({{"id", id}, {"score", score}, {"p", p}, {"value", value}});
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

void AddCentroids(CLI::App& app, Action& action) {
  CLI::App* verb = AddVerb(app, "centroids", "Sum the keys of each label to one vector", kQuestions,
                           "  mneme centroids images --labels 0,1,2 -o json\n"
                           "  mneme centroids images --labels 0,1,2 --rows text.npy --mix-weight 0.7 -o json");
  auto options = std::make_shared<CentroidsOptions>();
  verb->add_option("memory", options->memory, "The memory's name")->required()->type_name("");
  verb->add_option("--labels", options->labels, "The labels wanted, in this order; else all")->delimiter(',')
      ->allow_extra_args(false)->type_name("N,..");
  verb->add_flag("--mean", options->mean, "The mean instead of the unit vector of the sum");
  verb->add_option("--rows", options->rows, "A row for each label, mixed with its centroid")->type_name("FILE.npy");
  verb->add_option("--mix-weight", options->mix_weight, "Of these rows")->type_name("ALPHA")->capture_default_str();
  AddSelectionOptions(*verb, options->selection);
  verb->callback([options, &action] {
    action = [options](Session& session) { return Centroids(*options, session); };
  });
}

void AddMatch(CLI::App& app, Action& action) {
  CLI::App* verb = AddVerb(app, "match", "Pair the entries of two memories by CSLS", kQuestions,
                           "  mneme match english --from german\n  mneme match words --from-partition 1 -o json");
  auto options = std::make_shared<MatchOptions>();
  verb->add_option("memory", options->memory, "The target's name")->required()->type_name("");
  verb->add_option("--from", options->source, "The source memory; else the same one")->type_name("NAME");
  verb->add_option("--from-partition", options->source_partitions, "Of the source (repeatable)")->delimiter(',')
      ->allow_extra_args(false)->type_name("N");
  verb->add_option("--from-ids", options->source_ids, "Only these entries of the source")->delimiter(',')
      ->allow_extra_args(false)->type_name("ID");
  verb->add_option("--csls-k", options->csls_k, "Neighbours that correct for hubs; 0: none")->type_name("K")
      ->capture_default_str();
  verb->add_option("--form", options->form, "half: s - (m0 + m1) / 2; muse: twice that")->capture_default_str()
      ->check(CLI::IsMember({"half", "muse"}));
  AddSelectionOptions(*verb, options->selection);
  verb->callback([options, &action] {
    action = [options](Session& session) { return Match(*options, session); };
  });
}

void AddSelect(CLI::App& app, Action& action) {
  CLI::App* verb = AddVerb(app, "select", "Choose entries of each partition by their scores", kQuestions,
                           "  mneme select candidates --partition 7\n"
                           "  mneme select candidates --all-partitions --mode softmax --temperature 2 --seed 5 -n 3");
  auto options = std::make_shared<SelectOptions>();
  verb->add_option("memory", options->memory, "The memory's name")->required()->type_name("");
  verb->add_option("--mode", options->mode, "By score, or drawn")->capture_default_str()
      ->check(CLI::IsMember({"argmax", "softmax"}));
  verb->add_option("--temperature", options->temperature, "tau of the draws")->type_name("T")->capture_default_str()
      ->check(CLI::Range(limits::kMinTemperature, limits::kMaxTemperature));
  verb->add_option("--seed", options->seed, "Of the draws")->type_name("N")->capture_default_str();
  verb->add_option("-n", options->n, "Entries of each pool")->type_name("N")->capture_default_str()
      ->check(CLI::Range(1U, limits::kMaxK));
  AddSelectionOptions(*verb, options->selection);
  verb->callback([options, &action] {
    action = [options](Session& session) { return Select(*options, session); };
  });
}

}  // namespace

void AddReadOuts(CLI::App& app, Action& action) {
  AddCentroids(app, action);
  AddMatch(app, action);
  AddSelect(app, action);
}

}  // namespace mneme::cli
