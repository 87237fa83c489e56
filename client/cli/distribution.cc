// `mneme distribution`: what the neighbours say comes next.
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/answer.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/mix.h"
#include "client/cli/model_rows.h"
#include "client/cli/ordered.h"
#include "client/cli/progress.h"
#include "client/cli/selection.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct DistributionOptions {
  SearchOptions search;
  uint32_t k = 1024;
  double temperature = 1;
  uint32_t top = 0;
  std::string allowed;  // a file
  ModelFiles model;
  bool features = false;
  bool statistics = false;
};

// What adaptive combiners look at: the distance of each neighbour, and how many tokens there are up to and with it.
void AddFeatures(const v1::DistributionResult& result, size_t row, Json& json) {
  json["distances"] = Json::array();
  json["distinct"] = Json::array();
  const auto last = ColumnItem<uint64_t>(result.feature_offsets(), row + 1);
  for (auto i = ColumnItem<uint64_t>(result.feature_offsets(), row); i < last; ++i) {
    json["distances"].push_back(ColumnItem<double>(result.feature_distances(), i));
    json["distinct"].push_back(ColumnItem<uint32_t>(result.feature_distinct(), i));
  }
  json["log_total_mass"] = ColumnItem<double>(result.log_total_mass(), row);
}

// Of a target: ln p, null where it is minus infinity.
Json TargetJson(const v1::DistributionResult& result, size_t row, uint32_t token, const Vocabulary& vocabulary) {
  const auto log_prob = ColumnItem<double>(result.target_log_probs(), row);
  Json json = {{"target", token}, {"log_prob", std::isfinite(log_prob) ? Json(log_prob) : Json()}};
  if (!vocabulary.empty()) json["text"] = vocabulary.Text(token);
  return json;
}

Json RowJson(const v1::DistributionResult& result, size_t row, const Vocabulary& vocabulary) {
  Json tokens = Json::array();
  Json probabilities = Json::array();
  Json texts = Json::array();
  const auto last = ColumnItem<uint64_t>(result.offsets(), row + 1);
  for (auto i = ColumnItem<uint64_t>(result.offsets(), row); i < last; ++i) {
    const auto token = ColumnItem<uint32_t>(result.tokens(), i);
    tokens.push_back(token);
    probabilities.push_back(std::exp(ColumnItem<double>(result.log_probs(), i)));
    if (!vocabulary.empty()) texts.push_back(vocabulary.Text(token));
  }
  Json json = {{"tokens", std::move(tokens)}, {"probs", std::move(probabilities)}};
  if (!vocabulary.empty()) json["texts"] = std::move(texts);
  return json;
}

std::string TargetText(const v1::DistributionResult& result, size_t row, uint32_t token,
                       const Vocabulary& vocabulary) {
  return absl::StrCat("  ln p = ", HumanNumber(ColumnItem<double>(result.target_log_probs(), row)), " for ",
                      vocabulary.empty() ? absl::StrCat(token) : vocabulary.Text(token), "\n");
}

std::string RowText(const v1::DistributionResult& result, size_t row, const Vocabulary& vocabulary) {
  std::string text;
  Table table({"  P", "TOKEN"});
  const auto last = ColumnItem<uint64_t>(result.offsets(), row + 1);
  for (auto i = ColumnItem<uint64_t>(result.offsets(), row); i < last; ++i) {
    const auto token = ColumnItem<uint32_t>(result.tokens(), i);
    table.Add({HumanNumber(std::exp(ColumnItem<double>(result.log_probs(), i))),
               vocabulary.empty() ? absl::StrCat(token) : vocabulary.Text(token)});
  }
  if (!table.empty()) text += table.ToString();
  const auto left_out = ColumnItem<double>(result.left_out(), row);
  if (left_out > 0) absl::StrAppend(&text, "  ", HumanNumber(left_out), " on other tokens\n");
  return text;
}

absl::Status CheckTargets(const v1::DistributionResult& result, uint64_t rows) {
  const size_t got = result.target_log_probs().size() / sizeof(double);
  if (got == rows) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the answer has ", got, " log-probabilities; ", rows, " were asked for"));
}

// The tokens of --allowed as a column; empty without.
absl::StatusOr<std::string> ReadAllowed(const std::string& path) {
  ASSIGN_OR_RETURN(std::string tokens, ReadU32Column(path, "token"));
  // On the wire no token at all means every token.
  if (tokens.empty() && !path.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has no tokens; must have 1 or more"));
  }
  return tokens;
}

absl::Status Distribution(const DistributionOptions& options, Session& session) {
  const std::string& name = options.search.memory;
  // A token and its log-probability for each neighbour, at most.
  const uint64_t answer_bytes = (sizeof(uint32_t) + sizeof(double)) * (options.features ? 2 : 1);
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(name));
  ASSIGN_OR_RETURN(const Vocabulary vocabulary, Vocabulary::Open(options.search.vocabulary));
  ASSIGN_OR_RETURN(QueryPlan plan, QueryPlan::New(options.search, memory.dimension(), options.k, answer_bytes));
  ASSIGN_OR_RETURN(const ModelRows model, ModelRows::Open(options.model, memory, plan.rows()));
  plan.LimitBy(model.row_bytes());
  ASSIGN_OR_RETURN(const std::string allowed, ReadAllowed(options.allowed));
  Progress progress(session.live(), "distribution " + name, "queries", plan.rows());
  AnswerWriter answer(session, options.statistics, options.search.NothingFound());
  const auto fetch = [&](size_t batch) {
    v1::QueryRequest request = plan.Request(plan.FirstRow(batch), plan.RowCount(batch));
    model.AddTo(plan.FirstRow(batch), plan.RowCount(batch), *request.mutable_distribution());
    request.mutable_distribution()->add_temperatures(options.temperature);
    request.mutable_distribution()->set_top_m(options.top);
    request.mutable_distribution()->set_allowed_tokens(allowed);
    request.mutable_distribution()->set_with_features(options.features);
    return session.memory().Query(request);
  };
  const auto consume = [&](size_t batch, v1::QueryResponse response) {
    const v1::DistributionResult& result = response.distribution();
    RETURN_IF_ERROR(model.has_targets() ? CheckTargets(result, plan.RowCount(batch))
                                        : answer.CheckRows(result.offsets(), plan.RowCount(batch)));
    for (size_t row = 0; row < plan.RowCount(batch); ++row) {
      const uint64_t query = plan.FirstRow(batch) + row;
      const auto found = ColumnItem<uint32_t>(result.found(), row);
      if (session.json()) {
        Json json = model.has_targets() ? TargetJson(result, row, model.Target(query), vocabulary)
                                        : RowJson(result, row, vocabulary);
        json["found"] = found;
        if (!result.feature_offsets().empty()) AddFeatures(result, row, json);
        if (response.sources_size() != 0) json["sources"] = SourcesJson(response, row);
        answer.Add(json, found);
      } else {
        std::string text = absl::StrCat("query ", query, ": ", found, " neighbours found\n");
        text += model.has_targets() ? TargetText(result, row, model.Target(query), vocabulary)
                                    : RowText(result, row, vocabulary);
        answer.Add(text + SourcesText(response, row), found);
      }
    }
    answer.AddStatistics(WholeStatistics(response), WholeCoverage(response), plan.RowCount(batch));
    progress.Set(plan.FirstRow(batch) + plan.RowCount(batch));
    return session.CheckReader();
  };
  RETURN_IF_ERROR(RunInOrder<v1::QueryResponse>(plan.batches(), fetch, consume));
  answer.Finish();
  return absl::OkStatus();
}

}  // namespace

void AddDistribution(Command app, Action& action) {
  Command verb = app.AddVerb("distribution", "Turn the neighbours into p(next token)", kQuestions,
                             "  mneme distribution wiki --keys q.npy -k 1024 --temperature 10 --top 5 "
                              "--vocab vocab.txt\n"
                             "  mneme distribution wiki --keys q.npy -k 64 --temperature 1 --exact -o json\n"
                             "  mneme distribution wiki --keys q.npy --mix tenant=0.3:12 --mix session=0.2\n"
                             "  mneme distribution wiki --keys q.npy --targets t.npy --lm-logprobs lp.npy "
                             "--knn-weight 0.3");
  auto options = std::make_shared<DistributionOptions>();
  AddSearchOptions(verb, options->search);
  AddPartialOption(verb, options->search.allow_partial);
  AddVocabularyFile(verb, options->search.vocabulary);
  verb.AddOption("-k", options->k, "Neighbours of each key").Type("K").ShowDefault().Range(1U, limits::kMaxK);
  verb.AddOption("--temperature", options->temperature, "T of exp(score / T)").Type("T")
      .ShowDefault().Range(limits::kMinTemperature, limits::kMaxTemperature);
  verb.AddOption("--top", options->top, "Only the M most likely tokens").Type("M");
  verb.AddOption("--allowed", options->allowed, "Only these tokens; the rest is renormalised away").Type("FILE.npy");
  AddModelOptions(verb, options->model);
  AddMixOption(verb, options->search.mix);
  verb.AddFlag("--features", options->features, "Also distances, distinct tokens and ln of the mass (JSON)");
  AddExtraOptions(verb, options->search.extra);
  verb.AddFlag("--statistics", options->statistics, "Also tell what was searched");
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Distribution(*options, session); };
  });
}

}  // namespace mneme::cli
