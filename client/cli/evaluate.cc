// `mneme evaluate`: one search at the largest k serves the whole grid of k x temperature x lambda.
#include "client/cli/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/exit_code.h"
#include "client/cli/first_id.h"
#include "client/cli/model_rows.h"
#include "client/cli/ordered.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {

v1::DistributionReadOut GridReadOut(const EvaluateOptions& options, const NpyFile& targets, uint64_t first,
                                    uint64_t count) {
  v1::DistributionReadOut read_out;
  for (const double temperature : options.temperatures) read_out.add_temperatures(temperature);
  for (const uint32_t k : options.ks) read_out.add_ks(k);
  read_out.set_targets(ColumnRows<uint32_t>(targets, first, count));
  return read_out;
}

absl::Status AddAnswer(const EvaluateInput& input, const v1::DistributionResult& result, uint64_t first,
                       uint64_t count, const EvaluateOptions& options, Evaluation& evaluation) {
  const size_t cells = options.ks.size() * options.temperatures.size();
  const std::vector<double> log_probs = UnpackColumn<double>(result.target_log_probs());
  if (log_probs.size() != cells * count) {
    return absl::InternalError(
        absl::StrCat("the answer has ", log_probs.size(), " log-probabilities; ", cells * count, " were asked for"));
  }
  for (uint64_t row = 0; row < count; ++row) {
    evaluation.Add(input.lm_log_probs.NumberAt(first + row), ColumnItem<uint32_t>(result.found(), row) > 0,
                   log_probs.data() + row * cells);
  }
  return absl::OkStatus();
}

namespace {

absl::Status EvaluateBatches(const EvaluateOptions& options, const EvaluateInput& input, Session& session,
                             Evaluation& evaluation) {
  const QueryPlan& plan = input.plan;
  Progress progress(session.live(), "evaluate " + options.search.memory, "tokens", plan.rows());
  const auto fetch = [&](size_t batch) {
    const uint64_t first = plan.FirstRow(batch);
    v1::QueryRequest request = plan.Request(first, plan.RowCount(batch));
    *request.mutable_distribution() = GridReadOut(options, input.targets, first, plan.RowCount(batch));
    return session.memory().Query(request);
  };
  return RunInOrder<v1::QueryResponse>(plan.batches(), fetch, [&](size_t batch, v1::QueryResponse response) {
    RETURN_IF_ERROR(AddAnswer(input, response.distribution(), plan.FirstRow(batch), plan.RowCount(batch), options,
                              evaluation));
    progress.Set(plan.FirstRow(batch) + plan.RowCount(batch));
    return absl::OkStatus();
  });
}

Json SettingJson(const Setting& setting) {
  return {{"k", setting.k}, {"temperature", setting.temperature}, {"lambda", setting.lambda}};
}

Json ReportJson(const Evaluation& evaluation, double tokens_per_second) {
  Json grid = Json::array();
  for (size_t i = 0; i < evaluation.settings().size(); ++i) {
    Json point = SettingJson(evaluation.settings()[i]);
    point["perplexity"] = evaluation.Perplexity(i);
    grid.push_back(std::move(point));
  }
  Json best = nullptr;
  if (const auto held_out = evaluation.BestOnFirstHalf()) {
    best = SettingJson(held_out->setting);
    best["perplexity_first_half"] = held_out->perplexity_first_half;
    best["perplexity"] = held_out->perplexity;
    best["perplexity_lm"] = held_out->perplexity_lm;
  }
  return {{"tokens", evaluation.tokens()},
          {"perplexity_lm", evaluation.PerplexityLm()},
          {"perplexity", std::move(grid)},
          {"best_on_first_half", std::move(best)},
          {"tokens_per_second", tokens_per_second}};
}

std::string ReportText(const Evaluation& evaluation, double tokens_per_second) {
  Table table({"K", "TEMPERATURE", "LAMBDA", "PERPLEXITY"});
  for (size_t i = 0; i < evaluation.settings().size(); ++i) {
    const Setting& setting = evaluation.settings()[i];
    table.Add({absl::StrCat(setting.k), HumanNumber(setting.temperature), HumanNumber(setting.lambda),
               absl::StrFormat("%.4f", evaluation.Perplexity(i))});
  }
  std::string text = absl::StrFormat("%s tokens, %.0f tokens/s; perplexity of the language model alone: %.4f\n",
                                     HumanCount(evaluation.tokens()), tokens_per_second, evaluation.PerplexityLm());
  text += table.ToString();
  if (const auto best = evaluation.BestOnFirstHalf(); best && evaluation.settings().size() > 1) {
    text += absl::StrFormat("best on the first half: k %d, temperature %g, lambda %g; on the second half %.4f, "
                            "the language model alone %.4f\n",
                            best->setting.k, best->setting.temperature, best->setting.lambda, best->perplexity,
                            best->perplexity_lm);
  }
  return text;
}

absl::Status WriteNats(const std::string& path, const std::vector<double>& nats) {
  ASSIGN_OR_RETURN(NpyWriter writer, NpyWriter::Create(path, NpyDtype::kF64));
  RETURN_IF_ERROR(writer.AppendItems(nats));
  return writer.Finish();
}

// Sorts the grid's axes and refuses what the server would refuse, before any file is read.
absl::Status CheckGrid(EvaluateOptions& options) {
  std::sort(options.ks.begin(), options.ks.end());
  options.ks.erase(std::unique(options.ks.begin(), options.ks.end()), options.ks.end());
  const size_t cells = options.ks.size() * options.temperatures.size();
  if (cells > limits::kMaxDistributionCells) {
    return UsageError(absl::StrCat("the grid has ", cells, " cells of k x temperature; must be at most ",
                                   limits::kMaxDistributionCells));
  }
  const bool online_only = !options.first_id.empty() || !options.sources.empty() || !options.labels.empty() ||
                           !options.positions.empty();
  if (online_only && !options.online) {
    return UsageError("--first-id, --sources, --labels and --positions are for --online");
  }
  if (options.online && (options.search.selection.partitions.size() > 1 || options.search.selection.all_partitions)) {
    return UsageError("--online inserts into one partition; give at most one --partition");
  }
  return absl::OkStatus();
}

absl::StatusOr<EvaluateInput> OpenInput(const EvaluateOptions& options, const v1::MemoryDescription& memory) {
  if (memory.value_kind() != v1::VALUE_KIND_TOKEN) {
    return absl::InvalidArgumentError(absl::StrCat("memory \"", memory.name(), "\" has ",
                                                   ValueWord(memory.value_kind()), " values; evaluate needs tokens"));
  }
  ASSIGN_OR_RETURN(QueryPlan plan, QueryPlan::New(options.search, memory.dimension(), options.ks.back(), 0));
  ASSIGN_OR_RETURN(NpyFile targets, OpenTargets(options.targets, memory, plan.rows()));
  ASSIGN_OR_RETURN(NpyFile lm_log_probs, OpenTargetLogProbs(options.lm_log_probs, plan.rows()));
  return EvaluateInput{std::move(plan), std::move(targets), std::move(lm_log_probs)};
}

absl::Status Evaluate(EvaluateOptions options, Session& session) {
  RETURN_IF_ERROR(CheckGrid(options));
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(options.search.memory));
  ASSIGN_OR_RETURN(const EvaluateInput input, OpenInput(options, memory));
  Evaluation evaluation(options.ks, options.temperatures, options.lambdas);
  const auto start = std::chrono::steady_clock::now();
  if (options.online) {
    RETURN_IF_ERROR(EvaluateOnline(options, input, session, evaluation));
  } else {
    RETURN_IF_ERROR(EvaluateBatches(options, input, session, evaluation));
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double tokens_per_second = static_cast<double>(evaluation.tokens()) / std::max(seconds, 1e-9);
  if (!options.out.empty()) RETURN_IF_ERROR(WriteNats(options.out, evaluation.Nats(evaluation.Best())));
  if (session.json()) {
    session.PrintJson(ReportJson(evaluation, tokens_per_second));
  } else {
    session.Print(ReportText(evaluation, tokens_per_second));
  }
  return absl::OkStatus();
}

void AddGridOptions(Command verb, EvaluateOptions& options) {
  verb.AddOption("--targets", options.targets, "The token that really came, one for each key")
      .Required().Type("FILE.npy");
  verb.AddOption("--lm-logprobs", options.lm_log_probs, "ln p of it by the language model alone")
      .Required().Type("FILE.npy");
  verb.AddOption("-k", options.ks, "Neighbours; several make a grid").Required().Commas()
      .Type("K[,K]").Range(1U, limits::kMaxK);
  verb.AddOption("--temperature", options.temperatures, "T of exp(score / T)").Required().Commas()
      .Type("T[,T]").Range(limits::kMinTemperature, limits::kMaxTemperature);
  verb.AddOption("--lambda", options.lambdas, "Weight of the memory in the mix").Required().Commas()
      .Type("L[,L]").Range(0.0, 1.0);
  verb.AddOption("--out", options.out, "Write ln p of each token under the best setting").Type("FILE.npy");
}

void AddOnlineOptions(Command verb, EvaluateOptions& options) {
  constexpr char kGroup[] = "Predict, then learn";
  verb.AddFlag("--online", options.online, "Insert each token after it was predicted").Group(kGroup);
  verb.AddOption("--first-id", options.first_id, "Id of the first (default: after the largest)")
      .Type("ID").Check(IsFirstId, kFirstIdBound).Group(kGroup);
  verb.AddOption("--sources", options.sources, "Sources of what is inserted").Type("FILE.npy").Group(kGroup);
  verb.AddOption("--labels", options.labels, "Labels of what is inserted").Type("FILE.npy").Group(kGroup);
  verb.AddOption("--positions", options.positions, "Positions of what is inserted").Type("FILE.npy").Group(kGroup);
  verb.AddOption("--durability", options.durability, "written (default) or sync").Type("LEVEL")
      .OneOf({"written", "sync"}).Group(kGroup);
}

}  // namespace

void AddEvaluate(Command app, Action& action) {
  Command verb = app.AddVerb("evaluate", "Perplexity with the memory and without", kQuestions,
                             "  mneme evaluate wiki --keys q.npy --targets t.npy --lm-logprobs lp.npy \\\n"
                             "      -k 64,1024 --temperature 5,7,10 --lambda 0.1,0.2,0.3 --exact\n"
                             "  mneme evaluate empty --keys q.npy --targets t.npy --lm-logprobs lp.npy \\\n"
                             "      -k 1024 --temperature 7 --lambda 0.3 --online --sources article.npy");
  auto options = std::make_shared<EvaluateOptions>();
  AddSearchOptions(verb, options->search);
  AddGridOptions(verb, *options);
  AddOnlineOptions(verb, *options);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Evaluate(*options, session); };
  });
}

}  // namespace mneme::cli
