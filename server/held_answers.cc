#include "server/held_answers.h"

#include <grpc/grpc.h>
#include <grpc/support/alloc.h>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/limits.h"
#include "server/request_error.h"

namespace mneme {
namespace {

// What is smaller costs less than its call does, and is bounded by how many streams a connection may have: of who
// acknowledges our SETTINGS (SECURITY.md).
constexpr size_t kSmallAnswerBytes = 4 * 1024;
// There is room again once so little of the bound is held.
constexpr size_t kRoomPart = 8;

std::string Peer(grpc_call* call) {
  char* const text = grpc_call_get_peer(call);
  std::string peer = text == nullptr ? "" : text;
  gpr_free(text);
  return peer;
}

void Keep(grpc_call* call) { grpc_call_ref(call); }

void End(grpc_call* call) {
  // Its trailers overtake what it did not take. They have no room for details.
  grpc_call_cancel_with_status(call, GRPC_STATUS_RESOURCE_EXHAUSTED,
                               "the answer was not taken, and others need the ram that it holds", nullptr);
  grpc_call_unref(call);
}

absl::Status NotGiven(size_t bytes, bool wrote) {
  const std::string held = absl::StrCat("an answer of ", bytes, " bytes is left out, for its caller holds more answers "
                                        "that were not taken than anybody else, or than he may");
  const absl::Status status =
      wrote ? absl::UnavailableError(absl::StrCat("what this call wrote stays written; ", held,
                                                  ": take them, and ask again under the same request id"))
            : absl::ResourceExhaustedError(absl::StrCat(held, ": take them first"));
  return WithRetry(WithReason(status, reason::kAnswerNotTaken), absl::Seconds(1));
}

}  // namespace

HeldAnswers::Calls HeldAnswers::OfGrpc() { return {Peer, Keep, End}; }

absl::Status HeldAnswers::Share::Give(size_t bytes, bool wrote) {
  if (bytes < kSmallAnswerBytes) return absl::OkStatus();
  const std::string holder = caller_.empty() ? all_.calls_.peer(call_) : caller_;
  std::vector<Ended> ending;
  {
    MutexLock lock(&all_.mutex_);
    place_ = all_.Add(holder, {.call = call_, .bytes = bytes, .wrote = wrote});
    gave_ = all_.MakeRoom(place_, ending);
    if (!gave_) {
      all_.Detach(place_);
      all_.ended_.erase(place_);
    }
  }
  for (const Ended& each : ending) {
    all_.on_end_(each.holder, each.bytes);
    all_.calls_.end(each.call);
  }
  return gave_ ? absl::OkStatus() : NotGiven(bytes, wrote);
}

void HeldAnswers::Share::Taken() {
  if (!gave_) return;
  gave_ = false;
  bool room = false;
  {
    MutexLock lock(&all_.mutex_);
    if (place_->holder != nullptr) all_.Detach(place_);
    all_.ended_.erase(place_);
    room = all_.was_full_ && all_.bytes_ <= all_.bound_ / kRoomPart;
    if (room) all_.was_full_ = false;
  }
  if (room) all_.on_room_();
}

HeldAnswers::Place HeldAnswers::Add(const std::string& holder, Answer answer) {
  Holder& who = holders_[holder];
  who.name = holder;
  answer.holder = &who;
  bytes_ += answer.bytes;
  who.bytes += answer.bytes;
  if (answer.wrote) who.written_bytes += answer.bytes;
  Answers& answers = answer.wrote ? who.written : who.reads;
  return answers.insert(answers.end(), answer);
}

bool HeldAnswers::MakeRoom(Place given, std::vector<Ended>& ending) {
  Holder& giver = *given->holder;
  if (given->wrote && giver.written_bytes > bound_ / limits::kHeldWrittenParts) return false;
  while (bytes_ > bound_) {
    was_full_ = true;
    Holder* most = &giver;
    for (auto& [name, holder] : holders_) {
      if (holder.bytes > most->bytes && !holder.reads.empty()) most = &holder;
    }
    if (most->reads.empty() || &most->reads.front() == &*given) return false;
    const Place oldest = most->reads.begin();
    calls_.keep(oldest->call);  // its share is here, so it has not ended
    ending.push_back({oldest->call, oldest->bytes, most->name});
    Detach(oldest);
  }
  return true;
}

void HeldAnswers::Detach(Place place) {
  Holder* const holder = place->holder;
  place->holder = nullptr;
  bytes_ -= place->bytes;
  holder->bytes -= place->bytes;
  if (place->wrote) holder->written_bytes -= place->bytes;
  ended_.splice(ended_.end(), place->wrote ? holder->written : holder->reads, place);
  if (holder->bytes == 0) holders_.erase(holders_.find(holder->name));
}

size_t HeldAnswers::bytes() const {
  MutexLock lock(&mutex_);
  return bytes_;
}

}  // namespace mneme
