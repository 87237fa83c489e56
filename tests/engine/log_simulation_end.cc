// What must hold when a simulation ends.
#include <limits>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/session_planner.h"
#include "tests/engine/log_simulation.h"

namespace mneme::testing {
namespace {

// The first lines that differ.
std::string FirstDifference(const std::string& a, const std::string& b) {
  const std::vector<std::string> left = absl::StrSplit(a, '\n');
  const std::vector<std::string> right = absl::StrSplit(b, '\n');
  for (size_t i = 0; i < std::max(left.size(), right.size()); ++i) {
    const std::string one = i < left.size() ? left[i] : "nothing";
    const std::string other = i < right.size() ? right[i] : "nothing";
    if (one != other) return absl::StrCat("\"", one, "\", not \"", other, "\"");
  }
  return "";
}

}  // namespace

void LogSimulation::CheckEnd() {
  std::vector<std::string> dumps;
  for (auto& replica : replicas_) {
    Advance(*replica, records_.size());
    if (!failure_.empty()) return;
    dumps.push_back(Dump(replica->running->shard().store()));
  }
  for (size_t i = 1; i < dumps.size(); ++i) {
    const std::string differs = FirstDifference(dumps[i], dumps[0]);
    if (!differs.empty()) return Fail(absl::StrCat("replica ", i, " has ", differs));
  }
  CheckModel(replicas_[0]->running->shard().store());
  for (auto& asked : asked_) {
    if (failure_.empty()) Poll(*asked);
  }
  for (const auto& [name, history] : registers_) {
    if (failure_.empty() && !history.IsLinearizable()) {
      Fail(absl::StrCat("register ", name, " is not linearizable:\n", history.ToString()));
    }
  }
}

void LogSimulation::CheckModel(const EntryStore& store) {
  CheckPartitions(store);
  if (failure_.empty()) CheckSessions(store);
}

void LogSimulation::CheckPartitions(const EntryStore& store) {
  const auto heads = store.ReadHeads();
  if (!heads.ok()) return Fail(heads.status().ToString());
  size_t modelled = 0;
  for (const PartitionHead& head : *heads) {
    if (head.key.memory == 3) continue;  // the model does not know it
    ++modelled;
    const std::string name = absl::StrCat("partition ", head.key.memory, "/", head.key.partition);
    const auto at = model_.partitions().find(head.key);
    if (at == model_.partitions().end()) return Fail(absl::StrCat(name, " should not be there"));
    const ModelPartition& expected = at->second;
    if (head.next_row != expected.next_row || head.live_rows != expected.rows.size()) {
      return Fail(absl::StrCat(name, " has next row ", head.next_row, " and ", head.live_rows, " rows, not ",
                               expected.next_row, " and ", expected.rows.size()));
    }
    std::set<Row> seen;
    const auto check = [&](Row row, const EntryView& entry) {
      seen.insert(row);
      const auto known = expected.rows.find(row);
      const Attributes& is = entry.attributes;
      const bool same = known != expected.rows.end() && known->second.id == entry.id &&
                        known->second.key == entry.key && known->second.value == entry.value &&
                        known->second.label == is.label && known->second.source == is.source &&
                        known->second.expiry_ms == is.expiry_ms && known->second.created_ms == is.created_ms &&
                        known->second.weight == is.weight;
      if (!same) Fail(absl::StrCat(name, " has another entry in row ", row));
      return same;
    };
    const absl::Status scanned = store.ScanRows(head.key, 0, std::numeric_limits<Row>::max(), check);
    if (!scanned.ok()) Fail(scanned.ToString());
    if (seen.size() != expected.rows.size()) Fail(absl::StrCat(name, " has ", seen.size(), " rows"));
    if (!failure_.empty()) return;
  }
  if (modelled != model_.partitions().size()) Fail(absl::StrCat("there are ", modelled, " partitions"));
}

void LogSimulation::CheckSessions(const EntryStore& store) {
  const auto sessions = store.ReadStates()->ScanSessions(1, "", "", std::numeric_limits<size_t>::max());
  if (!sessions.ok()) return Fail(sessions.status().ToString());
  if (sessions->size() != model_.sessions().size()) {
    return Fail(absl::StrCat("there are ", sessions->size(), " sessions, not ", model_.sessions().size()));
  }
  for (const NamedSession& named : *sessions) {
    const auto at = model_.sessions().find({1, named.session});
    if (at == model_.sessions().end()) return Fail(absl::StrCat("session ", named.session, " should not be there"));
    const ModelSession& expected = at->second;
    SessionPlanner planner(store.ReadStates());
    const auto states = planner.ReadSession({1, 0, /*stamp_ms=*/0}, named.session);
    if (!states.ok()) return Fail(states.status().ToString());
    bool same = named.record.expiry_ms == expected.expiry_ms && states->size() == expected.states.size();
    for (const auto& [name, state] : *states) {
      const auto known = expected.states.find(name);
      same = same && known != expected.states.end() && known->second.kind == state->kind &&
             known->second.version == state->version && known->second.expiry_ms == state->expiry_ms &&
             (state->kind != StateKind::kRegister || known->second.value == state->payload);
    }
    if (!same) return Fail(absl::StrCat("session ", named.session, " is another than it should be"));
  }
}

}  // namespace mneme::testing
