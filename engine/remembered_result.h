// What is remembered with a request id, as the answer that it was.
#ifndef MNEME_ENGINE_REMEMBERED_RESULT_H_
#define MNEME_ENGINE_REMEMBERED_RESULT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "engine/version.h"
#include "engine/write_operations.h"
#include "storage/entry_store.h"

namespace mneme {

// Of an insert or a deletion that was applied at `sequence` on `shard`.
WriteResult ResultOf(const RememberedOutcome& outcome, Sequence sequence, uint32_t shard);

// Of any write, as its bytes tell. UNAVAILABLE when the answer was too large to be remembered whole; DATA_LOSS when the
// bytes are none.
absl::StatusOr<WriteResult> ResultOf(const RememberedRequest& request, uint32_t shard);

}  // namespace mneme

#endif  // MNEME_ENGINE_REMEMBERED_RESULT_H_
