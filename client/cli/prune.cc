// `mneme prune`: merges entries that say the same as a near neighbour.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/exit_code.h"
#include "client/cli/progress.h"
#include "client/cli/selection.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct PruneOptions {
  std::string memory;
  uint32_t neighbours = 9;
  uint64_t partition = 0;
  bool dry_run = false;
  Accuracy accuracy;
  std::string keys;
  std::string targets;
  std::string lm_log_probs;
  uint32_t k = 0;
  double temperature = 1;
  double lambda = 0;
  double max_rise = 0;
};

absl::StatusOr<v1::PruneGuard> ReadGuard(const PruneOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(options.memory));
  ASSIGN_OR_RETURN(const NpyFile keys, OpenKeys(options.keys, options.memory, memory.dimension()));
  if (keys.rows() > limits::kMaxGuardQueries) {
    return absl::InvalidArgumentError(absl::StrCat(options.keys, ": has ", keys.rows(), " rows; a guard takes at most ",
                                                   limits::kMaxGuardQueries));
  }
  ASSIGN_OR_RETURN(const NpyFile targets, OpenColumn(options.targets, keys.rows()));
  const uint64_t any_token = uint64_t{1} << 32;
  RETURN_IF_ERROR(
      CheckRange(targets, "token", memory.vocabulary_size() > 0 ? memory.vocabulary_size() : any_token));
  ASSIGN_OR_RETURN(const NpyFile lm_log_probs, OpenColumn(options.lm_log_probs, keys.rows()));
  v1::PruneGuard guard;
  *guard.mutable_keys() = KeyRows(keys, 0, keys.rows());
  guard.set_targets(ColumnRows<uint32_t>(targets, 0, keys.rows()));
  guard.set_lm_log_probs(ColumnRows<float>(lm_log_probs, 0, keys.rows()));
  guard.set_k(options.k);
  guard.set_temperature(options.temperature);
  guard.set_knn_weight(options.lambda);
  guard.set_max_perplexity_rise(options.max_rise);
  return guard;
}

void Report(const PruneOptions& options, const v1::PruneMemoryResponse& pruned, double seconds, Session& session) {
  const uint64_t kept = pruned.entries() - pruned.merged();
  if (session.json()) {
    Json document = {{"entries", pruned.entries()},     {"kept", kept},
                     {"merged", pruned.merged()},       {"overtaken", pruned.overtaken()},
                     {"dry_run", options.dry_run},      {"seconds", seconds},
                     {"perplexity_before", nullptr},    {"perplexity_after", nullptr}};
    if (pruned.has_perplexity_before()) document["perplexity_before"] = pruned.perplexity_before();
    if (pruned.has_perplexity_after()) document["perplexity_after"] = pruned.perplexity_after();
    return session.PrintJson(document);
  }
  Table table({});
  table.Add({"entries", HumanCount(pruned.entries())});
  table.Add({options.dry_run ? "would be merged" : "merged", HumanCount(pruned.merged())});
  table.Add({options.dry_run ? "would be kept" : "kept", HumanCount(kept)});
  if (pruned.overtaken() > 0) table.Add({"overtaken by writes", HumanCount(pruned.overtaken())});
  if (pruned.has_perplexity_before()) {
    table.Add({"perplexity", absl::StrFormat("%.4f before, %.4f after", pruned.perplexity_before(),
                                             pruned.perplexity_after())});
  }
  session.Print(table.ToString());
}

absl::Status Prune(const PruneOptions& options, Session& session) {
  v1::PruneMemoryRequest request;
  request.set_memory(options.memory);
  request.set_neighbours(options.neighbours);
  request.set_partition(options.partition);
  request.set_dry_run(options.dry_run);
  *request.mutable_search() = options.accuracy.ToSearchParams();
  if (!options.keys.empty()) {
    if (options.targets.empty() || options.lm_log_probs.empty() || options.k == 0) {
      return UsageError("--keys makes a guard, which needs --targets, --lm-logprobs and -k");
    }
    ASSIGN_OR_RETURN(*request.mutable_guard(), ReadGuard(options, session));
  } else if (!options.targets.empty() || !options.lm_log_probs.empty()) {
    return UsageError("--targets and --lm-logprobs are of a guard, which needs --keys");
  }
  Progress progress(session.live(), "prune " + options.memory, "entries", 0);
  ASSIGN_OR_RETURN(const v1::PruneMemoryResponse pruned,
                   session.admin().PruneMemory(request, [&](const v1::PruneMemoryResponse& step) {
                     progress.SetLine(absl::StrFormat("prune %s  %-9s  %s of %s  %s", options.memory, step.stage(),
                                                      HumanCount(step.entries_done()), HumanCount(step.entries_total()),
                                                      HumanSeconds(progress.seconds())));
                     return true;
                   }));
  Report(options, pruned, progress.seconds(), session);
  return absl::OkStatus();
}

void AddGuardOptions(Command verb, PruneOptions& options) {
  constexpr char kGroup[] = "Guard: refuse to lose more than so much";
  verb.AddOption("--keys", options.keys, "Queries of text that the memory did not see").Type("FILE.npy")
      .Group(kGroup);
  verb.AddOption("--targets", options.targets, "The token that really came, one for each key").Type("FILE.npy")
      .Group(kGroup);
  verb.AddOption("--lm-logprobs", options.lm_log_probs, "ln p of it by the language model alone")
      .Type("FILE.npy").Group(kGroup);
  verb.AddOption("-k", options.k, "Neighbours").Type("K").Range(1U, limits::kMaxK).Group(kGroup);
  verb.AddOption("--temperature", options.temperature, "T of exp(score / T)").Type("T").ShowDefault()
      .Range(limits::kMinTemperature, limits::kMaxTemperature).Group(kGroup);
  verb.AddOption("--lambda", options.lambda, "Weight of the memory in the mix, below 1").Type("L")
      .Range(0.0, 1.0).Group(kGroup);
  verb.AddOption("--max-rise", options.max_rise, "By how much the perplexity may rise").Type("P")
      .ShowDefault().NonNegative().Group(kGroup);
}

}  // namespace

void AddPrune(Command app, Action& action) {
  Command verb = app.AddVerb("prune", "Merge redundant entries into near neighbours of the same value", kMemories,
                             "  mneme prune wiki --dry-run\n"
                             "  mneme prune wiki --keys q.npy --targets t.npy --lm-logprobs lp.npy \\\n"
                             "      -k 1024 --temperature 10 --lambda 0.25 --max-rise 0.1");
  auto options = std::make_shared<PruneOptions>();
  verb.AddOption("memory", options->memory, "The memory's name").Required().Type("");
  verb.AddOption("--neighbours", options->neighbours, "Neighbours that an entry is compared with").Type("N")
      .ShowDefault().Range(1U, limits::kMaxPruneNeighbours);
  verb.AddOption("--partition", options->partition, "Of this partition").Type("P").ShowDefault();
  verb.AddFlag("--dry-run", options->dry_run, "Tell what would be merged, and write nothing");
  AddAccuracyOptions(verb, options->accuracy);
  AddGuardOptions(verb, *options);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Prune(*options, session); };
  });
}

}  // namespace mneme::cli
