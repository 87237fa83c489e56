#include "server/step_append.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "readout/mixture.h"
#include "server/convert_entries.h"
#include "server/convert_keys.h"
#include "server/convert_memory.h"
#include "server/request_error.h"

namespace mneme {
namespace {

// True when `query` asked `memory`, or was a mixture that named it for its appends.
bool IsOf(const AnsweredQuery* query, const MemoryHandle& memory) {
  return query != nullptr && query->memory == memory->number;
}

absl::Status TakeKeys(const AnsweredQuery* last, const MemoryHandle& memory, EntryColumns& out) {
  if (!IsOf(last, memory)) {
    return FieldError("append.entries.keys",
                      absl::StrCat("are left out, and this stream has not queried memory \"", memory->spec.name, "\""));
  }
  out.count = last->count;
  out.key_bytes = memory->spec.KeyBytes();
  return EncodeStoredKeys("append.entries.keys", last->rows.Clone(), memory->spec, out.keys);
}

absl::Status ReadAppend(const v1::StepAppend& append, const MemoryHandle& memory, const AnsweredQuery* last,
                        InsertCommand& command) {
  RETURN_IF_ERROR(ReadDurability("append.durability", append.durability(), command.durability));
  command.partition = append.partition();
  if (append.entries().has_keys()) {
    return ReadEntries("append.entries", append.entries(), memory->spec, command.entries);
  }
  RETURN_IF_ERROR(TakeKeys(last, memory, command.entries));
  return ReadEntriesWithoutKeys("append.entries", append.entries(), memory->spec, command.entries);
}

// True when the keys to be stored are those of `query`.
bool HasKeys(const AnsweredQuery& query, const EntryColumns& entries, const MemorySpec& spec) {
  AlignedBuffer stored;
  return query.count == entries.count && EncodeStoredKeys("", query.rows.Clone(), spec, stored).ok() &&
         stored.view() == entries.keys.view();
}

const AnsweredQuery* QueryOf(const v1::StepAppend& append, const EntryColumns& entries, const MemorySpec& spec,
                             const AnsweredQuery* last, const AnsweredQuery* previous) {
  if (!append.entries().has_keys() || previous == nullptr || last == nullptr) return last;
  return !HasKeys(*last, entries, spec) && HasKeys(*previous, entries, spec) ? previous : last;
}

absl::Status CountBenefit(const v1::StepAppend& append, const AnsweredQuery& query, const EntryColumns& entries,
                          BenefitCount& benefit) {
  if (query.count != entries.count) {
    return FieldError("append.lm_log_probs",
                      absl::StrCat("come with ", entries.count, " entries; the last query had ", query.count, " rows"));
  }
  std::vector<float> lm_log_probs;
  RETURN_IF_ERROR(ReadLogProbs("append.lm_log_probs", append.lm_log_probs(), entries.count, lm_log_probs));
  const double knn_weight = append.knn_weight() != 0.0 ? append.knn_weight() : query.knn_weight;
  const auto* tokens = reinterpret_cast<const Token*>(entries.values.bytes.data());
  TargetOptions options;
  options.temperature = query.temperature;
  options.ks = absl::MakeConstSpan(&query.k, 1);
  options.allowed = query.has_allowed ? &query.allowed : nullptr;
  for (size_t row = 0; row < entries.count; ++row) {
    std::vector<ScoredTokens> found;  // by each source
    for (const NeighbourColumns& neighbours : query.neighbours) found.push_back(TokensOfRow(neighbours, row));
    options.target = tokens[row];
    const MixedTarget knn = MixTargets(found, query.weights, options).front();
    benefit.Add(MixTarget(knn.log_prob, knn.log_total_mass, lm_log_probs[row], knn_weight), lm_log_probs[row]);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PlannedAppend> PlanAppend(const v1::StepAppend& append, const MemoryHandle& memory,
                                         const AnsweredQuery* last, const AnsweredQuery* previous) {
  PlannedAppend plan;
  if (!(append.knn_weight() >= 0.0 && append.knn_weight() <= 1.0)) {
    return FieldError("append.knn_weight", absl::StrCat("is ", append.knn_weight(), "; must be in [0, 1]"));
  }
  RETURN_IF_ERROR(ReadAppend(append, memory, last, plan.command));
  if (append.lm_log_probs().empty()) return plan;
  const AnsweredQuery* query = QueryOf(append, plan.command.entries, memory->spec, last, previous);
  if (!IsOf(query, memory) || !query->has_distribution) return plan;
  plan.of_mixture = query->mixed;
  RETURN_IF_ERROR(CountBenefit(append, *query, plan.command.entries, plan.benefit));
  return plan;
}

}  // namespace mneme
