// Operations on working memory on the wire, and back. Pure; thread-safe.
#ifndef MNEME_SERVER_CONVERT_STATES_H_
#define MNEME_SERVER_CONVERT_STATES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/state_commands.h"
#include "engine/working_memory.h"
#include "mneme/v1/working_memory.pb.h"

namespace mneme {

// INVALID_ARGUMENT names the field: from 1 byte to the bound, and not beginning with '/'.
absl::Status CheckSession(const std::string& field, const std::string& session);

// At least one operation, each with a session, a name and an action.
absl::Status ReadApply(const v1::ApplyRequest& request, ApplyStates& out);
absl::Status ReadReset(const v1::ResetSessionsRequest& request, ResetSessions& out);
absl::Status ReadWriteOptions(const std::string& request_id, v1::Durability durability, StateWriteOptions& out);

// The answer of `operation`, which tells what it holds.
void WriteStateAnswer(const v1::StateOperation& operation, StateAnswer answer, v1::StateResult* out);
// Both sessions, of one root.
absl::Status ReadFork(const v1::ForkSessionRequest& request, ForkSession& out);
absl::Status ReadPutSession(const v1::PutSessionRequest& request, PutSession& out);
void WriteSessionPage(SessionPage page, v1::ListSessionsResponse* out);

}  // namespace mneme

#endif  // MNEME_SERVER_CONVERT_STATES_H_
