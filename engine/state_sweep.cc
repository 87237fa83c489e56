// 1. StateExpiries says whether something expired kExpirySlackMs ago: so what expired in that long goes in one look.
// 2. The store lists what is due in the order of its time. What removing it will read is added up, so that the writer
//    is not held up for long.
// 3. What was found goes to the writer in one operation. It removes what still expires then: a session or state that
//    was written anew meanwhile has another expiry, or none. Where the shard has a log, a record of it names it, and
//    what is still there when that is applied is named again.
#include "engine/state_sweep.h"

#include <future>
#include <memory>
#include <optional>
#include <utility>

#include "common/status_macros.h"
#include "engine/expiry_queue.h"

namespace mneme {
namespace {

// What one operation removes at most, and bytes of it: the writer does little else meanwhile.
constexpr size_t kPerLook = 1024;
constexpr uint64_t kBytesPerLook = 32 * 1024 * 1024;
// What a state costs beside its bytes.
constexpr uint64_t kOverheadBytes = 1024;

// About what the writer reads to remove it.
absl::StatusOr<uint64_t> CostOf(const StateReader& reader, const StateExpiry& due) {
  if (due.space == 0) {
    ASSIGN_OR_RETURN(const auto session, reader.FindSession({due.memory, due.session}));
    return session.has_value() ? session->bytes + (1 + session->states) * kOverheadBytes : kOverheadBytes;
  }
  ASSIGN_OR_RETURN(const auto state, reader.FindState({{due.memory, due.space}, due.name}));
  return state.has_value() ? state->payload.size() + kOverheadBytes : kOverheadBytes;
}

}  // namespace

absl::Status StateSweep::Run(Shard& shard) {
  if (log_ != nullptr && !log_->Settled()) return absl::OkStatus();
  const int64_t now_ms = clock_->NowMs();
  const std::optional<int64_t> from_ms = shard.state_expiries().Take(now_ms - Slack());
  if (!from_ms.has_value()) return absl::OkStatus();
  absl::Status removed = Remove(shard, *from_ms, now_ms);
  // Again after the slack; but what is damaged will not mend.
  if (!removed.ok() && !absl::IsDataLoss(removed)) shard.state_expiries().NoteFrom(*from_ms, now_ms);
  return removed;
}

absl::StatusOr<StateSweep::Findings> StateSweep::Look(const Shard& shard, int64_t from_ms, int64_t now_ms) {
  const std::unique_ptr<StateReader> reader = shard.store().ReadStates();
  ASSIGN_OR_RETURN(std::vector<StateExpiry> stored, reader->ScanExpiries(from_ms, kPerLook + 1));
  Findings found{{}, kNeverExpires};
  uint64_t bytes = 0;
  for (StateExpiry& each : stored) {
    if (each.expiry_ms > now_ms || bytes >= kBytesPerLook || found.due.size() == kPerLook) {
      found.least_expiry_ms = each.expiry_ms;
      break;
    }
    const absl::StatusOr<uint64_t> cost = CostOf(*reader, each);
    if (!cost.ok() && !absl::IsDataLoss(cost.status())) return cost.status();
    bytes += cost.value_or(kOverheadBytes);  // the writer says what is damaged
    found.due.push_back(std::move(each));
  }
  return found;
}

absl::Status StateSweep::Remove(Shard& shard, int64_t from_ms, int64_t now_ms) {
  ASSIGN_OR_RETURN(Findings found, Look(shard, from_ms, now_ms));
  if (!found.due.empty() && log_ != nullptr) {
    const bool again = named_ == found.due.front();
    named_ = found.due.front();
    LogRecord record;
    record.stamp_ms = now_ms;
    record.operation = ExpireStatesCommand{std::move(found.due)};
    log_->Append(std::move(record));
    // Looked at again once it is applied; what did not go by then may wait, so that it does not fill the log.
    shard.state_expiries().NoteFrom(from_ms, again ? now_ms : now_ms - Slack());
    return absl::OkStatus();
  }
  absl::Status damaged;
  if (!found.due.empty()) {
    auto done = std::make_shared<std::promise<absl::Status>>();
    std::future<absl::Status> removed = done->get_future();
    RETURN_IF_ERROR(shard.Submit(ExpireStatesOperation{
        .due = std::move(found.due),
        .stamp_ms = now_ms,
        .done = [done](const absl::Status& status) { done->set_value(status); }}));
    damaged = removed.get();
    if (!damaged.ok() && !absl::IsDataLoss(damaged)) return damaged;
  }
  if (found.least_expiry_ms != kNeverExpires) shard.state_expiries().Note(found.least_expiry_ms);
  return damaged;
}

}  // namespace mneme
