#include "server/offline.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cluster/kafka_log.h"
#include "cluster/kafka_settings.h"
#include "cluster/s3_settings.h"
#include "cluster/s3_store.h"
#include "common/status_macros.h"
#include "engine/log_replay.h"
#include "engine/routing.h"
#include "server/security_options.h"
#include "storage/backup.h"
#include "storage/backup_copy.h"
#include "storage/data_directory.h"

namespace mneme {
namespace {

using std::chrono::steady_clock;

constexpr int kFailed = 1;
constexpr int kInterrupted = 130;
// Until brokers say that a topic has a partition for each shard.
constexpr std::chrono::seconds kAskBrokers{30};

// One line on a terminal, at most ten times a second and when a stage begins; gone in the end.
class ProgressLine {
 public:
  explicit ProgressLine(bool live) : live_(live) {}
  ~ProgressLine() {
    if (!stage_.empty()) std::fputs("\r\x1b[K", stderr);
  }
  void Show(const BackupProgress& progress) {
    const auto now = steady_clock::now();
    const bool begins = stage_ != progress.stage;
    if (!live_ || (!begins && now - drawn_ < std::chrono::milliseconds(100))) return;
    stage_ = progress.stage;
    drawn_ = now;
    const double unit = progress.of_records ? 1 : 1e6;
    std::fprintf(stderr, "\r%s  %.0f of %.0f %s\x1b[K", progress.stage,
                 static_cast<double>(progress.bytes_done) / unit, static_cast<double>(progress.bytes_total) / unit,
                 progress.of_records ? "records" : "MB");
    std::fflush(stderr);
  }

 private:
  const bool live_;
  std::string stage_;  // that was shown; empty: none
  steady_clock::time_point drawn_;
};

// Opens the log that is applied.
absl::StatusOr<std::unique_ptr<KafkaLogs>> OpenLog(const ServerOptions& options) {
  KafkaOptions kafka;
  ASSIGN_OR_RETURN(kafka.address, ParseKafkaAddress(options.log));
  ASSIGN_OR_RETURN(kafka.settings, LogSettingsOf(options));
  absl::StatusOr<std::unique_ptr<KafkaLogs>> logs = KafkaLogs::New(std::move(kafka));
  if (logs.ok()) return logs;
  return absl::Status(logs.status().code(), absl::StrCat("--log-settings ", logs.status().message()));
}

absl::StatusOr<BackupManifest> Restore(const ServerOptions& options, const BackupProgressSink& progress,
                                       std::vector<ReplayedShard>& replayed) {
  RestoreTarget target{.data_dir = options.data_dir};
  target.shard = options.backup_shard;
  target.deployment = options.deployment;
  target.apart = options.apart;
  if (options.shards != 0) target.onto = PlacementOn(options.shards);
  if (!options.until.has_value()) {
    return RestoreBackup(options.restore_backup, options.backup_number, target, progress);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<KafkaLogs> logs, OpenLog(options));
  ASSIGN_OR_RETURN(const uint64_t number,
                   FindReplayedBackup(options.restore_backup, options.backup_number, *options.until));
  target.finish = [&](const DataDirectory& made, const BackupManifest& backup) -> absl::Status {
    CallLimits limits;
    limits.deadline = steady_clock::now() + kAskBrokers;
    RETURN_IF_ERROR(logs->Check(backup.shards - 1, limits));
    LogReplayOptions replay;
    replay.point = *options.until;
    replay.ram_limit_bytes = options.ram_limit_bytes;
    replay.progress = progress;
    replay.open_log = [&](uint32_t shard) -> absl::StatusOr<std::shared_ptr<ShardLog>> {
      return std::shared_ptr<ShardLog>(logs->Open(shard));
    };
    ASSIGN_OR_RETURN(replayed, ReplayLogs(made, backup, replay));
    return absl::OkStatus();
  };
  return RestoreBackup(options.restore_backup, number, target, progress);
}

absl::StatusOr<BackupManifest> Work(const ServerOptions& options, const std::function<bool()>& give_up,
                                    std::vector<ReplayedShard>& replayed) {
  ProgressLine line(isatty(STDERR_FILENO) == 1 && options.log_level <= LogLevel::kInfo);
  const auto progress = [&](const BackupProgress& step) {
    line.Show(step);
    return !give_up();
  };
  if (!options.verify_backup.empty()) {
    return VerifyBackup(options.verify_backup, options.backup_number, progress, options.backup_shard);
  }
  return Restore(options, progress, replayed);
}

// The deployment of what was made.
uint64_t Made(const ServerOptions& options) {
  const std::string directory = options.data_dir + (options.apart ? "/shard-000" : "");
  const absl::StatusOr<std::optional<uint64_t>> stored = DataDirectory::StoredDeployment(directory);
  return stored.ok() ? stored->value_or(0) : 0;
}

nlohmann::ordered_json ReplayJson(const std::vector<ReplayedShard>& replayed) {
  nlohmann::ordered_json shards = nlohmann::ordered_json::array();
  for (const ReplayedShard& shard : replayed) {
    shards.push_back({{"from", shard.from}, {"offset", shard.end}, {"left_out", shard.left_out}});
  }
  return shards;
}

void PrintReplay(const std::vector<ReplayedShard>& replayed) {
  for (size_t shard = 0; shard < replayed.size(); ++shard) {
    const ReplayedShard& told = replayed[shard];
    const std::string left =
        told.left_out == 0 ? ""
                           : absl::StrCat("; ", told.left_out, " records of memories that the backup does not know "
                                          "were left out");
    absl::PrintF("shard %u: the log was applied from offset %u to %u%s\n", shard, told.from, told.end, left);
  }
}

absl::StatusOr<CopiedBackups> Copy(const ServerOptions& options, const std::function<bool()>& give_up) {
  ASSIGN_OR_RETURN(S3Settings settings, StoreSettingsOf(options));
  ASSIGN_OR_RETURN(S3Address address, ParseS3Address(options.object_store));
  ASSIGN_OR_RETURN(const auto store, S3Store::New(std::move(address), std::move(settings), give_up));
  ProgressLine line(isatty(STDERR_FILENO) == 1 && options.log_level <= LogLevel::kInfo);
  const auto progress = [&](const BackupProgress& step) {
    line.Show(step);
    return !give_up();
  };
  return options.push_backups.empty() ? PullBackups(*store, options.pull_backups, progress)
                                      : PushBackups(options.push_backups, *store, progress);
}

int Failed(const absl::Status& status) {
  std::fprintf(stderr, "error: %s\n", std::string(status.message()).c_str());
  return absl::IsCancelled(status) ? kInterrupted : kFailed;
}

int RunCopy(const ServerOptions& options, const std::function<bool()>& give_up) {
  const absl::StatusOr<CopiedBackups> copied = Copy(options, give_up);
  if (!copied.ok()) return Failed(copied.status());
  const char* const done = options.push_backups.empty() ? "pulled" : "pushed";
  if (options.log_format == LogFormat::kJson) {
    const nlohmann::ordered_json document = {{done, true},
                                             {"manifests", copied->manifests},
                                             {"damaged", copied->damaged},
                                             {"files", copied->files},
                                             {"bytes", copied->bytes},
                                             {"removed", copied->removed}};
    std::printf("%s\n", document.dump().c_str());
  } else {
    const std::string damaged =
        copied->damaged == 0 ? "" : absl::StrCat("; ", copied->damaged, " are damaged and were left out");
    absl::PrintF("%s %u manifests: %u files of %.1f MB were copied, %u removed%s\n", done, copied->manifests,
                 copied->files, static_cast<double>(copied->bytes) / 1e6, copied->removed, damaged);
  }
  return 0;
}

// Of the directory that was made.
uint32_t Shards(const ServerOptions& options, const BackupManifest& backup) {
  return options.shards == 0 ? backup.shards : options.shards;
}

}  // namespace

int RunOffline(const ServerOptions& options, const std::function<bool()>& give_up) {
  if (!options.push_backups.empty() || !options.pull_backups.empty()) return RunCopy(options, give_up);
  const auto start = steady_clock::now();
  std::vector<ReplayedShard> replayed;
  const absl::StatusOr<BackupManifest> backup = Work(options, give_up, replayed);
  const double seconds = std::chrono::duration<double>(steady_clock::now() - start).count();
  const bool json = options.log_format == LogFormat::kJson;
  if (!backup.ok()) return Failed(backup.status());
  const bool restored = options.verify_backup.empty();
  const char* done = restored ? "restored" : "verified";
  const std::string deployment = absl::StrFormat(
      "%016x", restored ? Made(options) : backup->deployment);
  if (json) {
    nlohmann::ordered_json document = {{done, true},
                                       {"number", backup->number},
                                       {"created_ms", backup->created_ms},
                                       {"entries", backup->entries()},
                                       {"memories", backup->stores.front().entries},
                                       {"bytes", backup->bytes()},
                                       {"seconds", seconds},
                                       {"deployment", deployment}};
    if (options.backup_shard.has_value()) document["shard"] = *options.backup_shard;
    if (restored) document["shards"] = Shards(options, *backup);
    if (options.until.has_value()) document["replayed"] = ReplayJson(replayed);
    std::printf("%s\n", document.dump().c_str());
  } else {
    const bool other = restored && Shards(options, *backup) != backup->shards;
    const std::string onto = other ? absl::StrFormat(" onto %u shards", Shards(options, *backup))
                             : options.backup_shard.has_value() ? absl::StrFormat(", shard %u", *options.backup_shard)
                                                                : "";
    const std::string of = absl::StrCat(restored ? ", as deployment " : ", of deployment ", deployment);
    absl::PrintF("%s backup %u%s: %u memories, %u entries, %.1f MB in %.1f s%s\n", done, backup->number, onto,
                 backup->stores.front().entries, backup->entries(), static_cast<double>(backup->bytes()) / 1e6,
                 seconds, of);
    PrintReplay(replayed);
  }
  return 0;
}

}  // namespace mneme
