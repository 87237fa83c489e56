#include "engine/working_memory.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "common/status_macros.h"
#include "engine/earlier_requests.h"
#include "engine/routing.h"
#include "engine/shard_port.h"
#include "engine/write_join.h"

namespace mneme {
namespace {

// Hands each shard its part, with the id and content of the whole.
void SubmitParts(const std::vector<ShardPort*>& shards, std::map<uint32_t, StateRequest> parts,
                 const WriteTicket& ticket, std::function<void(std::vector<WriteJoin::Answer>)> done) {
  if (parts.empty()) return done({});
  const auto join = std::make_shared<WriteJoin>(parts.size(), nullptr, std::move(done));
  for (auto& [shard, request] : parts) {
    StateOperation operation;
    operation.ticket = ticket;
    operation.request = std::move(request);
    SubmitTo(*shards[shard], std::move(operation), join, /*wants_visible=*/false);
  }
}

bool AllReplayed(const std::vector<WriteJoin::Answer>& answers) {
  return !answers.empty() &&
         std::all_of(answers.begin(), answers.end(), [](const auto& answer) { return answer.result->replayed; });
}

// What was done of the request before a restore onto another number of shards; null: nothing.
std::shared_ptr<const EarlierOutcome> EarlierOf(const std::vector<WriteJoin::Answer>& answers) {
  for (const WriteJoin::Answer& answer : answers) {
    if (answer.result->earlier != nullptr) return answer.result->earlier;
  }
  return nullptr;
}

}  // namespace

void WorkingMemory::Apply(MemoryHandle memory, ApplyStates apply, StateWriteOptions options,
                          std::function<void(absl::StatusOr<JoinedStates>)> done) const {
  const size_t count = apply.commands.size();
  const int64_t session_expiry_ms = apply.session_expiry_ms;
  StateRequest whole = std::move(apply);
  const uint64_t content = options.request_id.empty() ? 0 : ContentOf(whole);
  std::map<uint32_t, Part> split;
  std::vector<uint64_t> hashes;  // of the sessions, where the request may have been made before
  auto& commands = std::get<ApplyStates>(whole).commands;
  for (size_t i = 0; i < count; ++i) {
    if (!options.request_id.empty()) hashes.push_back(Routing::HashOfSession(*memory, commands[i].session));
    Part& part = split[routing_->OwnerOfSession(*memory, commands[i].session)];
    part.apply.commands.push_back(std::move(commands[i]));
    part.positions.push_back(i);
  }
  std::map<uint32_t, StateRequest> parts;
  std::map<uint32_t, std::vector<size_t>> positions;
  for (auto& [shard, part] : split) {
    part.apply.session_expiry_ms = session_expiry_ms;
    parts.emplace(shard, std::move(part.apply));
    positions.emplace(shard, std::move(part.positions));
  }
  SubmitParts(shards_, std::move(parts),
              MakeTicket(memory, {kWholeMemory, options.request_id}, content, options.durability, clock_->NowMs()),
              [count, positions = std::move(positions), hashes = std::move(hashes),
               done = std::move(done)](std::vector<WriteJoin::Answer> answers) {
                JoinedStates joined;
                joined.outcome.answers.resize(count);
                for (const WriteJoin::Answer& answer : answers) {
                  if (!answer.result.ok()) return done(answer.result.status());
                  const std::vector<size_t>& places = positions.at(answer.shard);
                  const std::vector<StateAnswer>& given = answer.result->states->answers;
                  for (size_t i = 0; i < places.size(); ++i) joined.outcome.answers[places[i]] = given[i];
                }
                if (const auto earlier = EarlierOf(answers)) {
                  const absl::Status taken = TakeEarlierAnswers(*earlier, hashes, joined.outcome.answers);
                  if (!taken.ok()) return done(taken);
                }
                joined.replayed = AllReplayed(answers);
                done(std::move(joined));
              });
}

void WorkingMemory::Reset(MemoryHandle memory, ResetSessions reset, StateWriteOptions options,
                          std::function<void(absl::StatusOr<JoinedStates>)> done) const {
  const uint64_t content = options.request_id.empty() ? 0 : ContentOf(StateRequest(reset));
  std::map<uint32_t, StateRequest> parts;
  for (std::string& session : reset.sessions) {
    const auto at = parts.try_emplace(routing_->OwnerOfSession(*memory, session), ResetSessions{}).first;
    std::get<ResetSessions>(at->second).sessions.push_back(std::move(session));
  }
  SubmitParts(shards_, std::move(parts),
              MakeTicket(memory, {kWholeMemory, options.request_id}, content, options.durability, clock_->NowMs()),
              [done = std::move(done)](std::vector<WriteJoin::Answer> answers) {
                JoinedStates joined;
                for (const WriteJoin::Answer& answer : answers) {
                  if (!answer.result.ok()) return done(answer.result.status());
                  joined.outcome.count += answer.result->states->count;
                }
                if (const auto earlier = EarlierOf(answers)) joined.outcome.count += earlier->count;
                joined.replayed = AllReplayed(answers);
                done(std::move(joined));
              });
}

void WorkingMemory::Submit(const MemoryHandle& memory, const std::string& session, StateRequest request,
                           const StateWriteOptions& options,
                           std::function<void(absl::StatusOr<JoinedStates>)> done) const {
  const uint64_t content = options.request_id.empty() ? 0 : ContentOf(request);
  std::map<uint32_t, StateRequest> parts;
  parts.emplace(routing_->OwnerOfSession(*memory, session), std::move(request));
  SubmitParts(shards_, std::move(parts),
              MakeTicket(memory, {kWholeMemory, options.request_id}, content, options.durability, clock_->NowMs()),
              [done = std::move(done)](std::vector<WriteJoin::Answer> answers) {
                if (!answers[0].result.ok()) return done(answers[0].result.status());
                done(JoinedStates{.outcome = {}, .replayed = AllReplayed(answers)});
              });
}

void WorkingMemory::Fork(MemoryHandle memory, ForkSession fork, StateWriteOptions options,
                         std::function<void(absl::StatusOr<JoinedStates>)> done) const {
  const std::string from = fork.from;
  Submit(memory, from, std::move(fork), options, std::move(done));
}

void WorkingMemory::Put(MemoryHandle memory, PutSession put, StateWriteOptions options,
                        std::function<void(absl::StatusOr<JoinedStates>)> done) const {
  const std::string session = put.session;
  Submit(memory, session, std::move(put), options, std::move(done));
}

absl::StatusOr<std::string> WorkingMemory::Get(const MemoryHandle& memory, const std::string& session,
                                               const CallLimits& limits) const {
  return shards_[routing_->OwnerOfSession(*memory, session)]->ReadSession(*memory, session, clock_->NowMs(), limits);
}

absl::StatusOr<StateOutcome> WorkingMemory::Read(const MemoryHandle& memory, const ApplyStates& apply,
                                                 const CallLimits& limits) const {
  std::map<uint32_t, Part> split;
  for (size_t i = 0; i < apply.commands.size(); ++i) {
    Part& part = split[routing_->OwnerOfSession(*memory, apply.commands[i].session)];
    part.apply.commands.push_back(apply.commands[i]);
    part.positions.push_back(i);
  }
  StateOutcome outcome;
  outcome.answers.resize(apply.commands.size());
  const int64_t now_ms = clock_->NowMs();
  for (const auto& [shard, part] : split) {
    ASSIGN_OR_RETURN(StateOutcome read, shards_[shard]->ReadStates(*memory, part.apply, now_ms, limits));
    for (size_t i = 0; i < part.positions.size(); ++i) {
      outcome.answers[part.positions[i]] = std::move(read.answers[i]);
    }
  }
  return outcome;
}

absl::StatusOr<SessionPage> WorkingMemory::List(const MemoryHandle& memory, const std::string& prefix,
                                                const std::string& after, size_t limit,
                                                const CallLimits& limits) const {
  std::vector<NamedSession> found;
  for (const ShardPort* shard : shards_) {
    RETURN_IF_ERROR(limits.Check());
    ASSIGN_OR_RETURN(std::vector<NamedSession> part, shard->ListSessions(*memory, prefix, after, limit + 1, limits));
    found.insert(found.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
  }
  std::sort(found.begin(), found.end(),
            [](const NamedSession& a, const NamedSession& b) { return a.session < b.session; });
  SessionPage page;
  if (found.size() > limit) {
    found.resize(limit);
    page.next = found.back().session;
  }
  const int64_t now_ms = clock_->NowMs();
  for (NamedSession& each : found) {
    if (each.record.expiry_ms != 0 && each.record.expiry_ms <= now_ms) continue;
    page.sessions.push_back(
        {std::move(each.session), each.record.states, each.record.bytes, each.record.expiry_ms});
  }
  return page;
}

}  // namespace mneme
