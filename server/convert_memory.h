// Memories on the wire: names, descriptions and fingerprints. Pure; thread-safe.
#ifndef MNEME_SERVER_CONVERT_MEMORY_H_
#define MNEME_SERVER_CONVERT_MEMORY_H_

#include <string>

#include "absl/status/status.h"
#include "common/types.h"
#include "mneme/v1/admin.pb.h"
#include "mneme/v1/types.pb.h"
#include "storage/catalogue_store.h"

namespace mneme {

// The name of a memory or of an alias. INVALID_ARGUMENT unless 1 to kMaxMemoryNameBytes of [a-z0-9][a-z0-9._-]*.
absl::Status CheckMemoryName(const std::string& field, const std::string& name);

// What CreateMemory asks for; INVALID_ARGUMENT names every field that is wrong.
absl::Status ReadMemory(const v1::MemoryDescription& description, MemorySpec& spec);
void WriteMemory(const MemoryRecord& record, v1::MemoryDescription* out);

// FAILED_PRECONDITION naming field, stored and given value when `given` says something else than the memory's.
// An empty field on either side says nothing.
absl::Status CheckFingerprint(const std::string& field, const v1::Fingerprint& given, const MemorySpec& spec);

// DURABILITY_UNSPECIFIED is SYNC; INVALID_ARGUMENT for an unknown one.
absl::Status ReadDurability(const std::string& field, v1::Durability wire, Durability& out);
v1::Durability WriteDurability(Durability durability);

}  // namespace mneme

#endif  // MNEME_SERVER_CONVERT_MEMORY_H_
