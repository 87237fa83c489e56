// FrontEndPort: a front end's way to a shard, whatever its writes take.
#ifndef MNEME_CLUSTER_FRONT_END_PORT_H_
#define MNEME_CLUSTER_FRONT_END_PORT_H_

#include <chrono>
#include <cstdint>

#include "engine/commands.h"
#include "engine/shard_port.h"

namespace mneme {

// Thread-safe.
class FrontEndPort : public ShardPort {
 public:
  // From when a write is handed over until it is told what became of it; what its record takes to be appended to a log
  // is within it.
  static constexpr int kWriteSeconds = 60;
  // What a write holds beside its record: its call, its context and what gRPC keeps of both.
  static constexpr uint64_t kCallBytes = 16 * 1024;

  // Of writes that were not told yet.
  virtual uint64_t bytes() const = 0;
  // The calls to the shard were cancelled; whoever waits for anything else is told CANCELLED, at once and from now on.
  virtual void GiveUp() = 0;

 protected:
  // What a write is given whose client gave no request id: nobody will ask with it but this process, which may hand the
  // same record over again.
  static RequestIdentity RandomIdentity();
  // `limits`, and no longer than a write has.
  static CallLimits WithinWriteTime(const CallLimits& limits = {}) {
    return limits.Within(std::chrono::seconds(kWriteSeconds));
  }
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_FRONT_END_PORT_H_
