#include "engine/write_join.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

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

WriteTicket MakeTicket(const MemoryHandle& memory, const std::string& request_id, uint64_t content,
                       Durability durability, int64_t stamp_ms) {
  WriteTicket ticket;
  ticket.memory = memory;
  if (!request_id.empty()) {
    ticket.request = RequestIdentity{Checksum128(absl::StrCat(memory->number, "/", request_id)), content};
  }
  ticket.durability = durability;
  ticket.stamp_ms = stamp_ms;
  return ticket;
}

}  // namespace mneme
