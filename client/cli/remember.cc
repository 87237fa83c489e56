// `mneme remember`: the learned write of rare events.
#include <algorithm>
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
};

absl::Status Remember(const RememberOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(options.memory));
  ASSIGN_OR_RETURN(const NpyFile keys, OpenKeys(options.keys, options.memory, memory.dimension()));
  std::vector<NpyFile> labels;
  if (!options.labels.empty()) {
    ASSIGN_OR_RETURN(NpyFile file, OpenColumn(options.labels, keys.rows()));
    labels.push_back(std::move(file));
  }
  Progress progress(session.live(), "remember " + options.memory, "queries", keys.rows());
  uint64_t correct = 0;
  uint64_t merged = 0;
  uint64_t inserted = 0;
  Json values = Json::array();
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
    ASSIGN_OR_RETURN(const v1::RememberResponse response, session.memory().Remember(request));
    for (uint64_t i = 0; i < count; ++i) {
      correct += ColumnItem<uint8_t>(response.correct(), i);
      merged += ColumnItem<uint8_t>(response.actions(), i) == 1 ? 1 : 0;
      inserted += ColumnItem<uint8_t>(response.actions(), i) == 2 ? 1 : 0;
      const bool found = ColumnItem<uint8_t>(response.found(), i) != 0;
      values.push_back(found ? Json(ColumnItem<int64_t>(response.values(), i)) : Json(nullptr));
    }
    progress.Set(first + count);
  }
  if (session.json()) {
    session.PrintJson({{"queries", keys.rows()}, {"correct", correct}, {"merged", merged}, {"inserted", inserted},
                       {"values", std::move(values)}});
    return absl::OkStatus();
  }
  session.Print(absl::StrCat(HumanCount(keys.rows()), " queries: ", HumanCount(correct), " answered right, ",
                             HumanCount(merged), " merged, ", HumanCount(inserted), " inserted\n"));
  return absl::OkStatus();
}

}  // namespace

void AddRemember(CLI::App& app, Action& action) {
  CLI::App* verb = AddVerb(app, "remember", "Answer, then learn: merge with the nearest slot or replace the oldest",
                           kEntries,
                           "  mneme create rare --dim 64 --metric cosine --value bytes --capacity 8192\n"
                           "  mneme remember rare --keys stream.npy --labels labels.npy");
  auto options = std::make_shared<RememberOptions>();
  verb->add_option("memory", options->memory, "The memory's name")->required()->type_name("");
  verb->add_option("--keys", options->keys, "Queries, in order")->required()->type_name("FILE.npy");
  verb->add_option("--labels", options->labels, "Their values; without them nothing is written")
      ->type_name("FILE.npy");
  verb->add_option("--partition", options->partition, "The partition of the slots")->type_name("N");
  verb->add_option("--batch", options->batch, "Queries of one call, which is one tick")->type_name("N")
      ->capture_default_str()->check(CLI::Range(size_t{1}, limits::kMaxRememberRows));
  verb->add_option("--alpha", options->alpha, "The margin of the loss")->capture_default_str();
  verb->add_option("--age-noise", options->age_noise, "Of ages, with a seed")->capture_default_str();
  verb->add_option("--seed", options->seed, "Of the noise; 0: none")->type_name("N")->capture_default_str();
  verb->callback([options, &action] {
    action = [options](Session& session) { return Remember(*options, session); };
  });
}

}  // namespace mneme::cli
