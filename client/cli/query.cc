// `mneme query`: the neighbours themselves.
#include <cstdint>
#include <memory>
#include <string>

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

struct QueryOptions {
  SearchOptions search;
  uint32_t k = 10;
  bool with_keys = false;
  bool successors = false;
  bool attributes = false;
  bool statistics = false;
};

// Bytes that one neighbour may take in an answer. BYTES and sparse values have no common length: most are of this
// order.
uint64_t AnswerBytes(const v1::MemoryDescription& memory) {
  constexpr uint64_t kTypicalBlob = 4'096;
  constexpr uint64_t kIdAndDistance = 16;
  const bool blob = memory.value_kind() == v1::VALUE_KIND_BYTES || memory.value_kind() == v1::VALUE_KIND_SPARSE_VECTOR;
  if (blob) return kIdAndDistance + kTypicalBlob;
  if (memory.value_kind() == v1::VALUE_KIND_VECTOR) return kIdAndDistance + memory.value_dimension() * sizeof(float);
  return kIdAndDistance + sizeof(uint32_t);
}

// What the options add to neighbours [first, last).
void AddAsked(const v1::NeighboursResult& result, size_t first, size_t last, Json& row) {
  for (size_t i = first; i < last; ++i) {
    if (!result.has_successor().empty()) {
      const bool has = ColumnItem<uint8_t>(result.has_successor(), i) != 0;
      row["successors"].push_back(has ? Json(ColumnItem<uint64_t>(result.successors(), i)) : Json(nullptr));
    }
    if (!result.partitions().empty()) row["partitions"].push_back(ColumnItem<uint64_t>(result.partitions(), i));
    if (!result.keys().data().empty()) row["keys"].push_back(VectorAt(result.keys(), i));
    if (result.weights().empty()) continue;
    row["weights"].push_back(ColumnItem<float>(result.weights(), i));
    row["labels"].push_back(ColumnItem<int64_t>(result.labels(), i));
    row["sources"].push_back(ColumnItem<uint64_t>(result.sources(), i));
    row["positions"].push_back(ColumnItem<uint64_t>(result.positions(), i));
  }
}

Json RowJson(const v1::NeighboursResult& result, size_t first, size_t last, const Vocabulary& vocabulary) {
  Json ids = Json::array();
  Json distances = Json::array();
  Json values = Json::array();
  Json texts = Json::array();
  for (size_t i = first; i < last; ++i) {
    ids.push_back(ColumnItem<uint64_t>(result.ids(), i));
    distances.push_back(ColumnItem<double>(result.distances(), i));
    values.push_back(ValueJson(result.values(), i));
    if (!vocabulary.empty()) texts.push_back(ValueText(result.values(), i, vocabulary));
  }
  Json row = {{"ids", std::move(ids)}, {"distances", std::move(distances)}, {"values", std::move(values)}};
  if (!vocabulary.empty()) row["texts"] = std::move(texts);
  AddAsked(result, first, last, row);
  return row;
}

// The title of the column of distances: for the other metrics it holds what is larger for what is nearer.
std::string DistanceTitle(v1::Metric metric) { return metric == v1::METRIC_L2 ? "DISTANCE" : "SIMILARITY"; }

std::string RowText(const v1::NeighboursResult& result, size_t first, size_t last, const std::string& distance_title,
                    const Vocabulary& vocabulary) {
  std::string text = absl::StrCat(last - first, " found\n");
  Table table({"  RANK", "ID", distance_title, "VALUE"});
  for (size_t i = first; i < last; ++i) {
    table.Add({absl::StrCat(i - first + 1), absl::StrCat(ColumnItem<uint64_t>(result.ids(), i)),
               HumanNumber(ColumnItem<double>(result.distances(), i)), ValueText(result.values(), i, vocabulary)});
  }
  return table.empty() ? text : text + table.ToString();
}

absl::Status Query(const QueryOptions& options, Session& session) {
  const std::string& name = options.search.memory;
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(name));
  ASSIGN_OR_RETURN(const Vocabulary vocabulary, Vocabulary::Open(options.search.vocabulary));
  ASSIGN_OR_RETURN(const QueryPlan plan,
                   QueryPlan::New(options.search, memory.dimension(), options.k,
                                  AnswerBytes(memory) + (options.with_keys ? memory.dimension() * sizeof(float) : 0)));
  Progress progress(session.live(), "query " + name, "queries", plan.rows());
  AnswerWriter answer(session, options.statistics, options.search.NothingFound());
  const auto fetch = [&](size_t batch) {
    v1::QueryRequest request = plan.Request(plan.FirstRow(batch), plan.RowCount(batch));
    v1::NeighboursReadOut* read_out = request.mutable_neighbours();
    read_out->set_with_keys(options.with_keys);
    read_out->set_with_successors(options.successors);
    read_out->set_with_attributes(options.attributes);
    return session.memory().Query(request);
  };
  const auto consume = [&](size_t batch, v1::QueryResponse response) {
    const v1::NeighboursResult& result = response.neighbours();
    RETURN_IF_ERROR(answer.CheckRows(result.offsets(), plan.RowCount(batch)));
    for (size_t row = 0; row < plan.RowCount(batch); ++row) {
      const auto first = ColumnItem<uint64_t>(result.offsets(), row);
      const auto last = ColumnItem<uint64_t>(result.offsets(), row + 1);
      if (session.json()) {
        answer.Add(RowJson(result, first, last, vocabulary), last - first);
      } else {
        answer.Add(absl::StrCat("query ", plan.FirstRow(batch) + row, ": ",
                                RowText(result, first, last, DistanceTitle(memory.metric()), vocabulary)),
                   last - first);
      }
    }
    answer.AddStatistics(response.statistics(), response.coverage(), plan.RowCount(batch));
    progress.Set(plan.FirstRow(batch) + plan.RowCount(batch));
    return session.CheckReader();
  };
  RETURN_IF_ERROR(RunInOrder<v1::QueryResponse>(plan.batches(), fetch, consume));
  answer.Finish();
  return absl::OkStatus();
}

}  // namespace

void AddQuery(Command app, Action& action) {
  Command verb = app.AddVerb("query", "Find the nearest entries of each key", kQuestions,
                             "  mneme query wiki --keys q.npy -k 10\n"
                             "  mneme query wiki --keys q.npy -k 1024 --exact -o json > neighbours.json\n"
                             "  mneme query wiki --keys q.npy -k 5 --source 1 --source 2 --vocab vocab.txt");
  auto options = std::make_shared<QueryOptions>();
  AddSearchOptions(verb, options->search);
  AddPartialOption(verb, options->search.allow_partial);
  AddVocabularyFile(verb, options->search.vocabulary);
  verb.AddOption("-k", options->k, "Neighbours of each key").Type("K").ShowDefault().Range(1U, limits::kMaxK);
  verb.AddFlag("--with-keys", options->with_keys, "Also the stored keys (JSON)");
  verb.AddFlag("--successors", options->successors, "Also the next id of the same source, or null (JSON)");
  verb.AddFlag("--attributes", options->attributes, "Also weights, labels, sources and positions (JSON)");
  AddExtraOptions(verb, options->search.extra);
  verb.AddFlag("--statistics", options->statistics, "Also tell what was searched");
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Query(*options, session); };
  });
}

}  // namespace mneme::cli
