// DrainListener: a stream that wants to know when the server stops.
#ifndef MNEME_SERVER_DRAIN_LISTENER_H_
#define MNEME_SERVER_DRAIN_LISTENER_H_

namespace mneme {

class DrainListener {
 public:
  virtual ~DrainListener() = default;
  // Called once, on any thread, when draining starts: finish what was accepted, then end with UNAVAILABLE.
  virtual void OnDrain() = 0;
};

}  // namespace mneme

#endif  // MNEME_SERVER_DRAIN_LISTENER_H_
