#include "server/offline.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/routing.h"
#include "storage/backup.h"
#include "storage/data_directory.h"

namespace mneme {
namespace {

using std::chrono::steady_clock;

constexpr int kFailed = 1;
constexpr int kInterrupted = 130;

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
    constexpr double kMega = 1e6;
    std::fprintf(stderr, "\r%s  %.0f of %.0f MB\x1b[K", progress.stage,
                 static_cast<double>(progress.bytes_done) / kMega, static_cast<double>(progress.bytes_total) / kMega);
    std::fflush(stderr);
  }

 private:
  const bool live_;
  std::string stage_;  // that was shown; empty: none
  steady_clock::time_point drawn_;
};

absl::StatusOr<BackupManifest> Work(const ServerOptions& options, const std::function<bool()>& give_up) {
  ProgressLine line(isatty(STDERR_FILENO) == 1 && options.log_level <= LogLevel::kInfo);
  const auto progress = [&](const BackupProgress& step) {
    line.Show(step);
    return !give_up();
  };
  if (!options.verify_backup.empty()) {
    return VerifyBackup(options.verify_backup, options.backup_number, progress, options.backup_shard);
  }
  RestoreTarget target{.data_dir = options.data_dir};
  target.shard = options.backup_shard;
  target.deployment = options.deployment;
  if (options.shards != 0) target.onto = PlacementOn(options.shards);
  return RestoreBackup(options.restore_backup, options.backup_number, target, progress);
}

// Of the directory that was made.
uint32_t Shards(const ServerOptions& options, const BackupManifest& backup) {
  return options.shards == 0 ? backup.shards : options.shards;
}

}  // namespace

int RunOffline(const ServerOptions& options, const std::function<bool()>& give_up) {
  const auto start = steady_clock::now();
  const absl::StatusOr<BackupManifest> backup = Work(options, give_up);
  const double seconds = std::chrono::duration<double>(steady_clock::now() - start).count();
  const bool json = options.log_format == LogFormat::kJson;
  if (!backup.ok()) {
    std::fprintf(stderr, "error: %s\n", std::string(backup.status().message()).c_str());
    return absl::IsCancelled(backup.status()) ? kInterrupted : kFailed;
  }
  const bool restored = options.verify_backup.empty();
  const char* done = restored ? "restored" : "verified";
  const std::string deployment = absl::StrFormat(
      "%016x", restored ? DataDirectory::DeploymentOf(options.data_dir).value_or(0) : backup->deployment);
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
  }
  return 0;
}

}  // namespace mneme
