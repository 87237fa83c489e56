// What a shard does with the places that a log gives to its records (WriteTicket::position), and which remembered
// requests it forgets. What it holds is a function of the records up to store_->applied() alone (I7), so:
// 1. A record that comes again is dropped, and one that is refused takes its place as well as one that is applied.
// 2. What this replica cannot tell, since its disk fails, it may not pass over: it stops.
// 3. Requests are forgotten with records that every replica knows, by their stamps, whatever was written in one group.
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "engine/shard.h"

namespace mneme {
namespace {

// By the clocks of front ends: a request that one stamped late, asked about by another that stamps early, is remembered
// for as long as was promised.
constexpr int64_t kRememberMs = limits::kRememberedRequestMs + limits::kMaxAheadMs + limits::kMaxBehindMs;
// Remembered requests dropped in one round once the window is full, and with a record of a log. There, twice as many as
// may have come since the last time.
constexpr size_t kForgetBatch = 1024;
constexpr Sequence kForgetEvery = kForgetBatch / 2;

bool IsOld(const RememberedRequest& request, int64_t now_ms) {
  return now_ms > kRememberMs && request.stamp_ms <= now_ms - kRememberMs;
}

// So far ahead that the clock was set back since. A million requests came after it, and how long ago it was nobody
// knows; without this none would be forgotten before the clock says so again. Never in a log, where what is forgotten
// is what every replica forgets, and clocks that are wrong stamp nothing.
bool IsAhead(const RememberedRequest& request, int64_t now_ms) { return request.stamp_ms - now_ms > kRememberMs; }

// What operations say of themselves; a store that cannot read says none of these, or that the disk is full.
bool IsRefusal(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) || absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
         absl::IsAlreadyExists(status) ||
         (absl::IsResourceExhausted(status) && ReasonOf(status) != reason::kStorageFull);
}

void TellDropped(WriteOperation& operation, const absl::Status& why) {
  std::visit(
      [&why](auto& each) {
        if constexpr (requires { each.ticket; }) {
          each.ticket.done(why);
        } else if constexpr (requires { each.done(why); }) {
          each.done(why);
        }
      },
      operation);
}

}  // namespace

bool Shard::TakePlace(Round& round, WriteOperation& operation) {
  const std::optional<LoggedMoment> moment = MomentOf(operation);
  if (!moment.has_value() || !logged_) return true;
  const Sequence before = round.group->last_sequence();
  if (moment->position <= before) {
    TellDropped(operation, absl::AbortedError(absl::StrCat("the record at ", moment->position,
                                                           " came again; the shard stands at ", before)));
    return false;
  }
  if (moment->position / kForgetEvery != before / kForgetEvery) {
    Close(round);
    round.old_requests = OldRequests(moment->stamp_ms);
    round.group->Forget(round.old_requests);
  }
  return true;
}

void Shard::Pass(Round& round, Sequence position, const absl::Status& planned) {
  if (position == 0) return;
  if (planned.ok() || IsRefusal(planned)) return round.group->Pass(position);
  Refuse(planned);
}

void Shard::Plan(Round& round, WriteTicket& ticket, absl::StatusOr<WriteResult> result) {
  Pass(round, ticket.position, result.status());
  round.planned.push_back({&ticket, std::move(result)});
}

std::vector<RememberedRequest> Shard::OldRequests(int64_t now_ms) {
  absl::StatusOr<std::vector<RememberedRequest>> oldest = store_->OldestRequests(kForgetBatch);
  if (!oldest.ok()) {
    Refuse(oldest.status());
    return {};
  }
  // One that a clock stamped far ahead holds none of the others up.
  std::erase_if(*oldest, [now_ms](const RememberedRequest& request) { return !IsOld(request, now_ms); });
  return *std::move(oldest);
}

void Shard::ForgetOldRequests(Round& round) {
  if (logged_) return;
  remembered_ += round.group->requests();
  if (remembered_ <= limits::kRememberedRequests || round.planned.empty()) return;
  const int64_t now_ms = round.planned.back().ticket->stamp_ms;
  const int64_t left_ms = forget_from_ms_ - now_ms;  // longer than ever told: the clock was set back since
  if (0 < left_ms && left_ms <= 2 * kRememberMs) return;
  auto oldest = store_->OldestRequests(kForgetBatch);
  if (!oldest.ok() || oldest->empty()) return;  // tried again with the next group
  const int64_t oldest_ms = oldest->front().stamp_ms;
  std::erase_if(*oldest, [&](const RememberedRequest& request) {
    return !IsOld(request, now_ms) && !IsAhead(request, now_ms);
  });
  if (oldest->empty()) forget_from_ms_ = oldest_ms + kRememberMs;
  remembered_ -= oldest->size();
  round.group->Forget(*std::move(oldest));
}

}  // namespace mneme
