#include "server/convert_states.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/routing.h"
#include "engine/session_bytes.h"
#include "server/convert_columns.h"
#include "server/convert_keys.h"
#include "server/convert_memory.h"
#include "server/request_error.h"

namespace mneme {
namespace {

absl::Status CheckText(const std::string& field, const std::string& text, size_t max) {
  if (!text.empty() && text.size() <= max) return absl::OkStatus();
  return FieldError(field, absl::StrCat("has ", text.size(), " bytes; must have 1 to ", max));
}

absl::Status CheckExpiry(const std::string& field, int64_t expiry_ms) {
  if (expiry_ms >= 0) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", expiry_ms, "; must be at least 0"));
}

absl::Status CheckRegister(const std::string& field, const std::string& value, int64_t expiry_ms) {
  if (value.size() > limits::kMaxStateBytes) {
    return FieldError(absl::StrCat(field, ".value"),
                      absl::StrCat("has ", value.size(), " bytes; must have at most ", limits::kMaxStateBytes));
  }
  return CheckExpiry(absl::StrCat(field, ".expiry_ms"), expiry_ms);
}

// Finite rows, or none; the dimension may be given without any.
absl::Status ReadRows(const std::string& field, const v1::Vectors& vectors, uint32_t max_dimension, StateRows& out) {
  if (vectors.data().empty() && vectors.dimension() == 0) return absl::OkStatus();
  if (vectors.dimension() == 0 || vectors.dimension() > max_dimension) {
    return FieldError(absl::StrCat(field, ".dimension"),
                      absl::StrCat("is ", vectors.dimension(), "; must be in [1, ", max_dimension, "]"));
  }
  out.columns = vectors.dimension();
  if (vectors.data().empty()) return absl::OkStatus();
  Dtype dtype = Dtype::kF32;
  RETURN_IF_ERROR(ReadDtype(absl::StrCat(field, ".dtype"), vectors.dtype(), dtype));
  std::vector<char> bytes;
  RETURN_IF_ERROR(DecodeFinite(field, vectors, vectors.dimension(),
                               vectors.data().size() / (vectors.dimension() * DtypeBytes(dtype)), bytes));
  out.items.resize(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(out.items.data(), bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::Status CheckRows(const std::string& field, const StateRows& rows, size_t count, const char* what) {
  if (rows.rows() == count) return absl::OkStatus();
  return FieldError(field, absl::StrCat("has ", rows.rows(), " rows; must have ", count, ", as many as ", what));
}

absl::Status CheckColumns(const std::string& field, const StateRows& rows, uint32_t columns, const char* what) {
  if (rows.columns == 0 || rows.columns == columns) return absl::OkStatus();
  return FieldError(absl::StrCat(field, ".dimension"),
                    absl::StrCat("is ", rows.columns, "; must be ", columns, ", that of ", what));
}

absl::Status ReadLinear(const std::string& field, const v1::LinearApply& wire, StateAction& out) {
  LinearApply linear;
  RETURN_IF_ERROR(ReadRows(field + ".keys", wire.keys(), limits::kMaxDimension, linear.keys));
  RETURN_IF_ERROR(ReadRows(field + ".values", wire.values(), limits::kMaxValueDimension, linear.values));
  RETURN_IF_ERROR(ReadRows(field + ".queries", wire.queries(), limits::kMaxDimension, linear.queries));
  RETURN_IF_ERROR(CheckRows(field + ".values", linear.values, linear.keys.rows(), "keys"));
  if (linear.keys.columns != 0) {
    RETURN_IF_ERROR(CheckColumns(field + ".queries", linear.queries, linear.keys.columns, "keys"));
  }
  if (wire.rule() < v1::LINEAR_RULE_UNSPECIFIED || wire.rule() > v1::LINEAR_RULE_DELTA) {
    return FieldError(field + ".rule",
                      absl::StrCat("is ", static_cast<int>(wire.rule()), "; must be LINEAR or DELTA"));
  }
  if (wire.order() < v1::LINEAR_ORDER_UNSPECIFIED || wire.order() > v1::LINEAR_ORDER_WRITE_THEN_READ) {
    return FieldError(field + ".order", absl::StrCat("is ", static_cast<int>(wire.order()),
                                                     "; must be READ_THEN_WRITE or WRITE_THEN_READ"));
  }
  if (!(wire.epsilon() >= 0.0) || !std::isfinite(wire.epsilon())) {
    return FieldError(field + ".epsilon", absl::StrCat("is ", wire.epsilon(), "; must be finite and at least 0"));
  }
  linear.rule = wire.rule() == v1::LINEAR_RULE_DELTA ? LinearRule::kDelta : LinearRule::kLinear;
  linear.order =
      wire.order() == v1::LINEAR_ORDER_WRITE_THEN_READ ? LinearOrder::kWriteThenRead : LinearOrder::kReadThenWrite;
  linear.segment_length = wire.segment_length();
  if (wire.epsilon() != 0.0) linear.epsilon = wire.epsilon();
  out = std::move(linear);
  return absl::OkStatus();
}

absl::Status ReadFeedback(const std::string& field, const v1::FeedbackAttend& wire, StateAction& out) {
  FeedbackAttend block;
  RETURN_IF_ERROR(ReadRows(field + ".queries", wire.queries(), limits::kMaxDimension, block.queries));
  RETURN_IF_ERROR(ReadRows(field + ".keys", wire.keys(), limits::kMaxDimension, block.keys));
  RETURN_IF_ERROR(ReadRows(field + ".values", wire.values(), limits::kMaxValueDimension, block.values));
  RETURN_IF_ERROR(ReadRows(field + ".fam_queries", wire.fam_queries(), limits::kMaxDimension, block.fam_queries));
  RETURN_IF_ERROR(ReadRows(field + ".fam_keys", wire.fam_keys(), limits::kMaxDimension, block.fam_keys));
  RETURN_IF_ERROR(ReadRows(field + ".fam_values", wire.fam_values(), limits::kMaxValueDimension, block.fam_values));
  if (block.queries.rows() == 0) return FieldError(field + ".queries", "has no rows; must have at least 1");
  RETURN_IF_ERROR(CheckColumns(field + ".keys", block.keys, block.queries.columns, "queries"));
  RETURN_IF_ERROR(CheckRows(field + ".keys", block.keys, block.queries.rows(), "queries"));
  RETURN_IF_ERROR(CheckRows(field + ".values", block.values, block.queries.rows(), "queries"));
  RETURN_IF_ERROR(CheckColumns(field + ".fam_queries", block.fam_queries, block.queries.columns, "queries"));
  RETURN_IF_ERROR(CheckColumns(field + ".fam_keys", block.fam_keys, block.queries.columns, "queries"));
  RETURN_IF_ERROR(CheckColumns(field + ".fam_values", block.fam_values, block.values.columns, "values"));
  RETURN_IF_ERROR(CheckRows(field + ".fam_values", block.fam_values, block.fam_keys.rows(), "fam_keys"));
  if (wire.block_index() < 0) {
    return FieldError(field + ".block_index", absl::StrCat("is ", wire.block_index(), "; must be at least 0"));
  }
  if (!std::isfinite(wire.scale())) return FieldError(field + ".scale", "is not finite");
  if (wire.ring_blocks() > limits::kMaxRingBlocks) {
    return FieldError(field + ".ring_blocks",
                      absl::StrCat("is ", wire.ring_blocks(), "; must be at most ", limits::kMaxRingBlocks));
  }
  block.block_index = wire.block_index();
  block.scale = wire.scale() != 0.0 ? wire.scale() : 1.0 / std::sqrt(static_cast<double>(block.queries.columns));
  block.ring_blocks = wire.ring_blocks();
  block.causal = !wire.not_causal();
  out = std::move(block);
  return absl::OkStatus();
}

absl::Status ReadCounters(const std::string& field, const v1::CountersAdd& wire, StateAction& out) {
  CountersAdd add;
  RETURN_IF_ERROR(ReadList(field + ".rows", wire.rows(), limits::kMaxIncrements, add.rows));
  if (add.rows.empty()) return FieldError(field + ".rows", "is empty; must have at least 1 item");
  RETURN_IF_ERROR(ReadColumn(field + ".columns", wire.columns(), add.rows.size(), add.columns));
  if (add.columns.empty()) {
    return FieldError(field + ".columns", absl::StrCat("is empty; must have ", add.rows.size(), " items"));
  }
  RETURN_IF_ERROR(ReadColumn(field + ".counts", wire.counts(), add.rows.size(), add.counts));
  out = std::move(add);
  return absl::OkStatus();
}

absl::Status ReadAction(const std::string& field, const v1::StateOperation& operation, StateAction& out) {
  using Wire = v1::StateOperation;
  switch (operation.action_case()) {
    case Wire::kRegisterPut: {
      const v1::RegisterPut& put = operation.register_put();
      RETURN_IF_ERROR(CheckRegister(absl::StrCat(field, ".register_put"), put.value(), put.expiry_ms()));
      out = RegisterPut{put.value(), put.expiry_ms()};
      return absl::OkStatus();
    }
    case Wire::kRegisterGet: out = RegisterGet{}; return absl::OkStatus();
    case Wire::kRegisterCas: {
      const v1::RegisterCas& cas = operation.register_cas();
      RETURN_IF_ERROR(CheckRegister(absl::StrCat(field, ".register_cas"), cas.value(), cas.expiry_ms()));
      out = RegisterCas{cas.expected_version(), cas.value(), cas.expiry_ms()};
      return absl::OkStatus();
    }
    case Wire::kRemove: out = RemoveState{}; return absl::OkStatus();
    case Wire::kLinear: return ReadLinear(absl::StrCat(field, ".linear"), operation.linear(), out);
    case Wire::kLinearGet: out = LinearGet{}; return absl::OkStatus();
    case Wire::kFeedbackAttend:
      return ReadFeedback(absl::StrCat(field, ".feedback_attend"), operation.feedback_attend(), out);
    case Wire::kFeedbackGet: out = FeedbackGet{}; return absl::OkStatus();
    case Wire::kCountersAdd: return ReadCounters(absl::StrCat(field, ".counters_add"), operation.counters_add(), out);
    case Wire::kCountersGet: {
      CountersGet get;
      RETURN_IF_ERROR(ReadList(absl::StrCat(field, ".counters_get.rows"), operation.counters_get().rows(),
                               limits::kMaxIncrements, get.rows));
      out = std::move(get);
      return absl::OkStatus();
    }
    case Wire::ACTION_NOT_SET: break;
  }
  return FieldError(absl::StrCat(field, ".action"), "is not set; name what to do with the state");
}

// Those of a state that is not there are left out, but for what a linear memory reads: zeros.
void WritePayload(const v1::StateOperation& operation, StateAnswer answer, v1::StateResult* out) {
  const auto column = [&](size_t i) {
    return i < answer.columns.size() ? std::move(answer.columns[i]) : std::string();
  };
  using Wire = v1::StateOperation;
  if (operation.action_case() == Wire::kLinear) {
    v1::LinearAnswer* linear = out->mutable_linear();
    linear->set_reads(column(0));
    linear->set_value_dimension(answer.value_dimension);
    linear->set_tokens(answer.tokens);
  } else if (operation.action_case() == Wire::kFeedbackAttend) {
    v1::FeedbackAnswer* feedback = out->mutable_feedback();
    feedback->set_tokens(column(0));
    feedback->set_fam(column(1));
    feedback->set_value_dimension(answer.value_dimension);
  } else if (!answer.found) {
    return;
  } else if (operation.action_case() == Wire::kRegisterGet) {
    out->mutable_register_()->set_value(std::move(answer.value));
    out->mutable_register_()->set_expiry_ms(answer.expiry_ms);
  } else if (operation.action_case() == Wire::kLinearGet) {
    v1::LinearState* state = out->mutable_linear_state();
    state->set_key_dimension(answer.key_dimension);
    state->set_value_dimension(answer.value_dimension);
    state->set_tokens(answer.tokens);
    state->set_matrix(column(0));
    state->set_normaliser(column(1));
  } else if (operation.action_case() == Wire::kFeedbackGet) {
    v1::FeedbackState* state = out->mutable_feedback_state();
    state->set_key_dimension(answer.key_dimension);
    state->set_value_dimension(answer.value_dimension);
    state->set_last_block(answer.last_block);
    state->set_ring_keys(column(0));
    state->set_ring_values(column(1));
    state->set_ring_offsets(column(2));
    state->set_fam_keys(column(3));
    state->set_fam_values(column(4));
  } else if (operation.action_case() == Wire::kCountersGet) {
    v1::Counters* counters = out->mutable_counters();
    counters->set_rows(column(0));
    counters->set_offsets(column(1));
    counters->set_columns(column(2));
    counters->set_counts(column(3));
  }
}

template <typename Field>
absl::Status CheckCount(const std::string& field, const Field& items, size_t max) {
  const auto count = static_cast<size_t>(items.size());
  if (count >= 1 && count <= max) return absl::OkStatus();
  return FieldError(field, absl::StrCat("has ", count, " items; must have 1 to ", max));
}

}  // namespace

absl::Status CheckSession(const std::string& field, const std::string& session) {
  RETURN_IF_ERROR(CheckText(field, session, limits::kMaxSessionNameBytes));
  if (session.front() != '/') return absl::OkStatus();
  return FieldError(field, "begins with '/'; must have a root before it");
}

absl::Status ReadApply(const v1::ApplyRequest& request, ApplyStates& out) {
  RETURN_IF_ERROR(CheckCount("operations", request.operations(), limits::kMaxStateOperations));
  RETURN_IF_ERROR(CheckExpiry("session_expiry_ms", request.session_expiry_ms()));
  out.session_expiry_ms = request.session_expiry_ms();
  out.commands.reserve(static_cast<size_t>(request.operations_size()));
  for (int i = 0; i < request.operations_size(); ++i) {
    const v1::StateOperation& operation = request.operations(i);
    const std::string field = absl::StrCat("operations[", i, "]");
    StateCommand command;
    command.session = operation.session();
    command.name = operation.name();
    RETURN_IF_ERROR(CheckSession(absl::StrCat(field, ".session"), command.session));
    RETURN_IF_ERROR(CheckText(absl::StrCat(field, ".name"), command.name, limits::kMaxStateNameBytes));
    RETURN_IF_ERROR(ReadAction(field, operation, command.action));
    out.commands.push_back(std::move(command));
  }
  return absl::OkStatus();
}

absl::Status ReadReset(const v1::ResetSessionsRequest& request, ResetSessions& out) {
  RETURN_IF_ERROR(CheckCount("sessions", request.sessions(), limits::kMaxResetSessions));
  for (int i = 0; i < request.sessions_size(); ++i) {
    RETURN_IF_ERROR(CheckSession(absl::StrCat("sessions[", i, "]"), request.sessions(i)));
    out.sessions.push_back(request.sessions(i));
  }
  return absl::OkStatus();
}

absl::Status ReadWriteOptions(const std::string& request_id, v1::Durability durability, StateWriteOptions& out) {
  if (request_id.size() > limits::kMaxRequestIdBytes) {
    return FieldError("request_id", absl::StrCat("has ", request_id.size(), " bytes; must be at most ",
                                                 limits::kMaxRequestIdBytes));
  }
  out.request_id = request_id;
  return ReadDurability("durability", durability, out.durability);
}

void WriteStateAnswer(const v1::StateOperation& operation, StateAnswer answer, v1::StateResult* out) {
  if (!answer.status.ok()) {
    v1::StateError* error = out->mutable_error();
    error->set_code(static_cast<int32_t>(answer.status.code()));
    error->set_reason(ErrorReason(answer.status));
    error->set_message(std::string(answer.status.message()));
    return;
  }
  out->set_found(answer.found);
  out->set_version(answer.version);
  out->set_reread(answer.reread);
  WritePayload(operation, std::move(answer), out);
}

absl::Status ReadFork(const v1::ForkSessionRequest& request, ForkSession& out) {
  RETURN_IF_ERROR(CheckSession("session", request.session()));
  RETURN_IF_ERROR(CheckSession("to", request.to()));
  if (request.session() == request.to()) return FieldError("to", "is the session itself; must be another");
  const std::string_view root = RootOfSession(request.session());
  if (RootOfSession(request.to()) != root) {
    return FieldError("to", absl::StrCat("is of another root; must begin with \"", std::string(root),
                                         "/\" or be \"", std::string(root), "\""));
  }
  out = {request.session(), request.to(), request.replace()};
  return absl::OkStatus();
}

absl::Status ReadPutSession(const v1::PutSessionRequest& request, PutSession& out) {
  RETURN_IF_ERROR(CheckSession("session", request.session()));
  RETURN_IF_ERROR(CheckExpiry("expiry_ms", request.expiry_ms()));
  auto states = DecodeSessionBytes(request.content());
  if (!states.ok()) return FieldError("content", "is damaged or no session; present the bytes that GetSession gave");
  out = {request.session(), *std::move(states), request.expiry_ms()};
  return absl::OkStatus();
}

void WriteSessionPage(SessionPage page, v1::ListSessionsResponse* out) {
  for (SessionDescription& each : page.sessions) {
    v1::SessionDescription* description = out->add_sessions();
    description->set_session(std::move(each.session));
    description->set_states(each.states);
    description->set_bytes(each.bytes);
    description->set_expiry_ms(each.expiry_ms);
  }
  out->set_next_page_token(std::move(page.next));
}

}  // namespace mneme
