// The backups of deployments of several processes: parts that the process of each shard wrote, and what they are
// together.
#ifndef MNEME_STORAGE_BACKUP_SETS_H_
#define MNEME_STORAGE_BACKUP_SETS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/backup.h"
#include "storage/backup_manifest.h"

namespace mneme {

// The parts of one backup, as far as they are known.
struct BackupSet {
  struct Part {
    BackupManifest manifest;
    std::string directory;  // that has it; empty where it lies at another process
  };
  std::map<uint32_t, Part> parts;  // by shard; never empty

  const BackupManifest& any() const { return parts.begin()->second.manifest; }
  uint64_t number() const { return any().number; }
  bool whole() const { return parts.size() == any().shards; }
  std::vector<uint32_t> missing() const;  // shards of which there is no part
  // As one process would have written it; of a part that is missing its stores have the id 0.
  BackupManifest Joined() const;
};

// Puts parts together that are of one backup: several of a shard are one that several processes see, or equal. By
// number, and of one number by when they were made. Of manifests that are no parts: nothing.
std::vector<BackupSet> JoinParts(std::vector<BackupSet::Part> parts);

// What lies in a directory of backups: those that one process of all shards wrote, and parts, below it or, where it is
// the directory of one shard's parts, in it.
struct BackupsInDirectory {
  std::vector<ListedBackup> backups;  // of one process; and whose manifests cannot be read
  std::vector<BackupSet> sets;
};
absl::StatusOr<BackupsInDirectory> ReadBackups(const std::string& directory);
// The greatest number of any of them, whole or not; 0: there is none.
absl::StatusOr<uint64_t> GreatestNumber(const std::string& directory);

// A backup to be read.
struct FoundBackup {
  BackupManifest manifest;           // of one part: that; of all: as one process would have written it
  std::vector<std::string> folders;  // of each of manifest.stores
  bool of_parts = false;             // each shard had a process of its own
  bool logged = false;               // as those of its parts
};
// Backup `number`, 0: the newest that is whole; of `shard` alone, if that is given. NOT_FOUND when there is none;
// DATA_LOSS when its manifest is damaged; FAILED_PRECONDITION when parts of it are missing.
absl::StatusOr<FoundBackup> FindBackup(const std::string& directory, uint64_t number, std::optional<uint32_t> shard);

}  // namespace mneme

#endif  // MNEME_STORAGE_BACKUP_SETS_H_
