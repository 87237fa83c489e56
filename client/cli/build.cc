// `mneme build` and `mneme probe`.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/faiss_file.h"
#include "client/cli/progress.h"
#include "client/cli/selection.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/index_choice.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

v1::Vectors RowsOf(const std::vector<float>& rows, uint32_t dimension) {
  v1::Vectors vectors;
  vectors.set_dimension(dimension);
  vectors.set_dtype(v1::DTYPE_F32);
  vectors.set_data(PackColumn(rows));
  return vectors;
}

absl::Status Build(const v1::BuildIndexRequest& request, Session& session) {
  Progress progress(session.live(), "build " + request.memory(), "rows", 0);
  uint64_t rows = 0;
  RETURN_IF_ERROR(session.admin().BuildIndex(request, [&](const v1::BuildIndexResponse& step) {
    // The step that says "done" is no work and counts no rows.
    if (step.stage() != "done") rows = std::max<uint64_t>(rows, step.rows_total());
    progress.SetLine(absl::StrFormat("build %s  %-8s  %s of %s rows  %s", request.memory(), step.stage(),
                                     HumanCount(step.rows_done()), HumanCount(step.rows_total()),
                                     HumanSeconds(progress.seconds())));
    return true;
  }));
  if (session.json()) {
    session.PrintJson({{"rows", rows}, {"seconds", progress.seconds()}});
  } else if (rows == 0) {
    session.Note(absl::StrCat("the index is up to date, after ", HumanSeconds(progress.seconds())));
  } else {
    session.Note(absl::StrCat("built: ", HumanCount(rows), " rows in ", HumanSeconds(progress.seconds())));
  }
  return absl::OkStatus();
}

// Why a memory of index `choice` cannot take the product quantiser of a file; empty when it can.
std::string WhyNotTaken(const FaissTraining& file, const IndexChoice& choice) {
  const CodecChoice wanted{CodecKind::kPq, file.columns, file.bits};
  if (!file.by_residual) return "it codes whole keys, not what parts them from their centroids";
  if (choice.codec == wanted) return "";
  return absl::StrCat("the memory's index is ", FormatIndexChoice(choice));
}

// Adds what a `.faiss` file has that the memory can use: centroids that can sort its keys, and the product quantiser
// when that is the memory's own codec.
absl::Status AddTraining(const std::string& path, Session& session, v1::BuildIndexRequest& request) {
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(request.memory()));
  ASSIGN_OR_RETURN(const FaissTraining file, ReadFaissTraining(path));
  if (file.dimension != memory.dimension()) {
    return absl::InvalidArgumentError(absl::StrCat("memory \"", request.memory(), "\" has dimension ",
                                                   memory.dimension(), ", but ", path, " has ", file.dimension));
  }
  // Cosine is the inner product of unit keys.
  const bool by_distance = memory.metric() == v1::METRIC_L2;
  if (by_distance != (file.metric == v1::METRIC_L2)) {
    return absl::InvalidArgumentError(absl::StrCat("memory \"", request.memory(), "\" compares by ",
                                                   by_distance ? "L2" : "inner product or cosine", ", but ", path,
                                                   " by ", by_distance ? "inner product" : "L2"));
  }
  *request.mutable_centroids() = RowsOf(file.centroids, file.dimension);
  if (file.columns == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const IndexChoice choice, ParseIndexChoice(memory.index(), memory.dimension()));
  const std::string why = WhyNotTaken(file, choice);
  if (why.empty()) {
    *request.mutable_subvectors() = RowsOf(file.subvectors, file.dimension / file.columns);
  } else {
    session.Note(absl::StrCat("the product quantiser of ", path, " (PQ", file.columns, "x", file.bits,
                              ") is left out: ", why, "; its codec is trained anew on these centroids"));
  }
  return absl::OkStatus();
}

struct ProbeOptions {
  std::string memory;
  std::string keys;
  uint32_t k = 10;
  uint32_t sample = 100;
  double temperature = 1;
  Accuracy accuracy;
};

absl::Status Probe(const ProbeOptions& options, Session& session) {
  v1::ProbeRecallRequest request;
  request.set_memory(options.memory);
  request.set_k(options.k);
  *request.mutable_search() = options.accuracy.ToSearchParams();
  request.set_sample(options.sample);
  request.set_temperature(options.temperature);
  if (!options.keys.empty()) {
    ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(options.memory));
    ASSIGN_OR_RETURN(const NpyFile keys, OpenKeys(options.keys, options.memory, memory.dimension()));
    *request.mutable_keys() = KeyRows(keys, 0, std::min<uint64_t>(keys.rows(), options.sample));
  }
  ASSIGN_OR_RETURN(const v1::ProbeRecallResponse probe, session.admin().ProbeRecall(request));
  if (session.json()) {
    session.PrintJson({{"mean_recall", probe.mean_recall()},
                       {"min_recall", probe.min_recall()},
                       {"queries", probe.queries()},
                       {"scanned_share", probe.scanned_share()},
                       {"mean_delta_log_prob", probe.mean_delta_log_prob()},
                       {"max_delta_log_prob", probe.max_delta_log_prob()},
                       {"compared_tokens", probe.compared_tokens()},
                       {"missing_tokens", probe.missing_tokens()},
                       {"missing_mass", probe.missing_mass()}});
    return absl::OkStatus();
  }
  Table table({});
  table.Add({absl::StrCat("mean recall@", options.k), HumanNumber(probe.mean_recall())});
  table.Add({"least", HumanNumber(probe.min_recall())});
  table.Add({"queries", HumanCount(probe.queries())});
  table.Add({"rows scanned", absl::StrFormat("%.2f %%", probe.scanned_share() * 100)});
  if (probe.compared_tokens() > 0) {
    table.Add({"|delta ln p|", absl::StrFormat("mean %.2g nats, greatest %.2g", probe.mean_delta_log_prob(),
                                               probe.max_delta_log_prob())});
    const uint64_t all = probe.missing_tokens() + probe.compared_tokens();
    table.Add({"tokens missed", absl::StrFormat("%s of %s, with %.2g of the probability",
                                                HumanCount(probe.missing_tokens()), HumanCount(all),
                                                probe.missing_mass())});
  }
  session.Print(table.ToString());
  return absl::OkStatus();
}

void AddProbe(Command app, Action& action) {
  Command verb = app.AddVerb("probe", "Measure the recall of approximate search", kMemories,
                             "  mneme probe wiki -k 1024 --recall 0.99\n  mneme probe wiki -k 10 --keys queries.npy");
  auto options = std::make_shared<ProbeOptions>();
  verb.AddOption("memory", options->memory, "The memory's name").Required().Type("");
  verb.AddOption("-k", options->k, "Neighbours").Type("K").ShowDefault().Range(1U, limits::kMaxK);
  verb.AddOption("--keys", options->keys, "Queries; stored keys without").Type("FILE.npy");
  verb.AddOption("--sample", options->sample, "How many queries").Type("N").ShowDefault()
      .Range(1U, static_cast<uint32_t>(limits::kMaxQueryRows));
  verb.AddOption("--temperature", options->temperature, "Tokens: T of the distributions compared").Type("T")
      .ShowDefault().Range(limits::kMinTemperature, limits::kMaxTemperature);
  AddAccuracyOptions(verb, options->accuracy);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Probe(*options, session); };
  });
}

}  // namespace

void AddBuild(Command app, Action& action) {
  Command verb = app.AddVerb("build", "Bring the index up to date now", kMemories,
                             "  mneme build wiki\n  mneme build wiki --retrain\n"
                             "  mneme build wiki --centroids trained.faiss");
  auto name = std::make_shared<std::string>();
  auto retrain = std::make_shared<bool>(false);
  verb.AddOption("memory", *name, "The memory's name").Required().Type("");
  verb.AddFlag("--retrain", *retrain, "Train anew even where nothing asks for it");
  auto centroids = std::make_shared<std::string>();
  verb.AddOption("--centroids", *centroids, "Build on those of a trained FAISS IVFFlat or IVFPQ index")
      .Type("FILE.faiss");
  verb.WhenGiven([name, retrain, centroids, &action] {
    action = [name, retrain, centroids](Session& session) -> absl::Status {
      v1::BuildIndexRequest request;
      request.set_memory(*name);
      request.set_retrain(*retrain);
      if (!centroids->empty()) RETURN_IF_ERROR(AddTraining(*centroids, session, request));
      return Build(request, session);
    };
  });
  AddProbe(app, action);
}

}  // namespace mneme::cli
