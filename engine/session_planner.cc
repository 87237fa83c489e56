#include "engine/session_planner.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/counter_matrix.h"
#include "engine/state_actions.h"

namespace mneme {
namespace {

// What the others of a session are answered when one of them failed.
absl::Status NotApplied(size_t failed) {
  return WithReason(absl::AbortedError(absl::StrCat("not applied, since operation ", failed,
                                                    " of the same session failed")),
                    reason::kSessionNotApplied);
}

absl::Status NotFound(const std::string& session) {
  return WithReason(absl::NotFoundError(absl::StrCat("there is no session \"", session, "\"")),
                    reason::kSessionNotFound);
}

PieceReader ReaderOf(const SessionStates& session, const std::string& name) {
  return [&session, &name](uint32_t number) -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(const StatePtr piece, session.FindPiece(name, number));
    return piece->payload;
  };
}

// What the operations of one session write: each state, and each piece of one, as it is written last. What others
// planned before does not count, so that it is the same whatever it is committed with.
class WrittenBytes {
 public:
  void Note(const std::string& name, const StateChange& change) {
    if (change.remove) {
      for (auto at = of_.lower_bound({name, 0}); at != of_.end() && at->first.first == name; ++at) Set(at->second, 0);
    }
    if (change.next.has_value()) Set(of_[{name, 0}], change.next->payload.size());
    for (const auto& [number, payload] : change.pieces) {
      Set(of_[{name, number}], payload.has_value() ? payload->size() : 0);
    }
  }
  uint64_t bytes() const { return bytes_; }

 private:
  void Set(uint64_t& of, uint64_t bytes) {
    bytes_ += bytes - of;
    of = bytes;
  }

  std::map<std::pair<std::string_view, uint32_t>, uint64_t> of_;  // names of commands, which outlive it
  uint64_t bytes_ = 0;
};

// Notes in `written`, which may be null, what is written.
absl::StatusOr<StateAnswer> RunOne(SessionStates& session, const StateCommand& command, WrittenBytes* written) {
  ASSIGN_OR_RETURN(const StatePtr current, session.Find(command.name));
  ASSIGN_OR_RETURN(StateChange change, Act(command.action, current.get(), ReaderOf(session, command.name)));
  if (written != nullptr) written->Note(command.name, change);
  if (change.next.has_value()) {
    RETURN_IF_ERROR(session.Put(command.name, std::make_shared<const StateRecord>(*std::move(change.next)),
                                std::move(change.pieces)));
  }
  if (change.remove) RETURN_IF_ERROR(session.Remove(command.name));
  return std::move(change.answer);
}

// A state as a session's bytes hold it: a matrix goes into pieces.
absl::Status PutWhole(SessionStates& session, const std::string& name, const StatePtr& state) {
  if (state->kind != StateKind::kCounters) return session.Put(name, state);
  ASSIGN_OR_RETURN(NextMatrix next, AddCells(state.get(), nullptr, {}));
  StateRecord matrix{.kind = StateKind::kCounterMatrix, .version = state->version, .expiry_ms = state->expiry_ms};
  matrix.payload = std::move(next.payload);
  return session.Put(name, std::make_shared<const StateRecord>(std::move(matrix)), std::move(next.pieces));
}

}  // namespace

absl::StatusOr<StateOutcome> SessionPlanner::Plan(const StateMoment& moment, const StateRequest& request) {
  const size_t mark = overlay_.Mark();
  auto outcome = std::visit([&](const auto& each) { return Run(moment, each); }, request);
  if (!outcome.ok()) overlay_.RollBack(mark);
  return outcome;
}

absl::StatusOr<StateOutcome> SessionPlanner::Run(const StateMoment& moment, const ApplyStates& apply) {
  std::map<std::string_view, size_t> group_of;
  std::vector<std::vector<size_t>> groups;  // by session, in the order of their first operations
  for (size_t i = 0; i < apply.commands.size(); ++i) {
    const auto [at, added] = group_of.emplace(apply.commands[i].session, groups.size());
    if (added) groups.emplace_back();
    groups[at->second].push_back(i);
  }
  StateOutcome outcome;
  outcome.answers.resize(apply.commands.size());
  SpaceNumbers numbers(moment.sequence);
  uint64_t payload_bytes = 0;
  for (const std::vector<size_t>& which : groups) {
    RETURN_IF_ERROR(RunSession(moment, apply, which, numbers, payload_bytes, outcome));
  }
  return outcome;
}

absl::Status SessionPlanner::RunSession(const StateMoment& moment, const ApplyStates& apply,
                                        const std::vector<size_t>& which, SpaceNumbers& numbers,
                                        uint64_t& payload_bytes, StateOutcome& outcome) {
  const size_t mark = overlay_.Mark();
  WrittenBytes written;
  const uint64_t payload_before = payload_bytes;
  SessionStates session(overlay_, numbers, {moment.memory, apply.commands[which.front()].session}, moment.stamp_ms);
  RETURN_IF_ERROR(session.Open());
  for (const size_t i : which) {
    auto answer = RunOne(session, apply.commands[i], &written);
    if (answer.ok()) payload_bytes += answer->PayloadBytes();
    if (answer.ok() && payload_bytes > limits::kMaxMessageBytes) {
      answer = absl::ResourceExhaustedError(absl::StrCat("the answers of the batch have ", payload_bytes,
                                                         " bytes so far; the bound is ", limits::kMaxMessageBytes));
    }
    if (answer.ok() && written.bytes() > limits::kMaxStateBatchBytes) {
      answer = absl::ResourceExhaustedError(absl::StrCat("the batch writes states of ",
                                                         written.bytes(), " bytes so far; the bound is ",
                                                         limits::kMaxStateBatchBytes));
    }
    if (answer.ok()) {
      outcome.answers[i] = *std::move(answer);
      continue;
    }
    if (!IsOfTheOperation(answer.status())) return answer.status();
    overlay_.RollBack(mark);
    payload_bytes = payload_before;
    for (const size_t other : which) outcome.answers[other] = {.status = NotApplied(i)};
    outcome.answers[i].status = answer.status();
    return absl::OkStatus();
  }
  const bool writes =
      std::any_of(which.begin(), which.end(), [&](size_t i) { return !IsRead(apply.commands[i].action); });
  if (writes && apply.session_expiry_ms != 0 && session.exists()) session.SetExpiry(apply.session_expiry_ms);
  return absl::OkStatus();
}

absl::StatusOr<StateOutcome> SessionPlanner::Run(const StateMoment& moment, const ResetSessions& reset) {
  StateOutcome outcome;
  SpaceNumbers numbers(moment.sequence);
  for (const std::string& name : reset.sessions) {
    SessionStates session(overlay_, numbers, {moment.memory, name}, moment.stamp_ms);
    RETURN_IF_ERROR(session.Open());
    if (!session.exists()) continue;
    RETURN_IF_ERROR(session.RemoveSession());
    ++outcome.count;
  }
  return outcome;
}

absl::StatusOr<StateOutcome> SessionPlanner::Run(const StateMoment& moment, const ForkSession& fork) {
  SpaceNumbers numbers(moment.sequence);
  SessionStates from(overlay_, numbers, {moment.memory, fork.from}, moment.stamp_ms);
  SessionStates to(overlay_, numbers, {moment.memory, fork.to}, moment.stamp_ms);
  RETURN_IF_ERROR(from.Open());
  RETURN_IF_ERROR(to.Open());
  if (!from.exists()) return NotFound(fork.from);
  if (to.exists() && !fork.replace) {
    const std::string why = absl::StrCat("session \"", fork.to, "\" exists; replace it, or reset it");
    return WithReason(absl::AlreadyExistsError(why), reason::kSessionExists);
  }
  if (to.exists()) RETURN_IF_ERROR(to.RemoveSession());
  RETURN_IF_ERROR(from.ForkTo(to));
  return StateOutcome{};
}

absl::StatusOr<StateOutcome> SessionPlanner::Run(const StateMoment& moment, const PutSession& put) {
  SpaceNumbers numbers(moment.sequence);
  SessionStates session(overlay_, numbers, {moment.memory, put.session}, moment.stamp_ms);
  RETURN_IF_ERROR(session.Open());
  if (session.exists()) RETURN_IF_ERROR(session.RemoveSession());
  session.Make();
  for (const auto& [name, state] : put.states) RETURN_IF_ERROR(PutWhole(session, name, state));
  session.SetExpiry(put.expiry_ms);
  return StateOutcome{};
}

absl::Status SessionPlanner::Expire(const StateExpiry& due, int64_t stamp_ms, ExpiredStates& counts) {
  const size_t mark = overlay_.Mark();
  ExpiredStates of_this;
  const absl::Status planned = PlanExpiry(due, stamp_ms, of_this);
  if (!planned.ok()) {
    overlay_.RollBack(mark);
    return planned;
  }
  counts.sessions += of_this.sessions;
  counts.states += of_this.states;
  return absl::OkStatus();
}

absl::Status SessionPlanner::PlanExpiry(const StateExpiry& due, int64_t stamp_ms, ExpiredStates& counts) {
  SpaceNumbers none(0);  // what only removes makes no space
  const SessionKey key{due.memory, due.session};
  ASSIGN_OR_RETURN(const auto record, overlay_.FindSession(key));
  SessionStates session(overlay_, none, key, stamp_ms);
  RETURN_IF_ERROR(session.Open());  // which removes what expired
  counts.sessions += record.has_value() && !session.exists() ? 1 : 0;
  if (due.space == 0) {
    overlay_.RemoveExpiry(due);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const bool removed, session.RemoveExpired(due));
  counts.states += removed ? 1 : 0;
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, StatePtr>> SessionPlanner::ReadSession(const StateMoment& moment,
                                                                            const std::string& name) {
  SpaceNumbers numbers(moment.sequence);
  SessionStates session(overlay_, numbers, {moment.memory, name}, moment.stamp_ms);
  RETURN_IF_ERROR(session.Open());
  if (!session.exists()) return NotFound(name);
  ASSIGN_OR_RETURN(auto states, session.All());
  for (auto& [each, state] : states) {
    if (state->kind != StateKind::kCounterMatrix) continue;
    ASSIGN_OR_RETURN(StateRecord whole, WholeMatrix(*state, ReaderOf(session, each)));
    state = std::make_shared<const StateRecord>(std::move(whole));
  }
  return states;
}

absl::Status SessionPlanner::Reread(const StateMoment& moment, const ApplyStates& apply, StateOutcome& outcome) {
  const size_t mark = overlay_.Mark();
  SpaceNumbers numbers(moment.sequence);
  for (size_t i = 0; i < apply.commands.size() && i < outcome.answers.size(); ++i) {
    const auto read = RereadOf(apply.commands[i].action);
    if (!read.has_value() || !outcome.answers[i].status.ok()) continue;
    SessionStates session(overlay_, numbers, {moment.memory, apply.commands[i].session}, moment.stamp_ms);
    RETURN_IF_ERROR(session.Open());
    auto answer = RunOne(session, {apply.commands[i].session, apply.commands[i].name, *read}, nullptr);
    if (!answer.ok() && !IsOfTheOperation(answer.status())) return answer.status();
    outcome.answers[i] = answer.ok() ? *std::move(answer) : StateAnswer{.status = answer.status()};
    outcome.answers[i].reread = true;
  }
  overlay_.RollBack(mark);  // it only read
  return absl::OkStatus();
}

}  // namespace mneme
