// HeldAnswers: bytes of answers that gRPC has and clients have not taken, over all calls of a server.
//
// A client may ask for much on many streams and then read nothing: no bound on messages, streams or queues bounds what
// was made for it. Beyond the bound the calls whose answers have waited longest are ended, until what is left is below
// it; whoever takes his answers is never among them.
#ifndef MNEME_SERVER_HELD_ANSWERS_H_
#define MNEME_SERVER_HELD_ANSWERS_H_

#include <cstddef>
#include <functional>
#include <list>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

struct grpc_call;

namespace mneme {

// Thread-safe. Outlives its shares.
class HeldAnswers {
 private:
  struct Waiting {
    grpc_call* call = nullptr;
    size_t bytes = 0;
  };

 public:
  // What is done with a call that is ended.
  struct Calls {
    void (*keep)(grpc_call*);  // it stays valid until it was ended
    void (*end)(grpc_call*);   // RESOURCE_EXHAUSTED for its client, whose answer goes; called once after each keep
  };
  static Calls OfGrpc();

  // The answers of one call, one at a time. Not thread-safe.
  class Share {
   public:
    // `call` lives for as long as an answer of it is given.
    Share(HeldAnswers& all, grpc_call* call) : all_(all), call_(call) {}
    ~Share() { Taken(); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    // An answer is about to go to gRPC. May end other calls, whose events may run before it returns: the caller holds no
    // lock that an event of a call takes.
    void Give(size_t bytes);
    // The client has it, or the call has ended. Nothing where nothing was given.
    void Taken();

   private:
    HeldAnswers& all_;
    grpc_call* const call_;
    bool gave_ = false;
    std::list<Waiting>::iterator place_;
  };

  // `on_end` is called for each call that is ended.
  HeldAnswers(size_t bound, std::function<void()> on_end, Calls calls = OfGrpc())
      : bound_(bound), on_end_(std::move(on_end)), calls_(calls) {}

  size_t bytes() const;

 private:
  const size_t bound_;
  const std::function<void()> on_end_;
  const Calls calls_;
  mutable Mutex mutex_;
  std::list<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);  // oldest first
  std::list<Waiting> ended_ ABSL_GUARDED_BY(mutex_);    // by us; gRPC has not said so yet
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;            // of those that wait
};

}  // namespace mneme

#endif  // MNEME_SERVER_HELD_ANSWERS_H_
