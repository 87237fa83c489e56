#include "engine/write_join.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/lease.h"

namespace mneme {

void WriteJoin::Visible() {
  {
    MutexLock lock(&mutex_);
    if (--not_visible_ != 0) return;
  }
  visible_();
}

void WriteJoin::Done(uint32_t shard, absl::StatusOr<WriteResult> result) {
  std::vector<Answer> answers;
  {
    MutexLock lock(&mutex_);
    answers_.push_back({shard, std::move(result)});
    if (--not_done_ != 0) return;
    answers.swap(answers_);
  }
  std::sort(answers.begin(), answers.end(), [](const Answer& a, const Answer& b) { return a.shard < b.shard; });
  done_(std::move(answers));
}

std::string RequestScope(PartitionId partition) { return absl::StrCat(partition); }

std::string RequestScope(const PartitionSelection& partitions) {
  if (partitions.all) return "all";
  return absl::StrJoin(Ascending(partitions).partitions, ",");
}

WriteTicket MakeTicket(const MemoryHandle& memory, const RequestName& request, uint64_t content, Durability durability,
                       int64_t stamp_ms) {
  WriteTicket ticket;
  ticket.memory = memory;
  if (!request.id.empty()) {
    // No scope has a '/'.
    const std::string whole = absl::StrCat(memory->number, "/", request.scope, "/", request.id);
    ticket.request = RequestIdentity{Checksum128(whole), content};
  }
  ticket.durability = durability;
  ticket.stamp_ms = stamp_ms;
  return ticket;
}

}  // namespace mneme
