// What a deployment tells of its backups, whether one process wrote them or the processes of its shards.
#ifndef MNEME_ENGINE_BACKUP_OUTCOME_H_
#define MNEME_ENGINE_BACKUP_OUTCOME_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "common/error_reason.h"
#include "engine/commands.h"
#include "storage/backup.h"
#include "storage/backup_manifest.h"

namespace mneme {

struct BackupOutcome {
  WrittenBackup written;  // of several processes: as one would have written it
  uint32_t removed = 0;   // older ones
};

struct KnownBackup {
  uint64_t number = 0;
  absl::StatusOr<BackupManifest> manifest;  // its error: why it cannot be restored
  std::vector<uint32_t> missing = {};       // shards whose parts are not known: then it cannot, either
};

// Tells the operator of a backup, or a part of one, that was not made: "backup_cancelled" when it was given up, else
// "backup_failed", with why. `events` may be empty.
inline void TellNotMade(const EventSink& events, const absl::Status& why) {
  if (events == nullptr) return;
  events(absl::IsCancelled(why) ? "backup_cancelled" : "backup_failed", std::string(why.message()));
}

// An error as clients are told it: whoever may make backups may not therefore look around on this machine.
inline absl::Status WithoutPaths(const absl::Status& status, const std::string& backup_dir,
                                 const std::string& data_dir) {
  std::vector<std::pair<std::string, std::string>> names;
  const auto name = [&](const std::string& path, const char* flag) {
    if (path.size() > 1 && absl::StrContains(path, '/')) names.emplace_back(path, flag);
  };
  name(backup_dir, "--backup-dir");
  name(data_dir, "--data-dir");
  absl::Status told(status.code(), absl::StrReplaceAll(status.message(), names));
  // A full disk has the reason that it has for writes.
  return absl::IsResourceExhausted(told) ? WithReason(std::move(told), reason::kStorageFull) : told;
}

}  // namespace mneme

#endif  // MNEME_ENGINE_BACKUP_OUTCOME_H_
