// AnswerPause: a stream of answers waits until its caller's quota of bytes answered has room for the next.
#ifndef MNEME_SERVER_ANSWER_PAUSE_H_
#define MNEME_SERVER_ANSWER_PAUSE_H_

#include <grpcpp/alarm.h>

#include <functional>
#include <optional>

#include "engine/commands.h"
#include "server/call_record.h"

namespace mneme {

// One wait at a time. The stream that has it lives until it went on. Not thread-safe.
class AnswerPause {
 public:
  // Calls `go_on` once there is room, or when the call has no more time: at once, here, where it need not wait, else on
  // a thread of gRPC's, which it must not block.
  void Then(const CallRecord& record, const CallLimits& limits, std::function<void()> go_on);

 private:
  std::optional<grpc::Alarm> alarm_;  // a new one each time: the last may still be on its way out of its event
};

}  // namespace mneme

#endif  // MNEME_SERVER_ANSWER_PAUSE_H_
