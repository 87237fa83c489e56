// WriteJoin: collects the answers of the shards that a write was split over; and what the splitters have in common.
#ifndef MNEME_ENGINE_WRITE_JOIN_H_
#define MNEME_ENGINE_WRITE_JOIN_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "engine/shard_port.h"
#include "engine/write_operations.h"

namespace mneme {

// The last answer calls `done`, the last publication `visible`. Thread-safe.
class WriteJoin {
 public:
  struct Answer {
    uint32_t shard = 0;
    absl::StatusOr<WriteResult> result = WriteResult{};
  };
  // `done` is given the answers ascending by shard.
  WriteJoin(size_t shards, std::function<void()> visible, std::function<void(std::vector<Answer>)> done)
      : not_visible_(shards), not_done_(shards), visible_(std::move(visible)), done_(std::move(done)) {}

  void Visible();
  void Done(uint32_t shard, absl::StatusOr<WriteResult> result);

 private:
  Mutex mutex_;
  size_t not_visible_ ABSL_GUARDED_BY(mutex_);
  size_t not_done_ ABSL_GUARDED_BY(mutex_);
  std::vector<Answer> answers_ ABSL_GUARDED_BY(mutex_);
  const std::function<void()> visible_;
  const std::function<void(std::vector<Answer>)> done_;
};

// Where a request id means one write: the partitions that it is for, in an order of their own, so that who may write
// one knows and disturbs nothing of what is done to another.
std::string RequestScope(PartitionId partition);
std::string RequestScope(const PartitionSelection& partitions);
// Of sessions, which are the memory's.
inline constexpr char kWholeMemory[] = "";

struct RequestName {
  std::string scope;
  const std::string& id;  // empty: no exactly-once
};
WriteTicket MakeTicket(const MemoryHandle& memory, const RequestName& request, uint64_t content, Durability durability,
                       int64_t stamp_ms);

// Hands `operation` to the shard; a refusal is an answer too.
template <typename Operation>
void SubmitTo(ShardPort& shard, Operation operation, const std::shared_ptr<WriteJoin>& join, bool wants_visible) {
  if (wants_visible) operation.ticket.visible = [join] { join->Visible(); };
  operation.ticket.done = [join, number = shard.number()](absl::StatusOr<WriteResult> result) {
    join->Done(number, std::move(result));
  };
  const absl::Status submitted = shard.Submit(std::move(operation));
  if (!submitted.ok()) join->Done(shard.number(), submitted);
}

}  // namespace mneme

#endif  // MNEME_ENGINE_WRITE_JOIN_H_
