#include "server/held_answers.h"

#include <grpc/grpc.h>

#include <vector>

namespace mneme {
namespace {

// What is smaller is bounded by how many streams a connection may have, and costs less than its call does.
constexpr size_t kSmallAnswerBytes = 4 * 1024;

void End(grpc_call* call) {
  // Its trailers overtake what it did not take.
  grpc_call_cancel_with_status(call, GRPC_STATUS_RESOURCE_EXHAUSTED,
                               "the answer was not taken, and others need the ram that it holds", nullptr);
  grpc_call_unref(call);
}

}  // namespace

HeldAnswers::Calls HeldAnswers::OfGrpc() { return {grpc_call_ref, End}; }

void HeldAnswers::Share::Give(size_t bytes) {
  if (bytes < kSmallAnswerBytes) return;
  std::vector<grpc_call*> ending;
  {
    MutexLock lock(&all_.mutex_);
    std::list<Waiting>& waiting = all_.waiting_;
    place_ = waiting.insert(waiting.end(), {call_, bytes});
    gave_ = true;
    all_.bytes_ += bytes;
    while (all_.bytes_ > all_.bound_ && waiting.begin() != place_) {
      const auto oldest = waiting.begin();
      all_.bytes_ -= oldest->bytes;
      all_.calls_.keep(oldest->call);  // its share is here, so it has not ended
      ending.push_back(oldest->call);
      all_.ended_.splice(all_.ended_.end(), waiting, oldest);
      oldest->bytes = 0;
    }
  }
  for (grpc_call* call : ending) {
    all_.on_end_();
    all_.calls_.end(call);
  }
}

void HeldAnswers::Share::Taken() {
  if (!gave_) return;
  gave_ = false;
  MutexLock lock(&all_.mutex_);
  all_.bytes_ -= place_->bytes;
  // One that was ended has no bytes any more.
  (place_->bytes == 0 ? all_.ended_ : all_.waiting_).erase(place_);
}

size_t HeldAnswers::bytes() const {
  MutexLock lock(&mutex_);
  return bytes_;
}

}  // namespace mneme
