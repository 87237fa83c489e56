// Entries on the wire: batches in and out as columns. Pure; thread-safe.
#ifndef MNEME_SERVER_CONVERT_ENTRIES_H_
#define MNEME_SERVER_CONVERT_ENTRIES_H_

#include <string>

#include "absl/status/status.h"
#include "common/columns.h"
#include "common/types.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "mneme/v1/types.pb.h"

namespace mneme {

// An insert's columns: keys decoded, checked and rounded to the stored dtype, values of the memory's kind, optional
// columns as long as the keys. INVALID_ARGUMENT names the field under `field` otherwise.
absl::Status ReadEntries(const std::string& field, const v1::Entries& wire, const MemorySpec& spec, EntryColumns& out);

// The same for a batch whose keys are not on the wire: `out` has count, keys and key_bytes already.
absl::Status ReadEntriesWithoutKeys(const std::string& field, const v1::Entries& wire, const MemorySpec& spec,
                                    EntryColumns& out);

// All of an insert but memory and fingerprint.
absl::Status ReadInsert(const v1::InsertRequest& request, const MemorySpec& spec, InsertCommand& command);

// Stored entries as they travel back; keys (when there) in the stored dtype.
void WriteEntries(const EntryColumns& entries, const MemorySpec& spec, v1::Entries* out);
void WriteValues(const ValueColumn& values, const MemorySpec& spec, v1::Values* out);

// At most kMaxRequestIdBytes.
absl::Status CheckRequestId(const std::string& request_id);

}  // namespace mneme

#endif  // MNEME_SERVER_CONVERT_ENTRIES_H_
