#include "engine/logged_write.h"

#include <utility>
#include <variant>

#include "common/limits.h"

namespace mneme {
namespace {

// Whether `bytes` are `count` keys of the memory.
bool AreKeys(const MemorySpec& spec, size_t bytes, size_t count) {
  return bytes % spec.KeyBytes() == 0 && bytes / spec.KeyBytes() == count;
}

// The writer of a shard takes these for granted.
bool Fits(const MemorySpec& spec, const LoggedOperation& operation) {
  if (const auto* insert = std::get_if<InsertOperation>(&operation)) {
    return AreKeys(spec, insert->entries.keys.size(), insert->entries.count) &&
           insert->entries.values.width == spec.ValueBytes();
  }
  if (const auto* remember = std::get_if<RememberOperation>(&operation)) {
    const bool has_slots = spec.capacity != 0 && spec.capacity <= limits::kMaxSlotBytes / spec.KeyBytes();
    return has_slots && spec.metric == Metric::kCosine && spec.key_dtype == Dtype::kF32 &&
           AreKeys(spec, remember->batch.queries.size(), remember->batch.count);
  }
  if (const auto* erase = std::get_if<DeleteOperation>(&operation)) {
    return erase->ids.has_value() || erase->filter.has_value() || erase->everything;
  }
  return true;
}

// Hands `done` the outcome of an operation that answers nothing.
std::function<void(absl::Status)> Told(Sequence position, std::function<void(absl::StatusOr<WriteResult>)> done) {
  return [position, done = std::move(done)](const absl::Status& status) {
    if (!status.ok()) return done(status);
    WriteResult result;
    result.sequence = position;
    done(std::move(result));
  };
}

}  // namespace

bool IsOfAMemory(const LogRecord& record) {
  return std::holds_alternative<InsertOperation>(record.operation) ||
         std::holds_alternative<DeleteOperation>(record.operation) ||
         std::holds_alternative<RememberOperation>(record.operation) ||
         std::holds_alternative<StateOperation>(record.operation) ||
         std::holds_alternative<ExpireRowsCommand>(record.operation) ||
         std::holds_alternative<MergeRowsCommand>(record.operation);
}

WriteOperation ToWriteOperation(LogRecord record, const absl::StatusOr<MemoryHandle>& memory, Sequence position,
                                std::function<void(absl::StatusOr<WriteResult>)> done) {
  if (auto* expire = std::get_if<ExpireStatesCommand>(&record.operation)) {
    return ExpireStatesOperation{.due = std::move(expire->due),
                                 .stamp_ms = record.stamp_ms,
                                 .position = position,
                                 .done = Told(position, std::move(done))};
  }
  WriteTicket ticket;
  ticket.stamp_ms = record.stamp_ms;
  ticket.position = position;
  ticket.durability = Durability::kWritten;  // the log has it
  ticket.done = done;
  const bool of_a_memory = IsOfAMemory(record);
  if (!memory.ok() && of_a_memory) return PassOperation{std::move(ticket), memory.status()};
  if (!of_a_memory) {
    if (std::holds_alternative<ReadMarker>(record.operation)) return PassOperation{std::move(ticket)};
    return PassOperation{std::move(ticket),
                         absl::InvalidArgumentError("a record of the catalogue is no write of a shard")};
  }
  if (!Fits((*memory)->spec, record.operation)) {
    return PassOperation{std::move(ticket),
                         absl::InvalidArgumentError("a log record holds what its memory cannot take")};
  }
  if (auto* expire = std::get_if<ExpireRowsCommand>(&record.operation)) {
    return ExpireOperation{.memory = *memory,
                           .key = {record.memory, expire->partition},
                           .rows = std::move(expire->rows),
                           .position = position,
                           .stamp_ms = record.stamp_ms,
                           .done = Told(position, std::move(done))};
  }
  ticket.memory = *memory;
  if (auto* merge = std::get_if<MergeRowsCommand>(&record.operation)) {
    return MergeRowsOperation{.ticket = std::move(ticket),
                              .partition = merge->partition,
                              .merges = std::move(merge->merges)};
  }
  ticket.request = TicketOf(record.operation)->request;
  *TicketOf(record.operation) = std::move(ticket);
  if (auto* insert = std::get_if<InsertOperation>(&record.operation)) return std::move(*insert);
  if (auto* erase = std::get_if<DeleteOperation>(&record.operation)) return std::move(*erase);
  if (auto* remember = std::get_if<RememberOperation>(&record.operation)) return std::move(*remember);
  return std::move(std::get<StateOperation>(record.operation));
}

}  // namespace mneme
