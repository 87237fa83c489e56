// States: what the verbs of `mneme state` have in common: naming a state, writing it, asking one operation.
#ifndef MNEME_CLIENT_CLI_STATES_H_
#define MNEME_CLIENT_CLI_STATES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/describe.h"
#include "client/cli/session.h"
#include "client/cli/verbs.h"
#include "mneme/v1/working_memory.pb.h"

namespace mneme::cli {

// One state: MEMORY SESSION NAME.
struct StateName {
  std::string memory;
  std::string session;
  std::string name;

  // An operation of it without an action.
  v1::StateOperation Operation() const;
};
void AddStateName(Command verb, StateName& state);
void AddMemoryName(Command verb, std::string& memory);

// How a call writes: --durability, --request-id.
struct WriteOptions {
  std::string durability = "sync";
  std::string request_id;

  v1::Durability ToDurability() const;
};
void AddWriteOptions(Command verb, WriteOptions& write);

// A request id is drawn where the options have none. Returns the error of the call, or that of the operation.
absl::StatusOr<v1::StateResult> ApplyOne(const std::string& memory, const v1::StateOperation& operation,
                                         const WriteOptions& write, Session& session);

// "found" and "version", and "reread" where it is so.
Json ResultJson(const v1::StateResult& result);

// The verbs of one kind of state, in the group `state`.
void AddRegisterVerbs(Command state, Action& action);
void AddApplyVerb(Command state, Action& action);
void AddLinearVerbs(Command state, Action& action);
void AddFeedbackVerbs(Command state, Action& action);
void AddCountersVerbs(Command state, Action& action);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_STATES_H_
