#include "server/convert_states.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_entries.h"
#include "server/convert_memory.h"
#include "server/request_error.h"

namespace mneme {
namespace {

absl::Status CheckText(const std::string& field, const std::string& text, size_t max) {
  if (!text.empty() && text.size() <= max) return absl::OkStatus();
  return FieldError(field, absl::StrCat("has ", text.size(), " bytes; must have 1 to ", max));
}

absl::Status CheckRegister(const std::string& field, const std::string& value, int64_t expiry_ms) {
  if (value.size() > limits::kMaxStateBytes) {
    return FieldError(absl::StrCat(field, ".value"),
                      absl::StrCat("has ", value.size(), " bytes; must have at most ", limits::kMaxStateBytes));
  }
  if (expiry_ms < 0) {
    return FieldError(absl::StrCat(field, ".expiry_ms"), absl::StrCat("is ", expiry_ms, "; must be at least 0"));
  }
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
    case Wire::ACTION_NOT_SET: break;
  }
  return FieldError(absl::StrCat(field, ".action"), "is not set; name what to do with the state");
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
  if (!answer.found) return;
  if (operation.has_register_get()) {
    out->mutable_register_()->set_value(std::move(answer.value));
    out->mutable_register_()->set_expiry_ms(answer.expiry_ms);
  }
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
