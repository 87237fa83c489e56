// `mneme centroids`: one vector for each label (Neural Priming).
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/exit_code.h"
#include "client/cli/selection.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct CentroidsOptions {
  std::string memory;
  Selection selection;
  std::vector<int64_t> labels;
  bool mean = false;
  std::string rows;  // a file
  double mix_weight = 0.5;
  std::string keys;  // a file; empty: of all entries
  uint32_t k = 10;
  Accuracy accuracy;
  std::string out;        // files
  std::string mixed_out;
};

absl::StatusOr<v1::QueryRequest> CentroidsRequest(const CentroidsOptions& options,
                                                  const v1::MemoryDescription& memory) {
  v1::QueryRequest request;
  request.set_memory(options.memory);
  *request.mutable_partitions() = options.selection.ToPartitions();
  if (options.selection.HasFilter()) {
    ASSIGN_OR_RETURN(*request.mutable_filter(), options.selection.ToFilter());
  }
  if (!options.keys.empty()) {
    ASSIGN_OR_RETURN(const NpyFile keys, OpenKeys(options.keys, options.memory, memory.dimension()));
    if (keys.rows() > limits::kMaxQueryRows) {
      return absl::InvalidArgumentError(absl::StrCat("--keys ", options.keys, " has ", keys.rows(),
                                                     " rows; must have at most ", limits::kMaxQueryRows));
    }
    *request.mutable_keys() = KeyRows(keys, 0, keys.rows());
    request.set_k(options.k);
    *request.mutable_search() = options.accuracy.ToSearchParams();
  }
  v1::CentroidsReadOut& read_out = *request.mutable_centroids();
  read_out.set_labels(PackColumn(options.labels));
  read_out.set_mean(options.mean);
  if (options.rows.empty()) return request;
  ASSIGN_OR_RETURN(const NpyFile rows, OpenKeys(options.rows, options.memory, memory.dimension()));
  if (rows.rows() != options.labels.size()) {
    return UsageError(absl::StrCat("--rows ", options.rows, " has ", rows.rows(), " rows, but --labels names ",
                                   options.labels.size(), "; each label has one row"));
  }
  *read_out.mutable_rows() = KeyRows(rows, 0, rows.rows());
  read_out.set_mix_weight(options.mix_weight);
  return request;
}

void Print(const v1::CentroidsResult& result, Session& session) {
  const std::vector<int64_t> labels = UnpackColumn<int64_t>(result.labels());
  Json list = Json::array();
  Table table({"LABEL", "ENTRIES", ""});
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto count = ColumnItem<uint64_t>(result.counts(), i);
    const bool zero = ColumnItem<uint8_t>(result.zero(), i) != 0;
    table.Add({absl::StrCat(labels[i]), HumanCount(count), zero ? "zero" : ""});
    Json each = {{"label", labels[i]}, {"entries", count}, {"zero", zero},
                 {"centroid", MatrixRow<double>(result.centroids(), i, labels.size())}};
    if (!result.mixed().empty()) each["mixed"] = MatrixRow<double>(result.mixed(), i, labels.size());
    list.push_back(std::move(each));
  }
  if (session.json()) {
    session.PrintJson({{"centroids", std::move(list)}});
  } else {
    session.Print(table.ToString());
  }
}

absl::Status Centroids(const CentroidsOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(options.memory));
  ASSIGN_OR_RETURN(const v1::QueryRequest request, CentroidsRequest(options, memory));
  ASSIGN_OR_RETURN(const v1::QueryResponse response, session.memory().Query(request));
  const v1::CentroidsResult& result = response.centroids();
  if (!options.out.empty()) {
    RETURN_IF_ERROR(WriteArray(options.out, NpyDtype::kF64, memory.dimension(), result.centroids()));
  }
  if (!options.mixed_out.empty()) {
    RETURN_IF_ERROR(WriteArray(options.mixed_out, NpyDtype::kF64, memory.dimension(), result.mixed()));
  }
  Print(result, session);
  return absl::OkStatus();
}

}  // namespace

void AddCentroids(Command app, Action& action) {
  Command verb = app.AddVerb("centroids", "Sum the keys of each label to one vector", kQuestions,
                             "  mneme centroids images --labels 0,1,2 --rows text.npy --mix-weight 0.7 -o json\n"
                             "  mneme centroids images --keys targets.npy -k 10 --exact --out centroids.npy");
  auto options = std::make_shared<CentroidsOptions>();
  verb.AddOption("memory", options->memory, "The memory's name").Required().Type("");
  verb.AddOption("--labels", options->labels, "The labels wanted, in this order; else all").Commas().Type("N,..");
  verb.AddFlag("--mean", options->mean, "The mean instead of the unit vector of the sum");
  verb.AddOption("--rows", options->rows, "A row for each label, mixed with its centroid").Type("FILE.npy");
  verb.AddOption("--mix-weight", options->mix_weight, "Of these rows").Type("ALPHA").ShowDefault()
      .Range(0.0, 1.0).Needs("--rows");
  verb.AddOption("--out", options->out, "Where the centroids go too, f64 [labels x dimension]").Type("FILE.npy");
  verb.AddOption("--mixed-out", options->mixed_out, "Where the mixed rows go too, f64").Type("FILE.npy")
      .Needs("--rows");
  verb.AddOption("--keys", options->keys, "Only what is among the K nearest of any of these")
      .Type("FILE.npy").Group("Which entries");
  verb.AddOption("-k", options->k, "K").Type("K").ShowDefault().Range(1U, limits::kMaxK)
      .Needs("--keys").Group("Which entries");
  AddSelectionOptions(verb, options->selection);
  AddAccuracyOptions(verb, options->accuracy);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Centroids(*options, session); };
  });
}

}  // namespace mneme::cli
