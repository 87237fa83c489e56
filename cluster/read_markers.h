// ReadMarkers: where in a shard's log a linearizable read stands.
//
// A record that changes nothing is appended after the read began. A replica that has applied it holds every write that
// was acknowledged before, by whatever front end: who was told a smaller position by a broker that leads no more would
// not know.
#ifndef MNEME_CLUSTER_READ_MARKERS_H_
#define MNEME_CLUSTER_READ_MARKERS_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/shard_log.h"

namespace mneme {

// Thread-safe. Borrows the log, which may tell of a marker when the readers of it have gone.
class ReadMarkers {
 public:
  // Gives the bytes of one, or says why there is none, which those who wait for it are told. Called on any thread.
  using Make = std::function<absl::StatusOr<std::string>()>;
  ReadMarkers(ShardLog* log, Make make);
  ~ReadMarkers();

  // The sequence of a marker that was sent after this call began; one serves all calls that came before it was sent,
  // and one at a time is on its way. Blocks. Errors of ShardLog::Append and of `make`; DEADLINE_EXCEEDED and CANCELLED
  // as `limits` say, CANCELLED after GiveUp().
  absl::StatusOr<Sequence> Next(const CallLimits& limits) const;
  void GiveUp();

 private:
  struct State;

  static void Send(const std::shared_ptr<State>& state);

  const std::shared_ptr<State> state_;  // shared with what the log will tell
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_READ_MARKERS_H_
