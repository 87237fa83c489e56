// The learned write: what a batch makes of a partition's slots is written over them as one insert.
#include <utility>

#include "common/status_macros.h"
#include "engine/write_group.h"

namespace mneme {

absl::StatusOr<WriteResult> WriteGroup::PlanRemember(RememberOperation& operation) {
  const WriteTicket& ticket = operation.ticket;
  WriteResult result;
  ASSIGN_OR_RETURN(const auto known, FindRemembered(ticket));
  if (known.has_value()) {
    // A partition with slots is of one shard, and so was the request.
    const std::string& remembered = known->earlier.empty() ? known->result : known->earlier.back().result;
    absl::StatusOr<SlotAnswers> answers = DecodeSlotAnswers(remembered);
    if (!answers.ok()) return NotDecoded(ticket, answers.status());
    result.slots = std::make_shared<const SlotAnswers>(*std::move(answers));
    result.sequence = known->sequence;
    result.replayed = true;
    return result;
  }
  const MemoryRecord& memory = *ticket.memory;
  const PartitionKey key{memory.number, operation.partition};
  const auto partition = partitions_.find(key);
  // Taken out: after an error it is no longer what the store holds.
  if (partition != partitions_.end()) operation.table = std::move(partition->second->slots());
  if (operation.table == nullptr || !operation.table->IsOf(partition->second->head())) {
    ASSIGN_OR_RETURN(SlotTable loaded, SlotTable::Load(store_, key, memory.spec));
    operation.table = std::make_shared<SlotTable>(std::move(loaded));
  }
  EntryColumns& written = operation.written.entries;
  ASSIGN_OR_RETURN(SlotAnswers answers, operation.table->Observe(operation.batch, written));
  result.sequence = ticket.position != 0 ? ticket.position : sequence_;
  if (written.count != 0) {
    operation.written.ticket.memory = ticket.memory;
    operation.written.ticket.stamp_ms = ticket.stamp_ms;
    operation.written.ticket.position = ticket.position;
    operation.written.partition = operation.partition;
    ASSIGN_OR_RETURN(const WriteResult inserted, PlanInsert(operation.written));
    result.sequence = inserted.sequence;
    if (ticket.request.has_value()) RememberBytes(ticket, result.sequence, EncodeSlotAnswers(answers));
  }
  result.slots = std::make_shared<const SlotAnswers>(std::move(answers));
  return result;
}

}  // namespace mneme
