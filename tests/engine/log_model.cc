#include "tests/engine/log_model.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/limits.h"

namespace mneme::testing {
namespace {

constexpr int64_t kRememberMs = limits::kRememberedRequestMs + limits::kMaxAheadMs + limits::kMaxBehindMs;
constexpr Sequence kForgetEvery = 512;  // engine/shard_places.cc
constexpr size_t kForgetBatch = 1024;

ModelOutcome Refused(absl::StatusCode code) {
  ModelOutcome outcome;
  outcome.code = code;
  return outcome;
}

bool IsDue(int64_t expiry_ms, int64_t stamp_ms) { return expiry_ms != 0 && expiry_ms <= stamp_ms; }

StateKind KindOf(const StateAction& action) {
  if (std::holds_alternative<CountersAdd>(action)) return StateKind::kCounters;
  return std::holds_alternative<LinearApply>(action) ? StateKind::kLinear : StateKind::kRegister;
}

std::string DifferenceOfAnswer(const StateAnswer& answer, const ModelAnswer& expected) {
  if (answer.status.code() != expected.code) return absl::StrCat("status ", answer.status.ToString());
  if (!answer.status.ok()) return "";
  if (answer.found != expected.found) return absl::StrCat("found ", answer.found);
  if (answer.version != expected.version) {
    return absl::StrCat("version ", answer.version, ", not ", expected.version);
  }
  return answer.value == expected.value ? "" : absl::StrCat("value ", answer.value, ", not ", expected.value);
}

}  // namespace

std::string Difference(const absl::StatusOr<WriteResult>& outcome, const ModelOutcome& expected) {
  if (outcome.status().code() != expected.code) {
    return absl::StrCat("status ", outcome.status().ToString(), ", not ", absl::StatusCodeToString(expected.code));
  }
  if (!outcome.ok()) return "";
  if (outcome->sequence != expected.sequence) {
    return absl::StrCat("sequence ", outcome->sequence, ", not ", expected.sequence);
  }
  if (outcome->replayed != expected.replayed) return absl::StrCat("replayed ", outcome->replayed);
  if (expected.opaque) return "";
  if (outcome->count != expected.count) return absl::StrCat("count ", outcome->count, ", not ", expected.count);
  if (outcome->other != expected.other) return absl::StrCat("other ", outcome->other, ", not ", expected.other);
  if (outcome->given_ids != expected.given_ids) return "other ids";
  if (expected.answers.empty() && expected.sessions == 0) return "";
  if (outcome->states == nullptr) return "no answers";
  if (outcome->states->count != expected.sessions) return absl::StrCat("reset ", outcome->states->count);
  if (outcome->states->answers.size() != expected.answers.size()) return "another number of answers";
  for (size_t i = 0; i < expected.answers.size(); ++i) {
    const std::string differs = DifferenceOfAnswer(outcome->states->answers[i], expected.answers[i]);
    if (!differs.empty()) return absl::StrCat("answer ", i, ": ", differs);
  }
  return "";
}

ModelOutcome LogModel::Apply(const LogRecord& record, Sequence position) {
  ForgetOld(record.stamp_ms, position);
  applied_ = position;
  ModelOutcome outcome;
  outcome.sequence = position;
  if (const auto* rows = std::get_if<ExpireRowsCommand>(&record.operation)) {
    Expire(record, *rows);
    return outcome;
  }
  if (const auto* states = std::get_if<ExpireStatesCommand>(&record.operation)) {
    Expire(record, *states);
    return outcome;
  }
  if (const auto* merge = std::get_if<MergeRowsCommand>(&record.operation)) {
    outcome = Merge(record, *merge);
    outcome.sequence = position;
    return outcome;
  }
  const WriteTicket* const ticket = TicketOf(const_cast<LoggedOperation&>(record.operation));
  return ticket == nullptr ? outcome : ApplyTicketed(record, *ticket, position);
}

void LogModel::ForgetOld(int64_t now_ms, Sequence position) {
  if (position / kForgetEvery == applied_ / kForgetEvery || now_ms <= kRememberMs) return;
  std::map<std::pair<Sequence, RequestKey>, int64_t> by_age;
  for (const auto& [key, request] : requests_) by_age[{request.sequence, {key.second, key.first}}] = request.stamp_ms;
  size_t looked_at = 0;
  for (const auto& [age, stamp_ms] : by_age) {
    if (looked_at++ == kForgetBatch) return;
    if (stamp_ms <= now_ms - kRememberMs) requests_.erase({age.second.second, age.second.first});
  }
}

ModelOutcome LogModel::ApplyTicketed(const LogRecord& record, const WriteTicket& ticket, Sequence position) {
  if (!memories_.contains(record.memory)) return Refused(absl::StatusCode::kNotFound);
  const MemorySpec& spec = memories_.at(record.memory)->spec;
  if (const auto* insert = std::get_if<InsertOperation>(&record.operation)) {
    if (insert->entries.keys.size() != insert->entries.count * spec.KeyBytes()) {
      return Refused(absl::StatusCode::kInvalidArgument);
    }
  }
  if (!ticket.request.has_value()) return Run(record, position);
  const RequestKey key{ticket.request->id.low, ticket.request->id.high};
  if (const auto known = requests_.find(key); known != requests_.end()) {
    const int64_t apart_ms = known->second.stamp_ms - record.stamp_ms;
    if (-limits::kRememberedRequestMs <= apart_ms && apart_ms <= limits::kRememberedRequestMs) {
      if (known->second.content != ticket.request->content) return Refused(absl::StatusCode::kFailedPrecondition);
      ModelOutcome replay = known->second.outcome;
      replay.replayed = true;
      return replay;
    }
  }
  ModelOutcome outcome = Run(record, position);
  if (outcome.code == absl::StatusCode::kOk) {
    requests_[key] = {ticket.request->content, position, record.stamp_ms, outcome};
  }
  return outcome;
}

ModelOutcome LogModel::Run(const LogRecord& record, Sequence position) {
  ModelOutcome outcome;
  if (const auto* states = std::get_if<StateOperation>(&record.operation)) {
    outcome = States(record, *states);
  } else if (memories_.at(record.memory)->spec.metric == Metric::kCosine) {
    outcome.opaque = true;
  } else if (const auto* insert = std::get_if<InsertOperation>(&record.operation)) {
    outcome = Insert(record, *insert);
  } else {
    outcome = Delete(record, std::get<DeleteOperation>(record.operation));
  }
  outcome.sequence = position;
  return outcome;
}

ModelOutcome LogModel::Insert(const LogRecord& record, const InsertOperation& insert) {
  ModelOutcome outcome;
  const EntryColumns& entries = insert.entries;
  ModelPartition& partition = partitions_[{record.memory, insert.partition}];
  outcome.count = entries.count;
  for (size_t i = 0; i < entries.count; ++i) {
    const bool given = entries.ids.empty();
    // The last of equal ids wins, and the others take no row.
    if (!given && std::find(entries.ids.begin() + static_cast<std::ptrdiff_t>(i) + 1, entries.ids.end(),
                            entries.ids[i]) != entries.ids.end()) {
      ++outcome.other;
      continue;
    }
    ModelEntry entry;
    entry.id = given ? ServerId(partition.next_row, shard_) : entries.ids[i];
    if (given) {
      outcome.given_ids.push_back(entry.id);
    } else {
      outcome.other += std::erase_if(partition.rows, [&](const auto& row) { return row.second.id == entry.id; });
    }
    const EntryView view = entries.At(i);
    entry.key = std::string(view.key);
    entry.value = std::string(view.value);
    entry.label = view.attributes.label;
    entry.source = view.attributes.source;
    entry.expiry_ms = view.attributes.expiry_ms;
    entry.created_ms = record.stamp_ms;
    partition.rows[partition.next_row++] = std::move(entry);
  }
  Evict(record.memory, partition);
  return outcome;
}

void LogModel::Evict(MemoryNumber memory, ModelPartition& partition) {
  const uint64_t capacity = memories_.at(memory)->spec.capacity;
  while (capacity != 0 && partition.rows.size() > capacity) partition.rows.erase(partition.rows.begin());
}

ModelOutcome LogModel::Delete(const LogRecord& record, const DeleteOperation& erase) {
  ModelOutcome outcome;
  std::vector<PartitionId> asked = erase.partitions;
  if (erase.all_partitions) {
    asked.clear();
    for (const auto& [key, partition] : partitions_) {
      if (key.memory == record.memory) asked.push_back(key.partition);
    }
  }
  std::set<EntryId> found;
  const std::set<EntryId> ids = erase.ids.has_value() ? std::set<EntryId>(erase.ids->begin(), erase.ids->end())
                                                      : std::set<EntryId>();
  for (const PartitionId each : asked) {
    const auto at = partitions_.find({record.memory, each});
    if (at == partitions_.end()) continue;
    outcome.count += std::erase_if(at->second.rows, [&](const auto& row) {
      const ModelEntry& entry = row.second;
      if (erase.everything) return true;
      if (erase.ids.has_value()) return ids.contains(entry.id) && (found.insert(entry.id), true);
      const auto& sources = erase.filter->sources;
      return !sources.has_value() || std::find(sources->begin(), sources->end(), entry.source) != sources->end();
    });
  }
  if (erase.ids.has_value()) outcome.other = ids.size() - found.size();
  return outcome;
}

ModelSession* LogModel::Open(MemoryNumber memory, const std::string& name, int64_t stamp_ms) {
  const auto at = sessions_.find({memory, name});
  if (at == sessions_.end()) return nullptr;
  if (!IsDue(at->second.expiry_ms, stamp_ms)) return &at->second;
  sessions_.erase(at);
  return nullptr;
}

ModelOutcome LogModel::States(const LogRecord& record, const StateOperation& states) {
  if (const auto* apply = std::get_if<mneme::ApplyStates>(&states.request)) return ApplyStates(record, *apply);
  const Sessions before = sessions_;
  ModelOutcome outcome;
  if (const auto* reset = std::get_if<ResetSessions>(&states.request)) {
    for (const std::string& name : reset->sessions) {
      if (Open(record.memory, name, record.stamp_ms) == nullptr) continue;
      sessions_.erase({record.memory, name});
      ++outcome.sessions;
    }
  }
  if (const auto* fork = std::get_if<ForkSession>(&states.request)) {
    const ModelSession* from = Open(record.memory, fork->from, record.stamp_ms);
    const ModelSession* to = Open(record.memory, fork->to, record.stamp_ms);
    if (from == nullptr || (to != nullptr && !fork->replace)) {
      const auto code = from == nullptr ? absl::StatusCode::kNotFound : absl::StatusCode::kAlreadyExists;
      sessions_ = before;
      return Refused(code);
    }
    const ModelSession copy = *from;
    sessions_[{record.memory, fork->to}] = copy;
  }
  if (const auto* put = std::get_if<PutSession>(&states.request)) {
    ModelSession session;
    session.expiry_ms = put->expiry_ms;
    for (const auto& [name, state] : put->states) {
      session.states[name] = {state->kind, state->version, state->expiry_ms, state->payload};
    }
    sessions_[{record.memory, put->session}] = std::move(session);
  }
  return outcome;
}

ModelOutcome LogModel::ApplyStates(const LogRecord& record, const mneme::ApplyStates& apply) {
  ModelOutcome outcome;
  outcome.answers.resize(apply.commands.size());
  std::map<std::string, std::vector<size_t>> by_session;
  for (size_t i = 0; i < apply.commands.size(); ++i) by_session[apply.commands[i].session].push_back(i);
  for (const auto& [name, which] : by_session) {
    const Sessions before = sessions_;
    std::optional<size_t> failed;
    bool writes = false;
    for (const size_t i : which) {
      ModelSession* session = Open(record.memory, name, record.stamp_ms);
      ModelSession made;
      outcome.answers[i] = Act(session, apply.commands[i], record.stamp_ms, made);
      if (outcome.answers[i].code != absl::StatusCode::kOk) {
        failed = i;
        break;
      }
      writes |= !IsRead(apply.commands[i].action);
      if (session == nullptr && !made.states.empty()) sessions_[{record.memory, name}] = std::move(made);
    }
    if (failed.has_value()) {
      sessions_ = before;
      const ModelAnswer why = outcome.answers[*failed];
      for (const size_t i : which) outcome.answers[i] = {.code = absl::StatusCode::kAborted};
      outcome.answers[*failed] = why;
      continue;
    }
    const auto at = sessions_.find({record.memory, name});
    if (writes && apply.session_expiry_ms != 0 && at != sessions_.end()) at->second.expiry_ms = apply.session_expiry_ms;
  }
  return outcome;
}

ModelAnswer LogModel::Act(ModelSession* session, const StateCommand& command, int64_t stamp_ms, ModelSession& made) {
  ModelSession& target = session != nullptr ? *session : made;
  const auto at = target.states.find(command.name);
  const bool there = at != target.states.end() && !IsDue(at->second.expiry_ms, stamp_ms);
  const ModelState current = there ? at->second : ModelState{.version = 0};
  ModelAnswer answer;
  answer.found = there;
  answer.version = current.version;
  const auto write = [&](std::string value, int64_t expiry_ms) {
    target.states[command.name] = {KindOf(command.action), current.version + 1, expiry_ms, std::move(value)};
    answer.version = current.version + 1;
  };
  if (std::holds_alternative<RemoveState>(command.action)) {
    target.states.erase(command.name);
    answer.version = 0;
    return answer;
  }
  if (there && current.kind != KindOf(command.action)) return {.code = absl::StatusCode::kFailedPrecondition};
  if (const auto* put = std::get_if<RegisterPut>(&command.action)) {
    write(put->value, put->expiry_ms);
  } else if (const auto* cas = std::get_if<RegisterCas>(&command.action)) {
    if (cas->expected_version != current.version) return {.code = absl::StatusCode::kAborted};
    write(cas->value, cas->expiry_ms);
  } else if (std::holds_alternative<RegisterGet>(command.action)) {
    answer.value = current.value;
  } else {
    write("", current.expiry_ms);
  }
  return answer;
}

void LogModel::Expire(const LogRecord& record, const ExpireRowsCommand& expire) {
  const auto at = partitions_.find({record.memory, expire.partition});
  if (at == partitions_.end() || !memories_.contains(record.memory)) return;
  for (const StoredRow& named : expire.rows) {
    const auto row = at->second.rows.find(named.row);
    if (row == at->second.rows.end() || row->second.id != named.id) continue;
    if (IsDue(row->second.expiry_ms, record.stamp_ms)) at->second.rows.erase(row);
  }
}

ModelOutcome LogModel::Merge(const LogRecord& record, const MergeRowsCommand& merge) {
  ModelOutcome outcome;
  const RowMerges& merges = merge.merges;
  const auto at = partitions_.find({record.memory, merge.partition});
  const auto has = [&](const StoredRow& named) {
    if (at == partitions_.end()) return false;
    const auto row = at->second.rows.find(named.row);
    return row != at->second.rows.end() && row->second.id == named.id;
  };
  size_t next = 0;
  for (size_t i = 0; i < merges.survivors.size(); ++i) {
    const bool survives = has(merges.survivors[i]);
    uint64_t taken = 0;
    for (const size_t end = next + merges.taken[i]; next < end; ++next) {
      if (!survives || !has(merges.merged[next])) continue;
      at->second.rows.erase(merges.merged[next].row);
      ++taken;
    }
    outcome.count += taken;
    outcome.other += merges.taken[i] - taken;
    if (taken == 0) continue;
    ModelPartition& partition = at->second;
    ModelEntry kept = partition.rows.at(merges.survivors[i].row);
    partition.rows.erase(merges.survivors[i].row);
    kept.weight += static_cast<float>(taken);
    if (IsServerId(kept.id)) kept.id = ServerId(partition.next_row, shard_);
    partition.rows[partition.next_row++] = std::move(kept);
  }
  return outcome;
}

void LogModel::Expire(const LogRecord& record, const ExpireStatesCommand& expire) {
  swept_ms_ = std::max(swept_ms_, record.stamp_ms);
  for (const StateExpiry& due : expire.due) {
    if (due.expiry_ms > record.stamp_ms) continue;
    ModelSession* const session = Open(due.memory, due.session, record.stamp_ms);
    if (session == nullptr || due.space == 0) continue;
    const auto state = session->states.find(due.name);
    if (state != session->states.end() && state->second.expiry_ms == due.expiry_ms) session->states.erase(state);
  }
}

const LogModel::Remembered* LogModel::FindRequest(const Hash128& id) const {
  const auto at = requests_.find({id.low, id.high});
  return at == requests_.end() ? nullptr : &at->second;
}

}  // namespace mneme::testing
