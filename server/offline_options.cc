#include "server/offline_options.h"

#include <cstdint>
#include <tuple>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "cluster/kafka_settings.h"
#include "cluster/s3_settings.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// What a time is below: stamps are compared with it, and with it and some minutes. ParseTime() knows the ends of time
// by name, too, which are none of a clock.
constexpr absl::Time kLastTime = absl::FromUnixSeconds(253'402'300'800);  // the year 10000

// What is restored of several processes.
absl::Status CheckRestore(const ServerOptions& options) {
  const bool one = options.backup_shard.has_value();
  if (options.restore_backup.empty() && (options.apart || options.until.has_value())) {
    return absl::InvalidArgumentError(absl::StrCat(options.apart ? "--apart" : "--until",
                                                   " is given; needs --restore-backup"));
  }
  if (one && (options.apart || options.until.has_value())) {
    return absl::InvalidArgumentError(absl::StrCat(options.apart ? "--apart" : "--until", " is given, but it is of all "
                                                   "shards; must not be with --backup-shard"));
  }
  if (options.shards == 0 || (!one && !options.apart && !options.until.has_value())) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--shards is ", options.shards, ", but ",
                                                 one ? "--backup-shard" : options.apart ? "--apart" : "--until",
                                                 " restores shards as they were; must be 0"));
}

absl::Status CheckOneThing(const ServerOptions& options) {
  const char* first = nullptr;
  for (const auto& [flag, value] : {std::pair("--verify-backup", &options.verify_backup),
                                    std::pair("--restore-backup", &options.restore_backup),
                                    std::pair("--push-backups", &options.push_backups),
                                    std::pair("--pull-backups", &options.pull_backups)}) {
    if (value->empty()) continue;
    if (first != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(first, " and ", flag, " are given; must be one of them"));
    }
    first = flag;
  }
  return absl::OkStatus();
}

// Of copies of backups.
absl::Status CheckCopy(const ServerOptions& options) {
  const bool copies = !options.push_backups.empty() || !options.pull_backups.empty();
  for (const auto& [flag, value, is] :
       {std::tuple("--object-store", &options.object_store, "where copies of backups are"),
        std::tuple("--object-store-settings", &options.object_store_settings,
                   "the file that says how the store of copies of backups is reached")}) {
    if (copies && value->empty()) return absl::InvalidArgumentError(absl::StrCat(flag, " is empty; must be ", is));
    if (!copies && !value->empty()) {
      return absl::InvalidArgumentError(absl::StrCat(flag, " is \"", *value, "\", ", is,
                                                     "; needs --push-backups or --pull-backups, which copy them"));
    }
  }
  if (!copies) return absl::OkStatus();
  if (const auto address = ParseS3Address(options.object_store); !address.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--object-store ", address.status().message()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ReplayPoint> ParseUntil(const std::string& text) {
  ReplayPoint point;
  bool numbers = true;
  for (const auto part : absl::StrSplit(text, ',')) {
    uint64_t offset = 0;
    numbers = numbers && absl::SimpleAtoi(part, &offset);
    if (numbers) point.offsets.push_back(offset);
  }
  if (numbers) return point;
  point.offsets.clear();
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error) && absl::InfinitePast() < time && time < kLastTime) {
    point.until_ms = absl::ToUnixMillis(time);
    return point;
  }
  return absl::InvalidArgumentError(absl::StrCat("--until is \"", text, "\"; must be a time, such as "
                                                 "2026-01-31T12:00:00Z, or an offset of each shard, such as "
                                                 "4711,4802"));
}

absl::Status CheckOffline(const ServerOptions& options) {
  if (!options.offline()) {
    RETURN_IF_ERROR(CheckCopy(options));
    const char* const given = options.backup_number != 0          ? "--backup-number"
                              : options.backup_shard.has_value() ? "--backup-shard"
                              : options.deployment != 0          ? "--deployment"
                              : options.apart                    ? "--apart"
                              : options.until.has_value()        ? "--until"
                                                                 : nullptr;
    if (given == nullptr) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(given, " is given; needs --verify-backup or --restore-backup"));
  }
  if (options.deployment != 0 && (!options.backup_shard.has_value() || options.restore_backup.empty())) {
    return absl::InvalidArgumentError("--deployment is given; needs --restore-backup and --backup-shard: what holds "
                                      "all shards gets a number of its own");
  }
  RETURN_IF_ERROR(CheckRestore(options));
  RETURN_IF_ERROR(CheckOneThing(options));
  RETURN_IF_ERROR(CheckCopy(options));
  if (!options.restore_backup.empty() && options.data_dir.empty()) {
    return absl::InvalidArgumentError("--data-dir is empty; must name the directory that the backup becomes");
  }
  if (options.role != Role::kAll) {
    return absl::InvalidArgumentError(
        absl::StrCat("--role is ", RoleName(options.role), ", but backups are of all shards; must be all"));
  }
  if (!options.until.has_value()) {
    if (options.log.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("--log is \"", options.log, "\", but --until is not given, up to "
                                                   "which it is applied; must not be"));
  }
  if (options.log.empty()) return absl::InvalidArgumentError("--until is given without --log, which is applied");
  if (const auto address = ParseKafkaAddress(options.log); !address.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--log ", address.status().message()));
  }
  return absl::OkStatus();
}

}  // namespace mneme
