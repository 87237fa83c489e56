// Copies of a directory of backups in an object store, and back. Objects have the names of the files (docs/formats.md),
// but for locks.
//
// A manifest is put after everything that it names, and removed before any of it, as in a directory: so what is cut
// leaves whole backups and files that none has, and the next copy goes on. Tables never change, and are copied once.
#ifndef MNEME_STORAGE_BACKUP_COPY_H_
#define MNEME_STORAGE_BACKUP_COPY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "storage/backup.h"
#include "storage/object_store.h"

namespace mneme {

struct CopiedBackups {
  uint64_t manifests = 0;  // that are there now: of backups, or of parts of them
  uint64_t damaged = 0;    // manifests that were left out
  uint64_t files = 0;      // that were copied, and
  uint64_t bytes = 0;      // of them
  uint64_t removed = 0;    // objects
};

// Makes the store what the directory is: old backups that the directory has no more go. Objects of other names than
// those of backups are left alone. FAILED_PRECONDITION, before anything is changed, when the directory does not look
// like the one that was pushed before: the store has a newer backup, another of the same number, one that is damaged
// here, one that cannot be read, or a part of one of which the directory has others; DATA_LOSS when it lacks a file of
// a backup. Nobody writes into the directory meanwhile: FAILED_PRECONDITION while somebody does. A backup whose
// manifest is damaged is left out. CANCELLED when `progress` says so; errors of the store and of files.
absl::StatusOr<CopiedBackups> PushBackups(const std::string& directory, ObjectStore& store,
                                          const BackupProgressSink& progress);
// Brings what the store has into a directory, which is made when it is missing. FAILED_PRECONDITION when that has a
// backup which the store has not, or another of its number. A backup whose manifest is damaged is left out; what else
// comes is not looked at: VerifyBackup() does.
absl::StatusOr<CopiedBackups> PullBackups(ObjectStore& store, const std::string& directory,
                                          const BackupProgressSink& progress);

}  // namespace mneme

#endif  // MNEME_STORAGE_BACKUP_COPY_H_
