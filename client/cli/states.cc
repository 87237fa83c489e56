#include "client/cli/states.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace mneme::cli {

v1::StateOperation StateName::Operation() const {
  v1::StateOperation operation;
  operation.set_session(session);
  operation.set_name(name);
  return operation;
}

void AddMemoryName(Command verb, std::string& memory) {
  verb.AddOption("memory", memory, "The memory's name").Required().Type("");
}

void AddStateName(Command verb, StateName& state) {
  AddMemoryName(verb, state.memory);
  verb.AddOption("session", state.session, "The session's name").Required().Type("");
  verb.AddOption("name", state.name, "The state's name").Required().Type("");
}

v1::Durability WriteOptions::ToDurability() const {
  return durability == "written" ? v1::DURABILITY_WRITTEN : v1::DURABILITY_SYNC;
}

void AddWriteOptions(Command verb, WriteOptions& write) {
  verb.AddOption("--durability", write.durability, "sync (default) or written").Type("LEVEL")
      .OneOf({"sync", "written"});
  verb.AddOption("--request-id", write.request_id, "The same again is applied once; else a new one").Type("ID");
}

absl::StatusOr<v1::StateResult> ApplyOne(const std::string& memory, const v1::StateOperation& operation,
                                         const WriteOptions& write, Session& session) {
  v1::ApplyRequest request;
  request.set_memory(memory);
  *request.add_operations() = operation;
  request.set_durability(write.ToDurability());
  request.set_request_id(write.request_id);
  ASSIGN_OR_RETURN(v1::ApplyResponse response, session.working().Apply(request));
  if (response.results_size() != 1) {
    return absl::InternalError(absl::StrCat("the answer has ", response.results_size(), " results; 1 was asked for"));
  }
  RETURN_IF_ERROR(ResultStatus(response.results(0)));
  return std::move(*response.mutable_results(0));
}

Json ResultJson(const v1::StateResult& result) {
  Json json = {{"found", result.found()}, {"version", result.version()}};
  if (result.reread()) json["reread"] = true;
  return json;
}

void AddState(Command app, Action& action) {
  Command state = app.AddVerbGroup("state", "Read and write the states of a session", kSessions,
                                   "  mneme state put chats chat42 mode --value draft\n"
                                   "  mneme state get chats chat42 mode\n"
                                   "  mneme state linear chats chat42 layer0 --keys k.npy --values v.npy");
  AddRegisterVerbs(state, action);
  AddApplyVerb(state, action);
  AddLinearVerbs(state, action);
  AddFeedbackVerbs(state, action);
  AddCountersVerbs(state, action);
}

}  // namespace mneme::cli
