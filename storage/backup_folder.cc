#include "storage/backup_folder.h"

#include <filesystem>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/backup.h"
#include "storage/files.h"
#include "storage/format.h"

namespace mneme {
namespace {

constexpr char kManifestPrefix[] = "BACKUP-";

}  // namespace

std::string ManifestPath(const std::string& directory, uint64_t number) {
  return absl::StrFormat("%s/%s%06u", directory, kManifestPrefix, number);
}

std::string StoreFolder(const std::string& directory, const std::optional<BackupPart>& part, size_t i) {
  if (i == 0) return directory + "/catalogue";
  return absl::StrFormat("%s/shard-%03u", directory, part.has_value() ? part->shard : i - 1);
}

std::string PartDirectory(const std::string& directory, uint32_t shard) {
  return absl::StrFormat("%s/part-%03u", directory, shard);
}

absl::StatusOr<BackupManifest> ReadManifest(const std::string& directory, uint64_t number) {
  const std::string path = ManifestPath(directory, number);
  ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadSmallFile(path, limits::kMaxManifestBytes));
  if (!text.has_value()) return absl::NotFoundError(absl::StrCat(directory, " has no backup ", number));
  absl::StatusOr<BackupManifest> manifest = format::DecodeBackupManifest(*text);
  if (!manifest.ok()) {
    return absl::Status(manifest.status().code(), absl::StrCat(path, ": ", manifest.status().message()));
  }
  if (manifest->number == number) return manifest;
  return absl::DataLossError(absl::StrCat(path, " is the manifest of backup ", manifest->number));
}

absl::StatusOr<std::vector<ListedBackup>> ListBackups(const std::string& directory) {
  std::vector<ListedBackup> listed;
  std::error_code error;
  // That there are none must be known: the next backup removes what no manifest names.
  if (std::filesystem::status(directory, error).type() == std::filesystem::file_type::not_found) return listed;
  std::set<uint64_t> numbers;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename();
    uint64_t number = 0;
    if (!absl::StartsWith(name, kManifestPrefix)) continue;
    if (!absl::SimpleAtoi(name.substr(sizeof(kManifestPrefix) - 1), &number)) continue;
    if (ManifestPath(directory, number) == absl::StrCat(directory, "/", name)) numbers.insert(number);
  }
  if (error) return absl::UnavailableError(absl::StrCat("could not read ", directory, ": ", error.message()));
  for (const uint64_t number : numbers) {
    absl::StatusOr<BackupManifest> manifest = ReadManifest(directory, number);
    if (absl::IsNotFound(manifest.status())) continue;  // removed meanwhile
    listed.push_back({number, std::move(manifest)});
  }
  return listed;
}

}  // namespace mneme
