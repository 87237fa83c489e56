// StampCheck: whether a record may be appended to a log that this process stamped so, by its own clock. As stamps say
// all replicas expire, and forget what they remember of requests: a clock that was wrong when it stamped would have
// them do so at the wrong time, whatever it says when the record is appended.
#ifndef MNEME_ENGINE_STAMP_CHECK_H_
#define MNEME_ENGINE_STAMP_CHECK_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace mneme {

// FAILED_PRECONDITION when `stamp_ms` (Unix time) is too far from what others say the time is (limits::kMaxAheadMs).
// May be called from any thread.
using StampCheck = std::function<absl::Status(int64_t stamp_ms)>;

}  // namespace mneme

#endif  // MNEME_ENGINE_STAMP_CHECK_H_
