// Finding what a request names.
#ifndef MNEME_SERVER_FIND_MEMORY_H_
#define MNEME_SERVER_FIND_MEMORY_H_

#include <string>

#include "absl/status/statusor.h"
#include "engine/deployment.h"

namespace mneme {

// The memory of this name, or the one that an alias of this name points to now. INVALID_ARGUMENT naming `field` when
// `name` is no name; NOT_FOUND (MEMORY_NOT_FOUND, with ResourceInfo) when there is no such memory.
absl::StatusOr<MemoryHandle> FindMemory(const Deployment& deployment, const std::string& name,
                                        const std::string& field = "memory");

// The memory that a call found before, for its next step: a client that reads slowly does not keep the data of a
// dropped one. NOT_FOUND when it was dropped midway, not a short answer that looks whole (I6).
absl::StatusOr<MemoryHandle> FindAgain(const Deployment& deployment, const MemoryRecord& memory);

// For a message of a stream that names no memory and means the one of number `before`, which was found again by its
// own name: NOT_FOUND when another memory has that name by now, which nobody asked for.
absl::Status CheckSameMemory(MemoryNumber before, const MemoryHandle& memory);

// The version that a read must see; no parts when `bytes` are empty. Errors as Deployment::DecodeVersion.
absl::StatusOr<Version> ReadVersion(const Deployment& deployment, const MemoryHandle& memory, const std::string& bytes,
                                    const std::string& field = "at_least_version");

// Names the memory in a NOT_FOUND that came from the engine while the memory was being dropped.
absl::Status WithMemory(absl::Status status, const MemoryRecord& memory);

// Whether `status` is of WithMemory(), because the memory that the call had found was dropped under it. What the call
// names may be an alias, and mean another memory now: whoever handles it anew knows.
bool WasDroppedMeanwhile(const absl::Status& status);
// A call is handled anew at most so often: each time another memory was dropped under it.
inline constexpr int kMostTimesAnew = 8;

}  // namespace mneme

#endif  // MNEME_SERVER_FIND_MEMORY_H_
