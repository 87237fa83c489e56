// LogRecord: what a client's write is in the log of a shard, or of the catalogue: the bytes that a front end sends to a
// shard, and that a replicated log stores. One record is one operation on one shard, whole. Its layout is in
// docs/formats.md ("Log records"); a change of it is a new version.
#ifndef MNEME_ENGINE_LOG_RECORD_H_
#define MNEME_ENGINE_LOG_RECORD_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/checksum.h"
#include "engine/commands.h"
#include "engine/write_operations.h"

namespace mneme {

// --- Of the catalogue ----------------------------------------------------------------------------------------------

// Each has an id of its own, made by who asks for it, so that the record may be appended again: it is done once.
struct CreateMemoryCommand {
  MemorySpec spec;
  Hash128 request = {};
};
struct DropMemoryCommand {
  std::string name;
  Hash128 request = {};
};
struct SetAliasCommand {
  AliasChange change;
  Hash128 request = {};
};
struct DropAliasCommand {
  std::string name;
  Hash128 request = {};
};
// Which processes are replicas of a shard: their addresses by number, "" where there is none. ABORTED unless the list
// was as expected; none at all is an empty one. What an operator sets is fixed: another list that is not is ABORTED
// from then on, too.
struct SetReplicasCommand {
  uint32_t shard = 0;
  std::vector<std::string> expected;
  std::vector<std::string> replicas;
  Hash128 request = {};
  bool fixed = false;
};
// The first record of a catalogue's log: begins the deployment whose number it has. Any later one changes nothing.
struct FoundCommand {
  uint32_t shards = 0;
};

// --- Of a replica ---------------------------------------------------------------------------------------------------

// What a replica found to be past its expiry at the moment of the record. Another may find the same: what went, or was
// written anew, is left alone.
struct ExpireRowsCommand {
  PartitionId partition = 0;
  std::vector<StoredRow> rows;  // ascending by row, none twice
};
struct ExpireStatesCommand {
  std::vector<StateExpiry> due;  // of any memories, dropped ones too
};
// What pruning chose on one replica (engine/prune.h), in rows, which mean the same on every one.
struct MergeRowsCommand {
  PartitionId partition = 0;
  RowMerges merges;
};
// Changes nothing: whoever has applied it has applied all that was appended before.
struct ReadMarker {};

// --- Records -------------------------------------------------------------------------------------------------------

// Kinds 1 to 4 and 9 to 12 are of a shard, the others of the catalogue. The ticket of an operation is empty but for the
// request: its memory is `memory`, its moment `stamp_ms`; how durable it is to be is a matter of the log, not of the
// record. The number of an alternative, counted from 1, is its kind. Stored on disk: add new ones at the end.
using LoggedOperation = std::variant<InsertOperation, DeleteOperation, RememberOperation, StateOperation,
                                     CreateMemoryCommand, DropMemoryCommand, SetAliasCommand, DropAliasCommand,
                                     ExpireRowsCommand, ExpireStatesCommand, ReadMarker, MergeRowsCommand,
                                     FoundCommand, SetReplicasCommand>;

struct LogRecord {
  MemoryNumber memory = 0;  // 0: of the catalogue, or of no memory alone
  int64_t stamp_ms = 0;     // when the front end, or the replica, made it
  LoggedOperation operation;
  uint64_t deployment = 0;  // of the log that has it; 0 where the deployment is named beside it
};

// The id of a change of the catalogue; null for every other operation.
const Hash128* RequestOfChange(const LoggedOperation& operation);
// A new one: random.
Hash128 NewChangeRequest();

// The ticket of a client's write to a shard, in a WriteOperation or a LoggedOperation; null for every other operation.
template <typename Operation>
WriteTicket* TicketOf(Operation& operation) {
  return std::visit(
      [](auto& each) -> WriteTicket* {
        if constexpr (requires { each.ticket; }) return &each.ticket;
        return nullptr;
      },
      operation);
}

// Whether a WriteOperation or a LoggedOperation is one that takes ram, and waits, or is refused, for want of it.
template <typename Operation>
bool Grows(const Operation& operation) {
  return std::visit(
      [](const auto& each) {
        using Each = std::decay_t<decltype(each)>;
        return std::is_same_v<Each, InsertOperation> || std::is_same_v<Each, RememberOperation> ||
               std::is_same_v<Each, MergeRowsCommand> || std::is_same_v<Each, MergeRowsOperation>;
      },
      operation);
}

// Whether one is that fills the disk, and waits, or is refused, while that has less than its reserve. What removes
// entries or states makes room, and so does a prune, which takes ram first.
template <typename Operation>
bool FillsDisk(const Operation& operation) {
  return std::visit(
      [](const auto& each) {
        using Each = std::decay_t<decltype(each)>;
        if constexpr (std::is_same_v<Each, StateOperation>) {
          return AddsBytes(each.request);
        } else if constexpr (std::is_same_v<Each, RememberOperation>) {
          return each.batch.writes();
        } else {
          return std::is_same_v<Each, InsertOperation>;
        }
      },
      operation);
}

// What stands before the operation of a record, and which that is.
struct LogRecordHead {
  uint64_t deployment = 0;
  MemoryNumber memory = 0;
  int64_t stamp_ms = 0;
  size_t operation = 0;  // which alternative of LoggedOperation it has
};

// INVALID_ARGUMENT for operations that no client causes: they are a shard's own.
absl::StatusOr<std::string> EncodeLogRecord(uint64_t deployment, const WriteOperation& operation);
std::string EncodeLogRecord(const LogRecord& record);
// DATA_LOSS when a bit is not as it was written; UNIMPLEMENTED when whole, but of a version or kind that is not known.
absl::StatusOr<LogRecord> DecodeLogRecord(std::string_view bytes);
// The same of a record whose operation is not looked at.
absl::StatusOr<LogRecordHead> DecodeLogRecordHead(std::string_view bytes);

}  // namespace mneme

#endif  // MNEME_ENGINE_LOG_RECORD_H_
