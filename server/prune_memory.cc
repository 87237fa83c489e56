#include "server/prune_memory.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_columns.h"
#include "server/convert_keys.h"
#include "server/distribution_plan.h"
#include "server/find_memory.h"
#include "server/query_plan.h"
#include "server/request_error.h"

namespace mneme {
namespace {

constexpr uint32_t kDefaultNeighbours = 9;  // He, Neubig and Berg-Kirkpatrick 2021

absl::Status ReadTargets(const v1::PruneGuard& wire, const MemorySpec& spec, PruneGuard& guard) {
  RETURN_IF_ERROR(ReadColumn("guard.targets", wire.targets(), guard.count, guard.targets));
  if (guard.targets.empty()) {
    return FieldError("guard.targets", absl::StrCat("is empty; must have ", guard.count, " items"));
  }
  RETURN_IF_ERROR(CheckTokens("guard.targets", guard.targets, spec));
  RETURN_IF_ERROR(ReadLogProbs("guard.lm_log_probs", wire.lm_log_probs(), guard.count, guard.lm_log_probs));
  for (size_t i = 0; i < guard.count; ++i) {
    if (std::isfinite(guard.lm_log_probs[i])) continue;
    return FieldError(absl::StrCat("guard.lm_log_probs[", i, "]"), "is -infinity: the perplexity would be, too");
  }
  return absl::OkStatus();
}

absl::Status ReadGuard(const v1::PruneGuard& wire, const MemorySpec& spec, PruneGuard& guard) {
  if (spec.value_kind != ValueKind::kToken) {
    return FieldError("guard", absl::StrCat("needs token values, which memory \"", spec.name, "\" does not have"));
  }
  RETURN_IF_ERROR(DecodeKeys("guard.keys", wire.keys(), spec, limits::kMaxGuardQueries, guard.queries, guard.count));
  RETURN_IF_ERROR(ReadTargets(wire, spec, guard));
  guard.k = wire.k();
  if (guard.k == 0 || guard.k > limits::kMaxK) {
    return FieldError("guard.k", absl::StrCat("is ", guard.k, "; must be in [1, ", limits::kMaxK, "]"));
  }
  guard.temperature = wire.temperature() == 0.0 ? 1.0 : wire.temperature();
  RETURN_IF_ERROR(CheckTemperature("guard.temperature", guard.temperature));
  guard.knn_weight = wire.knn_weight();
  // A weight of 1 gives what no neighbour has a probability of 0, and any perplexity is then infinite.
  if (!(guard.knn_weight >= 0.0 && guard.knn_weight < 1.0)) {
    return FieldError("guard.knn_weight", absl::StrCat("is ", guard.knn_weight, "; must be in [0, 1)"));
  }
  guard.max_perplexity_rise = wire.max_perplexity_rise();
  if (!(guard.max_perplexity_rise >= 0.0)) {
    return FieldError("guard.max_perplexity_rise",
                      absl::StrCat("is ", guard.max_perplexity_rise, "; must be at least 0"));
  }
  return absl::OkStatus();
}

absl::StatusOr<PruneCommand> ReadPrune(const v1::PruneMemoryRequest& request, const MemorySpec& spec) {
  PruneCommand command;
  command.partition = request.partition();
  command.neighbours = request.neighbours() == 0 ? kDefaultNeighbours : request.neighbours();
  if (command.neighbours > limits::kMaxPruneNeighbours) {
    return FieldError("neighbours",
                      absl::StrCat("is ", command.neighbours, "; must be at most ", limits::kMaxPruneNeighbours));
  }
  QueryCommand search;
  RETURN_IF_ERROR(ReadSearchParams(request.search(), search));
  if (search.approximate_distances) {
    return FieldError("search.approximate_distances", "is set; pruning compares exact ones");
  }
  command.exact = search.exact;
  command.recall_target = search.recall_target;
  command.probes = search.probes;
  command.dry_run = request.dry_run();
  if (request.has_guard()) RETURN_IF_ERROR(ReadGuard(request.guard(), spec, command.guard.emplace()));
  return command;
}

v1::PruneMemoryResponse Step(const PruneProgress& progress) {
  v1::PruneMemoryResponse response;
  response.set_stage(progress.stage);
  response.set_entries_done(progress.entries_done);
  response.set_entries_total(progress.entries_total);
  return response;
}

v1::PruneMemoryResponse Last(const PruneOutcome& outcome) {
  v1::PruneMemoryResponse response = Step({"done", outcome.entries, outcome.entries});
  response.set_entries(outcome.entries);
  response.set_merged(outcome.merged);
  response.set_overtaken(outcome.overtaken);
  if (outcome.perplexity_before.has_value()) response.set_perplexity_before(*outcome.perplexity_before);
  if (outcome.perplexity_after.has_value()) response.set_perplexity_after(*outcome.perplexity_after);
  return response;
}

}  // namespace

absl::Status HandlePruneMemory(const CallContext& call, const v1::PruneMemoryRequest& request,
                               const Tell<v1::PruneMemoryResponse>& tell) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  ASSIGN_OR_RETURN(PruneCommand command, ReadPrune(request, memory->spec));
  command.limits = call.limits;
  command.progress = [&](const PruneProgress& progress) { return tell(Step(progress)); };
  const absl::StatusOr<PruneOutcome> outcome = call.deployment.Prune(memory, std::move(command));
  RETURN_IF_ERROR(WithMemory(outcome.status(), *memory));
  (void)tell(Last(*outcome));
  return absl::OkStatus();
}

}  // namespace mneme
