// ShardLog: the replicated log of one shard. It alone decides the order of writes (I7): front ends append to it, and
// every replica of the shard applies what it reads, one record after the other. Records are those of log_record.h.
//
// The store of a process of role `all` has a log of its own (RocksDB's), and needs none of these.
// Implementations: KafkaLog (cluster/, the product), MemoryLog (the oracle of tests).
#ifndef MNEME_ENGINE_SHARD_LOG_H_
#define MNEME_ENGINE_SHARD_LOG_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/types.h"
#include "engine/commands.h"

namespace mneme {

// Where a record stands in its log, counted from 0. Offsets ascend; some may be of no record.
using LogOffset = uint64_t;

// The sequence of a shard up to which the record at `offset` is applied (StoreBatch::sequence, tokens of clients), and
// the offset from which a shard that has applied so much goes on.
constexpr Sequence SequenceAt(LogOffset offset) { return offset + 1; }
constexpr LogOffset OffsetAfter(Sequence applied) { return applied; }

struct LoggedBytes {
  LogOffset offset = 0;
  std::string bytes;
};

// One place in a log, from which records are taken in order. Used by one thread at a time. next() and seen_end() tell
// what is at hand: they ask nobody.
class LogReader {
 public:
  virtual ~LogReader() = default;

  // Waits for at least one record, for `wait` at most, and appends what is there to `records`: all that are at hand,
  // as long as they have `most_bytes` together, but one at least. OK with nothing when none came. OUT_OF_RANGE when the
  // log does not keep what is to be read next, or ends before it: a replica cannot go on from what it has. UNAVAILABLE
  // while the log cannot be reached: call it again. NOT_FOUND and PERMISSION_DENIED while it is reached and is not
  // there, or may not be read: that passes only when somebody mends it, and then by calling it again.
  virtual absl::Status Next(std::chrono::milliseconds wait, size_t most_bytes, std::vector<LoggedBytes>& records) = 0;
  // Where it stands: no record will come from below, though some offsets may have been of none. Beyond the last record
  // that came it is once Next() has seen that nothing follows.
  virtual LogOffset next() const = 0;
  // One beyond the last record, as the log was last heard to have it; 0 when it was not. It may be behind.
  virtual LogOffset seen_end() const = 0;
};

// Thread-safe.
class ShardLog {
 public:
  // Told once, on threads of the log's, which must not block.
  using Appended = std::function<void(absl::StatusOr<LogOffset>)>;

  virtual ~ShardLog() = default;

  // What one record may have; a longer one is INVALID_ARGUMENT.
  virtual size_t most_record_bytes() const = 0;
  // Appends `record`; told its offset once it is as safe as the log makes it. UNAVAILABLE and DEADLINE_EXCEEDED: it may
  // have been appended, or may be yet. RESOURCE_EXHAUSTED (QUEUE_FULL): it was not. Records appended by one thread keep
  // their order, but for those that fail. When it throws bad_alloc nobody is told.
  virtual void Append(std::string record, Appended appended) = 0;
  // One beyond the last record that was appended before the call, as a majority of the log has it. Blocks. UNAVAILABLE,
  // NOT_FOUND and PERMISSION_DENIED as LogReader::Next(), when it stays so for as long as `limits` allow.
  virtual absl::StatusOr<LogOffset> End(const CallLimits& limits) const = 0;
  // The first offset that the log keeps, as its leader knows: it may keep less by the time of a Read(). Blocks.
  virtual absl::StatusOr<LogOffset> Begin(const CallLimits& limits) const = 0;
  // OUT_OF_RANGE as LogReader::Next(), here or there.
  virtual absl::StatusOr<std::unique_ptr<LogReader>> Read(LogOffset from) = 0;
};

// Whether a log, or who else was asked, was not reached, or not in time, as the error says.
inline bool Unreached(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

// What a log keeps.
struct LogRange {
  LogOffset begin = 0;
  LogOffset end = 0;  // one beyond the last record
};

// Asks for its end, then for its begin, for `within` each. Errors of either.
inline absl::StatusOr<LogRange> RangeOf(const ShardLog& log, std::chrono::steady_clock::duration within) {
  const absl::StatusOr<LogOffset> end = log.End(CallLimits().Within(within));
  if (!end.ok()) return end.status();
  const absl::StatusOr<LogOffset> begin = log.Begin(CallLimits().Within(within));
  if (!begin.ok()) return begin.status();
  return LogRange{*begin, *end};
}

}  // namespace mneme

#endif  // MNEME_ENGINE_SHARD_LOG_H_
