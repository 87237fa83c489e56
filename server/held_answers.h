// HeldAnswers: bytes of answers that gRPC has and callers have not taken, over all calls of a server.
//
// A caller may ask for much on many streams and then read nothing: no bound on messages, streams or queues bounds what
// was made for him. Beyond the bound something of whoever holds most goes, until the rest is below it: his oldest read
// is ended, or the new answer is refused where that is his. So a slow reader is spared while others hold more than he.
// A call that may have written is never ended, for its caller would take what was done for refused.
#ifndef MNEME_SERVER_HELD_ANSWERS_H_
#define MNEME_SERVER_HELD_ANSWERS_H_

#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "common/mutex.h"

struct grpc_call;

namespace mneme {

// Thread-safe. Outlives its shares.
class HeldAnswers {
 private:
  struct Holder;
  struct Answer {
    grpc_call* call = nullptr;
    size_t bytes = 0;
    bool wrote = false;
    Holder* holder = nullptr;  // null: we ended it, and gRPC has not said so yet
  };
  using Answers = std::list<Answer>;
  using Place = Answers::iterator;
  struct Holder {
    std::string name;
    size_t bytes = 0;          // of all
    size_t written_bytes = 0;  // of calls that may have written
    Answers reads;             // oldest first
    Answers written;
  };

 public:
  // What is asked of a call, and done with one that is ended.
  struct Calls {
    std::string (*peer)(grpc_call*);  // its connection
    void (*keep)(grpc_call*);         // it stays valid until it was ended
    void (*end)(grpc_call*);          // RESOURCE_EXHAUSTED for its client, whose answer goes; once after each keep
  };
  static Calls OfGrpc();

  // The answers of one call, one at a time. Not thread-safe.
  class Share {
   public:
    // `caller` holds what is given, or the call's connection where he is not known (""). `call` lives for as long as an
    // answer of it is given.
    Share(HeldAnswers& all, grpc_call* call, std::string caller) : all_(all), call_(call), caller_(std::move(caller)) {}
    ~Share() { Taken(); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    // An answer is about to go to gRPC; `wrote`: the call may have written. May end other calls, whose events may run
    // before it returns: who calls it holds no lock that an event of a call takes. Not OK: its holder has the most and
    // nothing else to end, so it must not go: RESOURCE_EXHAUSTED, or UNAVAILABLE where the call may have written, both
    // with the reason ANSWER_NOT_TAKEN.
    absl::Status Give(size_t bytes, bool wrote);
    // The client has it, or the call has ended. Nothing where nothing was given.
    void Taken();

   private:
    HeldAnswers& all_;
    grpc_call* const call_;
    const std::string caller_;
    bool gave_ = false;
    Place place_;
  };

  // `on_end` is told of each call that is ended: its holder, and the bytes that it held.
  using OnEnd = std::function<void(const std::string& holder, size_t bytes)>;
  // `on_room` is told once an eighth of the bound or less is held again, after something had to go: what was held lies
  // about in the allocator. Neither may block.
  HeldAnswers(size_t bound, OnEnd on_end, std::function<void()> on_room, Calls calls = OfGrpc())
      : bound_(bound), on_end_(std::move(on_end)), on_room_(std::move(on_room)), calls_(calls) {}

  size_t bytes() const;

 private:
  struct Ended {
    grpc_call* call = nullptr;
    size_t bytes = 0;
    std::string holder;
  };

  Place Add(const std::string& holder, Answer answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // False: `given` itself is what has to go. What else has to is in `ending`, kept.
  bool MakeRoom(Place given, std::vector<Ended>& ending) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes it off its holder, who is forgotten with his last, and puts it to those that were ended.
  void Detach(Place place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t bound_;
  const OnEnd on_end_;
  const std::function<void()> on_room_;
  const Calls calls_;
  mutable Mutex mutex_;
  std::map<std::string, Holder> holders_ ABSL_GUARDED_BY(mutex_);
  Answers ended_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;     // of all holders
  bool was_full_ ABSL_GUARDED_BY(mutex_) = false;  // since there was room
};

}  // namespace mneme

#endif  // MNEME_SERVER_HELD_ANSWERS_H_
