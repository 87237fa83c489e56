// `mneme match`: the best counterparts of two memories' entries by CSLS (Coocmap).
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/selection.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct MatchOptions {
  std::string memory;
  std::string source;
  Selection selection;
  std::vector<uint64_t> source_partitions;
  std::vector<uint64_t> source_ids;
  uint32_t csls_k = 10;
  std::string form = "half";
  std::string source_columns;  // files
  std::string target_columns;
  std::string out;  // a folder
};

absl::StatusOr<v1::QueryRequest> MatchRequest(const MatchOptions& options) {
  v1::QueryRequest request;
  request.set_memory(options.memory);
  *request.mutable_partitions() = options.selection.ToPartitions();
  if (options.selection.HasFilter()) {
    ASSIGN_OR_RETURN(*request.mutable_filter(), options.selection.ToFilter());
  }
  v1::MatchReadOut& read_out = *request.mutable_match();
  read_out.set_source_memory(options.source);
  for (const uint64_t partition : options.source_partitions) {
    read_out.mutable_source_partitions()->add_partitions(partition);
  }
  read_out.set_source_ids(PackColumn(options.source_ids));
  read_out.set_csls_k(options.csls_k);
  read_out.set_form(options.form == "muse" ? v1::CSLS_FORM_MUSE : v1::CSLS_FORM_HALF);
  ASSIGN_OR_RETURN(*read_out.mutable_source_columns(), ReadU32Column(options.source_columns, "column"));
  ASSIGN_OR_RETURN(*read_out.mutable_target_columns(), ReadU32Column(options.target_columns, "column"));
  return request;
}

absl::Status WriteMatch(const std::string& folder, const v1::MatchResult& result) {
  RETURN_IF_ERROR(MakeFolder(folder));
  RETURN_IF_ERROR(WriteArray(folder + "/source_ids.npy", NpyDtype::kU64, 0, result.source_ids()));
  RETURN_IF_ERROR(WriteArray(folder + "/target_ids.npy", NpyDtype::kU64, 0, result.target_ids()));
  RETURN_IF_ERROR(WriteArray(folder + "/best_targets.npy", NpyDtype::kU32, 0, result.best_targets()));
  RETURN_IF_ERROR(WriteArray(folder + "/best_sources.npy", NpyDtype::kU32, 0, result.best_sources()));
  RETURN_IF_ERROR(WriteArray(folder + "/target_scores.npy", NpyDtype::kF64, 0, result.target_scores()));
  RETURN_IF_ERROR(WriteArray(folder + "/source_scores.npy", NpyDtype::kF64, 0, result.source_scores()));
  RETURN_IF_ERROR(WriteArray(folder + "/source_means.npy", NpyDtype::kF64, 0, result.source_means()));
  RETURN_IF_ERROR(WriteArray(folder + "/target_means.npy", NpyDtype::kF64, 0, result.target_means()));
  return WriteArray(folder + "/mutual.npy", NpyDtype::kU8, 0, result.mutual());
}

// Pairs of one side: for each entry the best of the other.
Json BackwardJson(const v1::MatchResult& result) {
  Json pairs = Json::array();
  const std::vector<uint64_t> targets = UnpackColumn<uint64_t>(result.target_ids());
  for (size_t i = 0; i < targets.size() && !result.best_sources().empty(); ++i) {
    const auto row = ColumnItem<uint32_t>(result.best_sources(), i);
    pairs.push_back({{"target", targets[i]}, {"source", ColumnItem<uint64_t>(result.source_ids(), row)},
                     {"score", ColumnItem<double>(result.source_scores(), i)},
                     {"mean", ColumnItem<double>(result.target_means(), i)}});
  }
  return pairs;
}

absl::Status Match(const MatchOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const v1::QueryRequest request, MatchRequest(options));
  ASSIGN_OR_RETURN(const v1::QueryResponse response, session.memory().Query(request));
  const v1::MatchResult& result = response.match();
  if (!options.out.empty()) RETURN_IF_ERROR(WriteMatch(options.out, result));
  const std::vector<uint64_t> sources = UnpackColumn<uint64_t>(result.source_ids());
  Json pairs = Json::array();
  Table table({"SOURCE", "TARGET", "CSLS", ""});
  for (size_t i = 0; i < sources.size() && !result.best_targets().empty(); ++i) {
    const auto target = ColumnItem<uint64_t>(result.target_ids(), ColumnItem<uint32_t>(result.best_targets(), i));
    const auto score = ColumnItem<double>(result.target_scores(), i);
    const bool mutual = ColumnItem<uint8_t>(result.mutual(), i) != 0;
    table.Add({absl::StrCat(sources[i]), absl::StrCat(target), HumanNumber(score), mutual ? "mutual" : ""});
    pairs.push_back({{"source", sources[i]}, {"target", target}, {"score", score}, {"mutual", mutual},
                     {"mean", ColumnItem<double>(result.source_means(), i)}});
  }
  if (session.json()) {
    session.PrintJson({{"pairs", std::move(pairs)}, {"source_k", result.source_k()}, {"target_k", result.target_k()},
                       {"backward", BackwardJson(result)}});
  } else {
    session.Print(table.ToString());
  }
  return absl::OkStatus();
}

}  // namespace

void AddMatch(Command app, Action& action) {
  Command verb = app.AddVerb("match", "Pair the entries of two memories by CSLS", kQuestions,
                             "  mneme match english --from german\n  mneme match words --from-partition 1 -o json");
  auto options = std::make_shared<MatchOptions>();
  verb.AddOption("memory", options->memory, "The target's name").Required().Type("");
  verb.AddOption("--from", options->source, "The source memory; else the same one").Type("NAME");
  verb.AddOption("--from-partition", options->source_partitions, "Of the source (repeatable)").Commas().Type("N");
  verb.AddOption("--from-ids", options->source_ids, "Only these entries of the source").Commas().Type("ID");
  verb.AddOption("--csls-k", options->csls_k, "Neighbours that correct for hubs; 0: none").Type("K").ShowDefault();
  verb.AddOption("--form", options->form, "half: s - (m0 + m1) / 2; muse: twice that").ShowDefault()
      .OneOf({"half", "muse"});
  const Option columns =
      verb.AddOption("--source-columns", options->source_columns,
                     "Components of the source's keys that are compared, in pairs with")
          .Type("FILE.npy");
  verb.AddOption("--target-columns", options->target_columns, "those of the target's")
      .Type("FILE.npy").Needs("--source-columns");
  columns.Needs("--target-columns");
  verb.AddOption("--out", options->out, "Where source_ids.npy, best_targets.npy, target_scores.npy, .. go")
      .Type("FOLDER");
  AddSelectionOptions(verb, options->selection);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Match(*options, session); };
  });
}

}  // namespace mneme::cli
