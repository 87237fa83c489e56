// Quotas: how much somebody has asked for lately. Each name has a bucket of each kind, which fills with its quota and
// holds a second of it. A request is taken while there is something in all of its buckets, and may leave them in debt,
// so that one larger than a second's worth passes and those after it wait.
//
// What an answer takes is known once it is made: it is taken then, whatever is left, and the next requests wait.
#ifndef MNEME_SERVER_QUOTAS_H_
#define MNEME_SERVER_QUOTAS_H_

#include <chrono>
#include <cstddef>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "security/grant.h"

namespace mneme {

// What one request takes.
struct Charge {
  size_t bytes = 0;
  size_t entries = 0;  // that it writes
  size_t requests = 1;
};

// Thread-safe.
class Quotas {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // RESOURCE_EXHAUSTED (RATE_LIMIT), with the time when it would be taken, when a bucket of what it takes is empty, or,
  // of a request, that of answers; then nothing is taken. A kind without a quota is not counted, so that one which is
  // given later begins full. Somebody without a quota costs nothing.
  absl::Status Take(const Principal& principal, const Charge& charge, Time now = std::chrono::steady_clock::now())
      ABSL_LOCKS_EXCLUDED(mutex_);
  // An answer of so many bytes goes.
  void TakeAnswer(const Principal& principal, size_t bytes, Time now = std::chrono::steady_clock::now())
      ABSL_LOCKS_EXCLUDED(mutex_);
  // How long the next answer of a stream has to wait; zero: it need not.
  absl::Duration AnswerPause(const Principal& principal, Time now = std::chrono::steady_clock::now())
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Buckets {
    Quota of;     // what they hold at most; anew when it is another
    Quota level;
    Time at;
  };

  // Of him, filled up to now.
  Buckets& BucketsOf(const Principal& principal, Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  // Names of a token file, which bounds them.
  absl::flat_hash_map<std::string, Buckets> buckets_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_SERVER_QUOTAS_H_
