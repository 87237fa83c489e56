#include "storage/backup_sets.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/backup_folder.h"

namespace mneme {
namespace {

constexpr char kPartPrefix[] = "part-";

// The directories of parts below `directory`.
absl::StatusOr<std::vector<std::string>> PartDirectories(const std::string& directory) {
  std::vector<std::string> found;
  std::error_code error;
  if (std::filesystem::status(directory, error).type() == std::filesystem::file_type::not_found) return found;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename();
    uint32_t shard = 0;
    if (!absl::StartsWith(name, kPartPrefix)) continue;
    if (!absl::SimpleAtoi(name.substr(sizeof(kPartPrefix) - 1), &shard) || shard >= limits::kMaxShards) continue;
    if (PartDirectory(directory, shard) == absl::StrCat(directory, "/", name)) found.push_back(entry->path().string());
  }
  if (error) return absl::UnavailableError(absl::StrCat("could not read ", directory, ": ", error.message()));
  std::sort(found.begin(), found.end());
  return found;
}

absl::Status CannotBeRestored(uint64_t number, const absl::Status& why) {
  return absl::Status(why.code(), absl::StrCat("backup ", number, " cannot be restored: ", why.message()));
}

FoundBackup OfOneProcess(const std::string& directory, BackupManifest manifest) {
  FoundBackup found;
  for (size_t i = 0; i < manifest.stores.size(); ++i) {
    found.folders.push_back(StoreFolder(directory, std::nullopt, i));
  }
  found.manifest = std::move(manifest);
  return found;
}

FoundBackup OfPart(const BackupSet::Part& part) {
  FoundBackup found;
  found.manifest = part.manifest;
  found.of_parts = true;
  found.logged = part.manifest.part->logged;
  for (size_t i = 0; i < part.manifest.stores.size(); ++i) {
    found.folders.push_back(StoreFolder(part.directory, part.manifest.part, i));
  }
  return found;
}

FoundBackup OfSet(const BackupSet& set) {
  FoundBackup found;
  found.manifest = set.Joined();
  found.of_parts = true;
  found.logged = set.any().part->logged;
  const BackupSet::Part& names = set.parts.at(0);
  found.folders.push_back(StoreFolder(names.directory, names.manifest.part, 0));
  for (const auto& [shard, part] : set.parts) {
    found.folders.push_back(StoreFolder(part.directory, part.manifest.part, 1));
  }
  return found;
}

// The last of those of `number` (0: any) that serve; else the last of `number` that do not, if one is named.
const BackupSet* FindSet(const std::vector<BackupSet>& sets, uint64_t number, std::optional<uint32_t> shard) {
  const auto serves = [&](const BackupSet& set) {
    return shard.has_value() ? set.parts.count(*shard) != 0 : set.whole();
  };
  const BackupSet* lacking = nullptr;
  for (auto set = sets.rbegin(); set != sets.rend(); ++set) {
    if (number != 0 && set->number() != number) continue;
    if (serves(*set)) return &*set;
    if (number != 0 && lacking == nullptr) lacking = &*set;
  }
  return lacking;
}

// The newest that is whole, or of which a shard has a part. A newer one whose manifest cannot be read is not passed
// over: it says so.
uint64_t NewestNumber(const BackupsInDirectory& in, std::optional<uint32_t> shard) {
  uint64_t newest = 0;
  for (const ListedBackup& backup : in.backups) newest = std::max(newest, backup.number);
  const BackupSet* const set = FindSet(in.sets, 0, shard);
  return set == nullptr ? newest : std::max(newest, set->number());
}

}  // namespace

std::vector<uint32_t> BackupSet::missing() const {
  std::vector<uint32_t> shards;
  for (uint32_t shard = 0; shard < any().shards; ++shard) {
    if (parts.count(shard) == 0) shards.push_back(shard);
  }
  return shards;
}

BackupManifest BackupSet::Joined() const {
  BackupManifest joined;
  joined.number = any().number;
  joined.created_ms = any().created_ms;
  joined.deployment = any().deployment;
  joined.shards = any().shards;
  joined.stores.resize(size_t{joined.shards} + 1);
  for (const auto& [shard, part] : parts) {
    if (shard == 0) joined.stores[0] = part.manifest.stores[0];
    joined.stores[size_t{shard} + 1] = part.manifest.stores[1];
  }
  return joined;
}

std::vector<BackupSet> JoinParts(std::vector<BackupSet::Part> parts) {
  // Those of one backup say the same of it.
  const auto key = [](const BackupManifest& part) {
    return std::tuple(part.number, part.created_ms, part.part->set, part.deployment, part.shards);
  };
  std::map<decltype(key(parts.front().manifest)), BackupSet> sets;
  for (BackupSet::Part& part : parts) {
    if (!part.manifest.part.has_value()) continue;
    const uint32_t shard = part.manifest.part->shard;
    sets[key(part.manifest)].parts.try_emplace(shard, std::move(part));
  }
  std::vector<BackupSet> ordered;
  for (auto& [unused, set] : sets) ordered.push_back(std::move(set));
  return ordered;
}

absl::StatusOr<BackupsInDirectory> ReadBackups(const std::string& directory) {
  ASSIGN_OR_RETURN(std::vector<std::string> directories, PartDirectories(directory));
  directories.insert(directories.begin(), directory);
  BackupsInDirectory in;
  std::vector<BackupSet::Part> parts;
  for (const std::string& each : directories) {
    ASSIGN_OR_RETURN(std::vector<ListedBackup> listed, ListBackups(each));
    for (ListedBackup& backup : listed) {
      const bool is_part = backup.manifest.ok() && backup.manifest->part.has_value();
      if (is_part) {
        parts.push_back({*std::move(backup.manifest), each});
      } else if (each == directory || !backup.manifest.ok()) {
        in.backups.push_back(std::move(backup));
      }
    }
  }
  std::stable_sort(in.backups.begin(), in.backups.end(),
                   [](const ListedBackup& a, const ListedBackup& b) { return a.number < b.number; });
  in.sets = JoinParts(std::move(parts));
  return in;
}

absl::StatusOr<uint64_t> GreatestNumber(const std::string& directory) {
  ASSIGN_OR_RETURN(const BackupsInDirectory in, ReadBackups(directory));
  uint64_t greatest = in.backups.empty() ? 0 : in.backups.back().number;
  if (!in.sets.empty()) greatest = std::max(greatest, in.sets.back().number());
  return greatest;
}

absl::StatusOr<FoundBackup> FindBackup(const std::string& directory, uint64_t number, std::optional<uint32_t> shard) {
  ASSIGN_OR_RETURN(const BackupsInDirectory in, ReadBackups(directory));
  const bool newest = number == 0;
  if (newest) number = NewestNumber(in, shard);
  const std::string whose = shard.has_value() ? absl::StrCat(" of shard ", *shard) : "";
  if (number == 0) {
    const char* const whole = in.sets.empty() ? "no backups" : "no backup that is whole";
    return absl::NotFoundError(absl::StrCat(directory, " has ", whole, whose));
  }
  const BackupSet* const set = FindSet(in.sets, number, shard);
  const bool serves = set != nullptr && (shard.has_value() ? set->parts.count(*shard) != 0 : set->whole());
  if (serves) return shard.has_value() ? OfPart(set->parts.at(*shard)) : OfSet(*set);
  for (const ListedBackup& backup : in.backups) {
    if (backup.number != number) continue;
    if (!backup.manifest.ok()) return CannotBeRestored(number, backup.manifest.status());
    if (!shard.has_value()) return OfOneProcess(directory, *backup.manifest);
    return absl::FailedPreconditionError(absl::StrCat("backup ", number, " was written by one process of all shards; "
                                                      "shard ", *shard, " of it is not restored alone"));
  }
  if (set == nullptr) return absl::NotFoundError(absl::StrCat(directory, " has no backup ", number, whose));
  return absl::FailedPreconditionError(
      absl::StrCat("backup ", number, " is not whole in ", directory, ": of its ", set->any().shards,
                   " shards the parts of ", absl::StrJoin(set->missing(), ", "), " are missing"));
}

}  // namespace mneme
