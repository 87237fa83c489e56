// `mneme remember`: the learned write of rare events.
#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct RememberOptions {
  std::string memory;
  std::string keys;
  std::string labels;  // a file; empty: only answers
  uint64_t partition = 0;
  uint32_t batch = 1;
  double alpha = 0.1;
  double age_noise = 8;
  uint64_t seed = 0;
  uint32_t choose_k = 256;
  bool no_learn = false;
  bool mask = false;
  bool details = false;
};

// What a stream of queries came to. Not thread-safe.
class Outcome {
 public:
  explicit Outcome(const RememberOptions& options) : options_(options) {}

  void Add(const v1::RememberResponse& response, uint64_t count);
  Json ToJson() const;
  std::string ToText() const;

 private:
  void AddDetails(const v1::RememberResponse& response, uint64_t i);
  void AddMask(const v1::RememberResponse& response, uint64_t i);

  const RememberOptions& options_;
  uint64_t queries_ = 0;
  uint64_t correct_ = 0;
  uint64_t merged_ = 0;
  uint64_t inserted_ = 0;
  Json values_ = Json::array();
  Json details_ = Json::object();  // lists, one item for each query
};

void Outcome::Add(const v1::RememberResponse& response, uint64_t count) {
  queries_ += count;
  for (uint64_t i = 0; i < count; ++i) {
    correct_ += ColumnItem<uint8_t>(response.correct(), i);
    merged_ += ColumnItem<uint8_t>(response.actions(), i) == 1 ? 1 : 0;
    inserted_ += ColumnItem<uint8_t>(response.actions(), i) == 2 ? 1 : 0;
    const bool found = ColumnItem<uint8_t>(response.found(), i) != 0;
    values_.push_back(found ? Json(ColumnItem<int64_t>(response.values(), i)) : Json(nullptr));
    if (options_.details) AddDetails(response, i);
    if (options_.mask) AddMask(response, i);
  }
}

// What does not hold for a query is null.
void Outcome::AddDetails(const v1::RememberResponse& response, uint64_t i) {
  const auto add = [&](const char* name, bool holds, Json value) {
    details_[name].push_back(holds ? std::move(value) : Json(nullptr));
  };
  constexpr const char* kActions[] = {"none", "merged", "inserted"};
  const bool found = ColumnItem<uint8_t>(response.found(), i) != 0;
  const auto done = ColumnItem<uint8_t>(response.actions(), i);
  const bool evicted = ColumnItem<uint8_t>(response.evicted(), i) != 0;
  add("slots", found, ColumnItem<uint64_t>(response.slots(), i));
  add("similarities", found, ColumnItem<double>(response.similarities(), i));
  add("correct", found, ColumnItem<uint8_t>(response.correct(), i) != 0);
  add("actions", done < std::size(kActions), kActions[done % std::size(kActions)]);
  add("written_slots", done != 0, ColumnItem<uint64_t>(response.written_slots(), i));
  add("evicted_values", evicted, ColumnItem<int64_t>(response.evicted_values(), i));
  add("evicted_ages", evicted, ColumnItem<int64_t>(response.evicted_ages(), i));
  add("pos", !response.pos().empty(), ColumnItem<double>(response.pos(), i));
  add("neg", !response.neg().empty(), ColumnItem<double>(response.neg(), i));
  add("losses", !response.losses().empty(), ColumnItem<double>(response.losses(), i));
}

void Outcome::AddMask(const v1::RememberResponse& response, uint64_t i) {
  Json slots = Json::array();
  Json weights = Json::array();
  const auto last = ColumnItem<uint64_t>(response.mask_offsets(), i + 1);
  for (auto item = ColumnItem<uint64_t>(response.mask_offsets(), i); item < last; ++item) {
    slots.push_back(ColumnItem<uint64_t>(response.mask_slots(), item));
    weights.push_back(ColumnItem<double>(response.mask_weights(), item));
  }
  details_["masks"].push_back({{"slots", std::move(slots)}, {"weights", std::move(weights)}});
}

Json Outcome::ToJson() const {
  Json json = {{"queries", queries_}, {"correct", correct_}, {"merged", merged_}, {"inserted", inserted_},
               {"values", values_}};
  if (!details_.empty()) json["details"] = details_;
  return json;
}

std::string Outcome::ToText() const {
  return absl::StrCat(HumanCount(queries_), " queries: ", HumanCount(correct_), " answered right, ",
                      HumanCount(merged_), " merged, ", HumanCount(inserted_), " inserted\n");
}

absl::Status Remember(const RememberOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(options.memory));
  ASSIGN_OR_RETURN(const NpyFile keys, OpenKeys(options.keys, options.memory, memory.dimension()));
  std::vector<NpyFile> labels;
  if (!options.labels.empty()) {
    ASSIGN_OR_RETURN(NpyFile file, OpenColumn(options.labels, keys.rows()));
    labels.push_back(std::move(file));
  }
  Progress progress(session.live(), "remember " + options.memory, "queries", keys.rows());
  Outcome outcome(options);
  for (uint64_t first = 0; first < keys.rows(); first += options.batch) {
    const uint64_t count = std::min<uint64_t>(options.batch, keys.rows() - first);
    v1::RememberRequest request;
    request.set_memory(options.memory);
    request.set_partition(options.partition);
    *request.mutable_queries() = KeyRows(keys, first, count);
    if (!labels.empty()) request.set_labels(ColumnRows<int64_t>(labels[0], first, count));
    request.set_alpha(options.alpha);
    request.set_age_noise(options.age_noise);
    request.set_seed(options.seed);
    request.set_choose_k(options.choose_k);
    request.set_learn(!options.no_learn);
    request.set_with_mask(options.mask);
    ASSIGN_OR_RETURN(const v1::RememberResponse response, session.memory().Remember(request));
    outcome.Add(response, count);
    progress.Set(first + count);
  }
  if (session.json()) {
    session.PrintJson(outcome.ToJson());
  } else {
    session.Print(outcome.ToText());
  }
  return absl::OkStatus();
}

}  // namespace

void AddRemember(Command app, Action& action) {
  Command verb = app.AddVerb("remember", "Answer, then learn: merge with the nearest slot or replace the oldest",
                             kEntries,
                             "  mneme create rare --dim 64 --metric cosine --value bytes --capacity 8192\n"
                             "  mneme remember rare --keys stream.npy --labels labels.npy");
  auto options = std::make_shared<RememberOptions>();
  verb.AddOption("memory", options->memory, "The memory's name").Required().Type("");
  verb.AddOption("--keys", options->keys, "Queries, in order").Required().Type("FILE.npy");
  verb.AddOption("--labels", options->labels, "Their values; without them nothing is written").Type("FILE.npy");
  verb.AddOption("--partition", options->partition, "The partition of the slots").Type("N");
  verb.AddOption("--batch", options->batch, "Queries of one call, which is one tick").Type("N")
      .ShowDefault().Range(size_t{1}, limits::kMaxRememberRows);
  verb.AddOption("--alpha", options->alpha, "The margin of the loss").ShowDefault().Positive();
  verb.AddOption("--age-noise", options->age_noise, "Of ages, with a seed").ShowDefault().NonNegative();
  verb.AddOption("--choose-k", options->choose_k, "Nearest slots that pos, neg and the mask are taken from")
      .Type("K").ShowDefault().Range(1U, limits::kMaxChooseK);
  verb.AddFlag("--no-learn", options->no_learn, "Labels only tell what was right; nothing is written");
  verb.AddFlag("--details", options->details, "Also slots, similarities, actions, evictions, losses (JSON)");
  verb.AddFlag("--mask", options->mask, "Also the weights of the nearest slots (JSON)");
  verb.AddOption("--seed", options->seed, "Of the noise; 0: none").Type("N").ShowDefault();
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Remember(*options, session); };
  });
}

}  // namespace mneme::cli
