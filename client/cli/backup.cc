// `mneme backup`, `mneme backups`, `mneme verify`, `mneme push`, `mneme pull` and `mneme restore`.
//
// The first two ask a server. The others read and write files of the server's formats, which this program knows nothing
// of: mneme-server does that itself, and takes this process over.
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/cli/describe.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

constexpr char kServerProgram[] = "mneme-server";

std::string DeploymentOf(const v1::Backup& backup) { return absl::StrFormat("%016x", backup.deployment()); }

Json BackupJson(const v1::Backup& backup) {
  if (!backup.damage().empty() && backup.missing_shards().empty()) {
    return {{"number", backup.number()}, {"damage", backup.damage()}};
  }
  Json document = {{"number", backup.number()},
                   {"created_ms", backup.created_ms()},
                   {"deployment", DeploymentOf(backup)},
                   {"shards", backup.shards()},
                   {"entries", backup.entries()},
                   {"memories", backup.memories()},
                   {"bytes", backup.bytes()},
                   {"applied", std::vector<uint64_t>(backup.applied().begin(), backup.applied().end())}};
  if (backup.missing_shards().empty()) return document;
  document["missing_shards"] = std::vector<uint32_t>(backup.missing_shards().begin(), backup.missing_shards().end());
  document["damage"] = backup.damage();
  return document;
}

// All of them, or those that are there of as many.
std::string ShardsOf(const v1::Backup& backup) {
  if (backup.missing_shards().empty()) return absl::StrCat(backup.shards());
  return absl::StrCat(backup.shards() - static_cast<uint32_t>(backup.missing_shards_size()), " of ", backup.shards());
}

absl::Status Back(uint32_t keep, Session& session) {
  Progress progress(session.live(), "backup", "bytes", 0);
  v1::CreateBackupRequest request;
  request.set_keep(keep);
  ASSIGN_OR_RETURN(const v1::CreateBackupResponse made,
                   session.admin().CreateBackup(request, [&](const v1::CreateBackupResponse& step) {
                     progress.SetLine(absl::StrFormat("backup  %-8s  %s of %s  %s", step.stage(),
                                                      HumanBytes(step.bytes_done()), HumanBytes(step.bytes_total()),
                                                      HumanSeconds(progress.seconds())));
                     return true;
                   }));
  if (session.json()) {
    Json document = BackupJson(made.backup());
    document["new_bytes"] = made.new_bytes();
    document["removed"] = made.removed();
    document["seconds"] = progress.seconds();
    session.PrintJson(document);
    return absl::OkStatus();
  }
  session.Note(absl::StrCat("backup ", made.backup().number(), ": ", HumanCount(made.backup().memories()),
                            " memories, ", HumanCount(made.backup().entries()), " entries, ",
                            HumanBytes(made.backup().bytes()), ", of which ", HumanBytes(made.new_bytes()),
                            " are new, in ", HumanSeconds(progress.seconds()),
                            made.removed() == 0 ? "" : absl::StrCat("; ", made.removed(), " older removed")));
  return absl::OkStatus();
}

absl::Status List(Session& session) {
  ASSIGN_OR_RETURN(const std::vector<v1::Backup> backups, session.admin().ListBackups());
  if (session.json()) {
    Json all = Json::array();
    for (const v1::Backup& backup : backups) all.push_back(BackupJson(backup));
    session.PrintJson({{"backups", all}});
    return absl::OkStatus();
  }
  Table table({"NUMBER", "TIME (UTC)", "DEPLOYMENT", "SHARDS", "MEMORIES", "ENTRIES", "BYTES"});
  for (const v1::Backup& backup : backups) {
    const bool lacking = !backup.missing_shards().empty();
    if (!backup.damage().empty()) session.Note(absl::StrCat("backup ", backup.number(), ": ", backup.damage()));
    if (!backup.damage().empty() && !lacking) {
      table.Add({absl::StrCat(backup.number()), "damaged", "", "", "", "", ""});
      continue;
    }
    const absl::Time time = absl::FromUnixMillis(backup.created_ms());
    table.Add({absl::StrCat(backup.number()),
               lacking ? "not whole" : absl::FormatTime("%Y-%m-%d %H:%M:%S", time, absl::UTCTimeZone()),
               DeploymentOf(backup), ShardsOf(backup), lacking ? "" : HumanCount(backup.memories()),
               lacking ? "" : HumanCount(backup.entries()), lacking ? "" : HumanBytes(backup.bytes())});
  }
  if (table.empty()) {
    session.Note("no backups yet; see: mneme backup --help");
  } else {
    session.Print(table.ToString());
  }
  return absl::OkStatus();
}

// mneme-server beside this program, or wherever the shell would find it.
std::string ServerProgram() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path beside = self.parent_path() / kServerProgram;
  return !error && access(beside.c_str(), X_OK) == 0 ? beside.string() : kServerProgram;
}

// What the environment says is for servers: the role of a shard, say, or its log.
void ForgetServersEnvironment() {
  std::vector<std::string> names;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string_view entry = *each;
    if (entry.starts_with("MNEME_")) names.emplace_back(entry.substr(0, entry.find('=')));
  }
  for (const std::string& name : names) unsetenv(name.c_str());
}

// Returns only when there is no such program.
absl::Status BecomeServer(std::vector<std::string> words, const Session& session) {
  const std::string program = ServerProgram();
  words.insert(words.begin(), program);
  words.push_back(session.json() ? "--log-format=json" : "--log-format=text");
  if (session.options().quiet) words.push_back("--log-level=error");
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ForgetServersEnvironment();
  // A program inherits what is blocked and ignored.
  std::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  execvp(program.c_str(), arguments.data());
  return absl::NotFoundError(absl::StrCat("cannot run ", program, ", which reads and writes the files of a backup: ",
                                          std::generic_category().message(errno),
                                          "; it is found beside mneme or on the PATH"));
}

}  // namespace

void AddBackup(Command app, Action& action) {
  auto keep = std::make_shared<uint32_t>(0);
  Command backup = app.AddVerb("backup", "Write a backup into the server's --backup-dir, or each shard's", kServer,
                               "  mneme backup\n  mneme backup --keep 7");
  backup.AddOption("--keep", *keep, "Then remove the oldest until N are left; 0: none").Type("N");
  backup.WhenGiven([keep, &action] { action = [keep](Session& session) { return Back(*keep, session); }; });

  Command list = app.AddVerb("backups", "List the backups of the server", kServer, "  mneme backups -o json");
  list.WhenGiven([&action] { action = [](Session& session) { return List(session); }; });

  auto directory = std::make_shared<std::string>();
  auto number = std::make_shared<uint64_t>(0);
  auto shard = std::make_shared<std::optional<uint32_t>>();
  Command verify = app.AddVerb("verify", "Read every byte of a backup; asks no server", kServer,
                               "  mneme verify /mnt/backups\n  mneme verify /mnt/backups --number 3");
  verify.AddOption("directory", *directory, "The directory of the backups").Required().Type("");
  verify.AddOption("--number", *number, "Which; 0: the newest").Type("N");
  verify.AddOption("--shard", *shard, "Of several processes, the part of one shard").Type("N")
      .Range(0U, limits::kMaxShards - 1);
  verify.WhenGiven([=, &action] {
    action = [=](Session& session) {
      std::vector<std::string> words = {"--verify-backup=" + *directory, absl::StrCat("--backup-number=", *number)};
      if (shard->has_value()) words.push_back(absl::StrCat("--backup-shard=", **shard));
      return BecomeServer(std::move(words), session);
    };
  });

  auto store = std::make_shared<std::string>();
  auto store_settings = std::make_shared<std::string>();
  for (const bool push : {true, false}) {
    Command copy = app.AddVerb(push ? "push" : "pull",
                               push ? "Copy a directory of backups into an S3-compatible store; asks no server"
                                    : "Copy backups from an S3-compatible store into a directory; asks no server",
                               kServer,
                               push ? "  mneme push /mnt/backups s3://bucket/mneme --settings store.conf"
                                    : "  mneme pull /mnt/backups s3://bucket/mneme --settings store.conf");
    copy.AddOption("directory", *directory, "The directory of the backups").Required().Type("");
    copy.AddOption("store", *store, "s3://BUCKET[/PREFIX]").Required().Type("");
    copy.AddOption("--settings", *store_settings, "Endpoint, region and keys of the store, NAME=VALUE a line")
        .Required()
        .Type("FILE");
    copy.WhenGiven([=, &action] {
      action = [=](Session& session) {
        return BecomeServer({(push ? "--push-backups=" : "--pull-backups=") + *directory, "--object-store=" + *store,
                             "--object-store-settings=" + *store_settings}, session);
      };
    });
  }

  auto data = std::make_shared<std::string>();
  auto shards = std::make_shared<uint32_t>(0);
  auto deployment = std::make_shared<std::string>();
  auto apart = std::make_shared<bool>(false);
  auto until = std::make_shared<std::string>();
  auto log = std::make_shared<std::string>();
  auto settings = std::make_shared<std::string>();
  Command restore = app.AddVerb("restore", "Make a data directory of a backup; asks no server", kServer,
                                "  mneme restore /mnt/backups --data-dir /var/lib/mneme\n"
                                "  mneme restore /mnt/backups --data-dir /var/lib/mneme --shards 4\n"
                                "  mneme restore /mnt/backups --data-dir /var/lib/mneme --apart\n"
                                "  mneme restore /mnt/backups --data-dir /var/lib/mneme --shard 0\n"
                                "  mneme restore /mnt/backups --data-dir /var/lib/mneme --until 2026-01-31T12:00:00Z "
                                "--log kafka://kafka-0:9092/mneme");
  restore.AddOption("directory", *directory, "The directory of the backups").Required().Type("");
  restore.AddOption("--data-dir", *data, "What a server is to be started on; absent or empty").Required().Type("DIR");
  restore.AddOption("--number", *number, "Which; 0: the newest").Type("N");
  restore.AddOption("--shards", *shards, "How many shards it gets; 0: as many as were backed up").Type("N")
      .Range(0U, limits::kMaxShards);
  restore.AddOption("--shard", *shard, "Of several processes, what one shard is started on").Type("N")
      .Range(0U, limits::kMaxShards - 1);
  restore.AddOption("--deployment", *deployment, "Of --shard: the deployment that it is of; see mneme backups")
      .Type("HEX");
  restore.AddFlag("--apart", *apart, "Of several processes: a directory for each of them");
  restore.AddOption("--until", *until, "Then apply --log up to a time (2026-01-31T12:00:00Z), or offset of each shard")
      .Type("TIME");
  restore.AddOption("--log", *log, "Of --until: kafka://HOST:PORT[,HOST:PORT...]/TOPIC").Type("LOG");
  restore.AddOption("--log-settings", *settings, "Of --log: FILE of librdkafka's settings").Type("FILE");
  restore.WhenGiven([=, &action] {
    action = [=](Session& session) {
      std::vector<std::string> words = {"--restore-backup=" + *directory, absl::StrCat("--backup-number=", *number),
                                        "--data-dir=" + *data, absl::StrCat("--shards=", *shards)};
      if (shard->has_value()) words.push_back(absl::StrCat("--backup-shard=", **shard));
      if (!deployment->empty()) words.push_back("--deployment=" + *deployment);
      if (*apart) words.push_back("--apart");
      if (!until->empty()) words.push_back("--until=" + *until);
      if (!log->empty()) words.push_back("--log=" + *log);
      if (!settings->empty()) words.push_back("--log-settings=" + *settings);
      return BecomeServer(std::move(words), session);
    };
  });
}

}  // namespace mneme::cli
