// What a record of a log asks of the shard that applies it.
#ifndef MNEME_ENGINE_LOGGED_WRITE_H_
#define MNEME_ENGINE_LOGGED_WRITE_H_

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "engine/log_record.h"
#include "engine/write_operations.h"

namespace mneme {

// Whether a record is asked of one memory, which must be there.
bool IsOfAMemory(const LogRecord& record);

// The record that stands at `position`, as the shard's writer takes it. `memory` is its memory, or why there is none;
// null where it needs none. A record that says something of no use to it is refused, for every replica alike, with
// INVALID_ARGUMENT: keys or values that are not those of the memory, a learned write to a memory that takes none, a
// deletion of nothing, a change of the catalogue.
WriteOperation ToWriteOperation(LogRecord record, const absl::StatusOr<MemoryHandle>& memory, Sequence position,
                                std::function<void(absl::StatusOr<WriteResult>)> done);

}  // namespace mneme

#endif  // MNEME_ENGINE_LOGGED_WRITE_H_
