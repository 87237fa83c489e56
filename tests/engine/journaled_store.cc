#include "tests/engine/journaled_store.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "engine/routing.h"
#include "engine/session_planner.h"
#include "storage/memory_entry_store.h"

namespace mneme::testing {
namespace {

std::string HexOf(std::string_view bytes) { return absl::BytesToHexString({bytes.data(), bytes.size()}); }

void DumpPartition(const EntryStore& store, const PartitionHead& head, std::string& out) {
  const std::string name = absl::StrCat(head.key.memory, "/", head.key.partition);
  absl::StrAppend(&out, "partition ", name, " next row ", head.next_row, " live ", head.live_rows, "\n");
  const absl::Status scanned =
      store.ScanRows(head.key, 0, std::numeric_limits<Row>::max(), [&](Row row, const EntryView& entry) {
        const Attributes& is = entry.attributes;
        absl::StrAppend(&out, "  row ", row, " id ", entry.id, " key ", HexOf(entry.key));
        absl::StrAppend(&out, " value ", HexOf(entry.value), " weight ", is.weight, " label ", is.label, " source ",
                        is.source, " position ", is.position);
        absl::StrAppend(&out, " expires ", is.expiry_ms, " created ", is.created_ms);
        const auto mapped = store.FindRow(head.key, entry.id);
        if (!mapped.ok()) {
          absl::StrAppend(&out, " map ", mapped.status().ToString());
        } else if (mapped->has_value() == IsServerId(entry.id) || (mapped->has_value() && **mapped != row)) {
          absl::StrAppend(&out, " is mapped elsewhere");
        }
        absl::StrAppend(&out, "\n");
        return true;
      });
  if (!scanned.ok()) absl::StrAppend(&out, "  ", scanned.ToString(), "\n");
}

void DumpSession(const EntryStore& store, MemoryNumber memory, const NamedSession& named, std::string& out) {
  const SessionRecord& record = named.record;
  absl::StrAppend(&out, "session ", memory, "/", named.session, " space ", record.number, " states ", record.states,
                  " bytes ", record.bytes, " expires ", record.expiry_ms, " bases");
  for (const uint64_t base : record.bases) absl::StrAppend(&out, " ", base);
  absl::StrAppend(&out, "\n");
  SessionPlanner planner(store.ReadStates());
  const auto states = planner.ReadSession({memory, 0, /*stamp_ms=*/0}, named.session);
  if (!states.ok()) {
    absl::StrAppend(&out, "  ", states.status().ToString(), "\n");
    return;
  }
  for (const auto& [name, state] : *states) {
    absl::StrAppend(&out, "  ", name, " kind ", static_cast<int>(state->kind), " version ", state->version, " expires ",
                    state->expiry_ms, " payload ", HexOf(state->payload), "\n");
  }
}

void DumpRequests(const EntryStore& store, std::string& out) {
  const auto requests = store.OldestRequests(std::numeric_limits<size_t>::max());
  if (!requests.ok()) {
    absl::StrAppend(&out, requests.status().ToString(), "\n");
    return;
  }
  for (const RememberedRequest& request : *requests) {
    const auto whole = store.FindRequest(request.id);
    const bool there = whole.ok() && whole->has_value();
    absl::StrAppend(&out, "request ", request.id.low, " content ", request.content, " at ", request.sequence, " stamp ",
                    request.stamp_ms, " result ", there ? HexOf((*whole)->result) : "none", "\n");
  }
}

}  // namespace

JournaledStore::JournaledStore(Journal* journal, StoreFaults faults)
    : journal_(journal), faults_(std::move(faults)), store_(NewMemoryEntryStore()) {
  for (const Journal::Step& step : journal_->steps_) (void)store_->Commit(step.batch);
}

absl::Status JournaledStore::Commit(const StoreBatch& batch) {
  if (faults_.before_commit != nullptr) faults_.before_commit();
  Journal::Step step{batch, {}};
  for (StoreBatch::Run& run : step.batch.runs) {
    const auto columns = std::make_shared<EntryColumns>();
    columns->values.width = run.columns->values.width;
    for (size_t i = run.begin; i < run.end; ++i) columns->Append(run.columns->At(i));
    run.end -= std::exchange(run.begin, 0);
    run.columns = columns.get();
    step.columns.push_back(columns);
  }
  if (faults_.commit != nullptr && !faults_.commit(step.batch)) return absl::OkStatus();
  RETURN_IF_ERROR(store_->Commit(step.batch));
  journal_->steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::optional<Row>>> JournaledStore::FindRows(const PartitionKey& key,
                                                                         absl::Span<const EntryId> ids) const {
  if (faults_.read != nullptr) RETURN_IF_ERROR(faults_.read());
  return store_->FindRows(key, ids);
}

absl::StatusOr<bool> JournaledStore::ReadRow(const PartitionKey& key, Row row, EntryColumns& out) const {
  if (faults_.read != nullptr) RETURN_IF_ERROR(faults_.read());
  return store_->ReadRow(key, row, out);
}

absl::StatusOr<std::optional<RememberedRequest>> JournaledStore::FindRequest(const Hash128& id) const {
  if (faults_.forget != nullptr && faults_.forget()) return std::optional<RememberedRequest>();
  return store_->FindRequest(id);
}

absl::StatusOr<std::vector<PartitionHead>> JournaledStore::ReadHeads() const {
  ASSIGN_OR_RETURN(std::vector<PartitionHead> heads, store_->ReadHeads());
  if (faults_.head == nullptr) return heads;
  for (PartitionHead& head : heads) faults_.head(head);
  return heads;
}

std::string Dump(const EntryStore& store) {
  std::string out = absl::StrCat("applied ", store.applied(), "\n");
  const auto heads = store.ReadHeads();
  if (!heads.ok()) return heads.status().ToString();
  for (const PartitionHead& head : *heads) DumpPartition(store, head, out);
  const std::unique_ptr<StateReader> reader = store.ReadStates();
  const auto memories = reader->Memories();
  if (!memories.ok()) return memories.status().ToString();
  for (const MemoryNumber memory : *memories) {
    const auto sessions = reader->ScanSessions(memory, "", "", std::numeric_limits<size_t>::max());
    if (!sessions.ok()) return sessions.status().ToString();
    for (const NamedSession& named : *sessions) DumpSession(store, memory, named, out);
  }
  const auto expiries = reader->ScanExpiries(0, std::numeric_limits<size_t>::max());
  if (!expiries.ok()) return expiries.status().ToString();
  for (const StateExpiry& expiry : *expiries) {
    absl::StrAppend(&out, "expiry ", expiry.expiry_ms, " ", expiry.memory, "/", expiry.session, " space ", expiry.space,
                    " ", expiry.name, "\n");
  }
  DumpRequests(store, out);
  return out;
}

}  // namespace mneme::testing
