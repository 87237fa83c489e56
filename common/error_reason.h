// ErrorReason: the machine-readable reason that an absl::Status carries to the edge, beside its code and message.
#ifndef MNEME_COMMON_ERROR_REASON_H_
#define MNEME_COMMON_ERROR_REASON_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace mneme {

namespace reason {
inline constexpr std::string_view kQueueFull = "QUEUE_FULL";
inline constexpr std::string_view kMemoryLimit = "MEMORY_LIMIT";
inline constexpr std::string_view kStorageFull = "STORAGE_FULL";
inline constexpr std::string_view kStorageLow = "STORAGE_LOW";
inline constexpr std::string_view kReplicaLagging = "REPLICA_LAGGING";
inline constexpr std::string_view kChecksumMismatch = "CHECKSUM_MISMATCH";
inline constexpr std::string_view kRequestIdReused = "REQUEST_ID_REUSED";
inline constexpr std::string_view kForeignVersion = "FOREIGN_VERSION";
inline constexpr std::string_view kMemoryNotFound = "MEMORY_NOT_FOUND";
inline constexpr std::string_view kMemoryExists = "MEMORY_EXISTS";
inline constexpr std::string_view kAliasNotFound = "ALIAS_NOT_FOUND";
inline constexpr std::string_view kAliasExists = "ALIAS_EXISTS";
inline constexpr std::string_view kAliasMoved = "ALIAS_MOVED";
inline constexpr std::string_view kMemoryAliased = "MEMORY_ALIASED";
inline constexpr std::string_view kLeaseExpired = "LEASE_EXPIRED";
inline constexpr std::string_view kVersionMismatch = "VERSION_MISMATCH";
inline constexpr std::string_view kStateKindMismatch = "STATE_KIND_MISMATCH";
inline constexpr std::string_view kStateShapeMismatch = "STATE_SHAPE_MISMATCH";
inline constexpr std::string_view kBlockGap = "BLOCK_GAP";
inline constexpr std::string_view kSessionNotFound = "SESSION_NOT_FOUND";
inline constexpr std::string_view kSessionExists = "SESSION_EXISTS";
inline constexpr std::string_view kSessionNotApplied = "SESSION_NOT_APPLIED";
inline constexpr std::string_view kRateLimit = "RATE_LIMIT";
inline constexpr std::string_view kStoredQuota = "STORED_QUOTA";
inline constexpr std::string_view kNoBackupDirectory = "NO_BACKUP_DIRECTORY";
inline constexpr std::string_view kShardUnavailable = "SHARD_UNAVAILABLE";
inline constexpr std::string_view kReceiptNotFound = "RECEIPT_NOT_FOUND";
}  // namespace reason

// `status` with `reason` attached; an OK status stays OK.
absl::Status WithReason(absl::Status status, std::string_view reason);

// The reason attached to `status`; empty when there is none.
std::string ReasonOf(const absl::Status& status);

// Whether a replica says that it has not applied yet what it was asked about, so that another may answer: that it lags,
// or, with DEADLINE_EXCEEDED, that its disk has no room for what waits in its log.
bool IsLagging(const absl::Status& status);

}  // namespace mneme

#endif  // MNEME_COMMON_ERROR_REASON_H_
