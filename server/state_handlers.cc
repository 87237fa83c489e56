#include "server/state_handlers.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_memory.h"
#include "server/convert_states.h"
#include "server/find_memory.h"

namespace mneme {
namespace {

// `request` tells what its answers hold.
absl::Status WriteAnswers(const v1::ApplyRequest& request, StateOutcome outcome, v1::ApplyResponse* response) {
  for (size_t i = 0; i < outcome.answers.size(); ++i) {
    WriteStateAnswer(request.operations(static_cast<int>(i)), std::move(outcome.answers[i]), response->add_results());
  }
  if (response->ByteSizeLong() <= limits::kMaxMessageBytes) return absl::OkStatus();
  response->Clear();
  return WithReason(FieldError("operations", "read more than fits in a message (what they wrote is applied); ask for "
                                             "less in one batch"),
                    reason::kResponseTooLarge);
}

// What every write begins with: its memory and options, of which the answer repeats the durability.
template <typename Request, typename Response>
absl::StatusOr<MemoryHandle> BeginWrite(const CallContext& call, const Request& request, StateWriteOptions& options,
                                        Response* response) {
  ASSIGN_OR_RETURN(MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  RETURN_IF_ERROR(ReadWriteOptions(request.request_id(), request.durability(), options));
  response->set_durability(WriteDurability(options.durability));
  return memory;
}

// Ends a call that answers nothing but whether it was replayed.
template <typename Response>
std::function<void(absl::StatusOr<JoinedStates>)> TellReplayed(const MemoryHandle& memory, Response* response,
                                                               Done done) {
  return [memory, response, done = std::move(done)](absl::StatusOr<JoinedStates> joined) {
    if (joined.ok()) response->set_replayed(joined->replayed);
    // What is not there may be the session: that is no matter of the memory.
    const bool of_session = ReasonOf(joined.status()) == reason::kSessionNotFound;
    done(of_session ? joined.status() : WithMemory(joined.status(), *memory));
  };
}

}  // namespace

absl::Status HandleApply(const CallContext& call, const v1::ApplyRequest& request, v1::ApplyResponse* response,
                         Done done) {
  StateWriteOptions options;
  ASSIGN_OR_RETURN(const MemoryHandle memory, BeginWrite(call, request, options, response));
  ApplyStates apply;
  RETURN_IF_ERROR(ReadApply(request, apply));
  if (std::all_of(apply.commands.begin(), apply.commands.end(),
                  [](const StateCommand& command) { return IsRead(command.action); })) {
    // Reading may wait for the disk: that may not hold up a gRPC thread.
    return call.front_end.calls().Submit(
        [&call, &request, memory, apply = std::move(apply), response, done = std::move(done)] {
          done(Guard([&]() -> absl::Status {
            RETURN_IF_ERROR(call.limits.Check());  // it may have waited
            auto outcome = call.deployment.working_memory().Read(memory, apply, call.limits);
            if (!outcome.ok()) return WithMemory(outcome.status(), *memory);
            return WriteAnswers(request, *std::move(outcome), response);
          }));
        });
  }
  call.deployment.working_memory().Apply(
      memory, std::move(apply), std::move(options),
      [&request, memory, response, done = std::move(done)](absl::StatusOr<JoinedStates> joined) {
        if (!joined.ok()) return done(WithMemory(joined.status(), *memory));
        response->set_replayed(joined->replayed);
        done(Guard([&] { return WriteAnswers(request, std::move(joined->outcome), response); }));
      });
  return absl::OkStatus();
}

absl::Status HandleResetSessions(const CallContext& call, const v1::ResetSessionsRequest& request,
                                 v1::ResetSessionsResponse* response, Done done) {
  StateWriteOptions options;
  ASSIGN_OR_RETURN(const MemoryHandle memory, BeginWrite(call, request, options, response));
  ResetSessions reset;
  RETURN_IF_ERROR(ReadReset(request, reset));
  call.deployment.working_memory().Reset(
      memory, std::move(reset), std::move(options),
      [memory, response, done = std::move(done)](absl::StatusOr<JoinedStates> joined) {
        if (joined.ok()) {
          response->set_removed(joined->outcome.count);
          response->set_replayed(joined->replayed);
        }
        done(WithMemory(joined.status(), *memory));
      });
  return absl::OkStatus();
}

absl::Status HandleForkSession(const CallContext& call, const v1::ForkSessionRequest& request,
                               v1::ForkSessionResponse* response, Done done) {
  StateWriteOptions options;
  ASSIGN_OR_RETURN(const MemoryHandle memory, BeginWrite(call, request, options, response));
  ForkSession fork;
  RETURN_IF_ERROR(ReadFork(request, fork));
  call.deployment.working_memory().Fork(memory, std::move(fork), std::move(options),
                                        TellReplayed(memory, response, std::move(done)));
  return absl::OkStatus();
}

absl::Status HandleGetSession(const CallContext& call, const v1::GetSessionRequest& request,
                              v1::GetSessionResponse* response) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  RETURN_IF_ERROR(CheckSession("session", request.session()));
  auto content = call.deployment.working_memory().Get(memory, request.session(), call.limits);
  if (!content.ok()) return content.status();
  response->set_content(*std::move(content));
  if (response->ByteSizeLong() <= limits::kMaxMessageBytes) return absl::OkStatus();
  response->Clear();
  return WithReason(FieldError("session", "has more states than fit in a message beside their contents"),
                    reason::kResponseTooLarge);
}

absl::Status HandlePutSession(const CallContext& call, const v1::PutSessionRequest& request,
                              v1::PutSessionResponse* response, Done done) {
  StateWriteOptions options;
  ASSIGN_OR_RETURN(const MemoryHandle memory, BeginWrite(call, request, options, response));
  PutSession put;
  RETURN_IF_ERROR(ReadPutSession(request, put));
  call.deployment.working_memory().Put(memory, std::move(put), std::move(options),
                                       TellReplayed(memory, response, std::move(done)));
  return absl::OkStatus();
}

absl::Status HandleListSessions(const CallContext& call, const v1::ListSessionsRequest& request,
                                v1::ListSessionsResponse* response) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  if (request.prefix().size() > limits::kMaxSessionNameBytes) {
    return FieldError("prefix", absl::StrCat("has ", request.prefix().size(), " bytes; must have at most ",
                                             limits::kMaxSessionNameBytes));
  }
  if (request.page_token().size() > limits::kMaxSessionNameBytes) {
    return FieldError("page_token", "is malformed; present the one that an answer gave");
  }
  if (request.page_size() > limits::kMaxSessionsPage) {
    return FieldError("page_size", absl::StrCat("is ", request.page_size(), "; must be at most ",
                                                limits::kMaxSessionsPage));
  }
  const size_t limit = request.page_size() == 0 ? limits::kMaxSessionsPage : request.page_size();
  auto page = call.deployment.working_memory().List(memory, request.prefix(), request.page_token(), limit, call.limits);
  if (!page.ok()) return WithMemory(page.status(), *memory);
  WriteSessionPage(*std::move(page), response);
  return absl::OkStatus();
}

}  // namespace mneme
