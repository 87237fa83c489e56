#include "cluster/remote_states.h"

#include "common/status_macros.h"
#include "engine/flat_commands.h"

namespace mneme {
namespace {

using Async = ShardChannel::Async;

}  // namespace

absl::StatusOr<StateOutcome> AskStates(const ShardChannel& shard, const MemoryRecord& memory, const ApplyStates& apply,
                                       int64_t stamp_ms, const Version& at_least, const CallLimits& limits) {
  ASSIGN_OR_RETURN(const std::string answer,
                   shard.AskAndWait(&Async::ReadStates,
                                    Question(Flat(memory.number, apply, stamp_ms, at_least), kAnyReplica,
                                             HedgedRead::kStates),
                                    limits));
  StateOutcome outcome;
  RETURN_IF_ERROR(Unflat(answer, outcome));
  if (outcome.answers.size() != apply.commands.size()) return absl::DataLossError("a shard's answers are not whole");
  return outcome;
}

absl::StatusOr<std::string> AskSession(const ShardChannel& shard, const MemoryRecord& memory,
                                       const std::string& session, int64_t stamp_ms, const Version& at_least,
                                       const CallLimits& limits) {
  ASSIGN_OR_RETURN(const std::string answer,
                   shard.AskAndWait(&Async::ReadSession, Flat(memory.number, session, stamp_ms, at_least), limits));
  std::string bytes;
  RETURN_IF_ERROR(Unflat(answer, bytes));
  return bytes;
}

absl::StatusOr<std::vector<NamedSession>> AskSessions(const ShardChannel& shard, const MemoryRecord& memory,
                                                      const SessionsQuestion& question, const Version& at_least,
                                                      const CallLimits& limits) {
  const std::string body = Flat(memory.number, question.prefix, question.after, question.limit, at_least);
  ASSIGN_OR_RETURN(const std::string answer, shard.AskAndWait(&Async::ListSessions, body, limits));
  std::vector<NamedSession> sessions;
  RETURN_IF_ERROR(Unflat(answer, sessions));
  return sessions;
}

}  // namespace mneme
