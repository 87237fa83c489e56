// Where what belongs to a backup lies in a directory (backup.h).
#ifndef MNEME_STORAGE_BACKUP_FOLDER_H_
#define MNEME_STORAGE_BACKUP_FOLDER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "storage/backup_manifest.h"

namespace mneme {

// The manifest of backup `number`.
std::string ManifestPath(const std::string& directory, uint64_t number);
// The folder of store `i` of a manifest.
std::string StoreFolder(const std::string& directory, const std::optional<BackupPart>& part, size_t i);
// NOT_FOUND when there is none; else as DecodeBackupManifest().
absl::StatusOr<BackupManifest> ReadManifest(const std::string& directory, uint64_t number);

// Where the process of a shard keeps the parts that it writes, below the directory that it was given: processes of
// several shards may be given one.
std::string PartDirectory(const std::string& directory, uint32_t shard);

}  // namespace mneme

#endif  // MNEME_STORAGE_BACKUP_FOLDER_H_
