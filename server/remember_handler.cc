#include "server/remember_handler.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_columns.h"
#include "server/convert_entries.h"
#include "server/convert_keys.h"
#include "server/convert_memory.h"
#include "server/find_memory.h"

namespace mneme {
namespace {

absl::Status CheckMemory(const MemorySpec& spec) {
  const char* wanted = spec.capacity == 0                        ? "a capacity"
                       : spec.metric != Metric::kCosine          ? "METRIC_COSINE"
                       : spec.key_dtype != Dtype::kF32           ? "keys of f32"
                       : spec.value_kind != ValueKind::kToken && spec.value_kind != ValueKind::kBytes
                           ? "TOKEN or BYTES values"
                           : nullptr;
  if (wanted != nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("a learned write needs ", wanted, ", which memory \"", spec.name, "\" does not have"));
  }
  if (spec.capacity <= limits::kMaxSlotBytes / spec.KeyBytes()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("memory \"", spec.name, "\" has ", spec.capacity, " slots of ",
                                                    spec.KeyBytes(), " bytes; a learned write takes at most ",
                                                    limits::kMaxSlotBytes, " bytes of slots"));
}

absl::Status ReadOptions(const v1::RememberRequest& request, ObserveOptions& options) {
  options.choose_k = request.choose_k() == 0 ? 256 : request.choose_k();
  if (options.choose_k > limits::kMaxChooseK) {
    return FieldError("choose_k", absl::StrCat("is ", options.choose_k, "; must be at most ", limits::kMaxChooseK));
  }
  options.alpha = request.alpha() == 0.0 ? 0.1 : request.alpha();
  if (!(options.alpha > 0.0 && std::isfinite(options.alpha))) {
    return FieldError("alpha", absl::StrCat("is ", options.alpha, "; must be finite and above 0"));
  }
  options.age_noise = request.has_age_noise() ? request.age_noise() : 8.0;
  if (!(options.age_noise >= 0.0 && std::isfinite(options.age_noise))) {
    return FieldError("age_noise", absl::StrCat("is ", options.age_noise, "; must be finite and not negative"));
  }
  options.seed = request.seed();
  options.learn = !request.has_learn() || request.learn();
  options.want_mask = request.with_mask();
  return absl::OkStatus();
}

absl::StatusOr<RememberCommand> ReadRemember(const v1::RememberRequest& request, const MemorySpec& spec) {
  RETURN_IF_ERROR(CheckMemory(spec));
  RETURN_IF_ERROR(CheckFingerprint("fingerprint", request.fingerprint(), spec));
  RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  RememberCommand command;
  SlotBatch& batch = command.batch;
  RETURN_IF_ERROR(ReadDurability("durability", request.durability(), command.durability));
  RETURN_IF_ERROR(
      DecodeKeys("queries", request.queries(), spec, limits::kMaxRememberRows, batch.queries, batch.count));
  RETURN_IF_ERROR(ReadColumn("labels", request.labels(), batch.count, batch.labels));
  RETURN_IF_ERROR(ReadOptions(request, batch.options));
  const size_t masked = batch.count * std::min<size_t>(batch.options.choose_k, spec.capacity);
  if (batch.options.want_mask && masked > limits::kMaxNeighboursPerRequest) {
    return FieldError("choose_k", absl::StrCat("times ", batch.count, " rows is ", masked,
                                               "; a mask tells at most ", limits::kMaxNeighboursPerRequest, " slots"));
  }
  command.partition = request.partition();
  command.request_id = request.request_id();
  return command;
}

void WriteAnswers(const SlotAnswers& answers, v1::RememberResponse* out) {
  WriteColumn(answers.found, out->mutable_found());
  WriteColumn(answers.slots, out->mutable_slots());
  WriteColumn(answers.values, out->mutable_values());
  WriteColumn(answers.similarities, out->mutable_similarities());
  WriteColumn(answers.correct, out->mutable_correct());
  WriteColumn(answers.actions, out->mutable_actions());
  WriteColumn(answers.written_slots, out->mutable_written_slots());
  WriteColumn(answers.evicted, out->mutable_evicted());
  WriteColumn(answers.evicted_values, out->mutable_evicted_values());
  WriteColumn(answers.evicted_ages, out->mutable_evicted_ages());
  WriteColumn(answers.pos, out->mutable_pos());
  WriteColumn(answers.neg, out->mutable_neg());
  WriteColumn(answers.losses, out->mutable_losses());
  WriteColumn(answers.mask_offsets, out->mutable_mask_offsets());
  WriteColumn(answers.mask_slots, out->mutable_mask_slots());
  WriteColumn(answers.mask_weights, out->mutable_mask_weights());
}

}  // namespace

absl::Status HandleRemember(const CallContext& call, const v1::RememberRequest& request,
                            v1::RememberResponse* response, Done done) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  ASSIGN_OR_RETURN(RememberCommand command, ReadRemember(request, memory->spec));
  const Durability durability = command.durability;
  call.deployment.Remember(memory, std::move(command),
                           [&call, memory, durability, response, done](absl::StatusOr<RememberOutcome> outcome) {
                             if (outcome.ok()) {
                               WriteAnswers(*outcome->answers, response);
                               response->set_version(call.deployment.EncodeVersion(outcome->version));
                               response->set_durability(WriteDurability(durability));
                               response->set_replayed(outcome->replayed);
                             }
                             done(WithMemory(outcome.status(), *memory));
                           });
  return absl::OkStatus();
}

}  // namespace mneme
