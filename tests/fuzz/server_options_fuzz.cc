// The command line and the environment of a server, and the files that they name. An input is lines: `$NAME=VALUE` is
// the variable MNEME_NAME, `@LINE` a line of the file whose path stands for %F, each other line a word.
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "server/options.h"
#include "server/security_options.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

constexpr size_t kMostWords = 64;
// The longest name that a variable of ours has is a fraction of it.
constexpr size_t kMaxNameBytes = 64;

// Variables of this process as long as it lives; as in a C string, nothing behind a zero byte is of one.
class Environment {
 public:
  ~Environment() {
    for (const std::string& name : names_) ::unsetenv(name.c_str());
  }
  void Set(const std::string& assignment) {
    const size_t equals = assignment.find('=');
    if (equals == std::string::npos || equals > kMaxNameBytes) return;
    names_.push_back("MNEME_" + assignment.substr(0, equals));
    ::setenv(names_.back().c_str(), assignment.substr(equals + 1).c_str(), 1);
  }

 private:
  std::vector<std::string> names_;
};

void LookAt(const ServerOptions& options) {
  Expect(CheckOptions(options).ok(), "what is taken is what is checked");
  const auto json = nlohmann::json::parse(OptionsJson(options), nullptr, /*allow_exceptions=*/false);
  Expect(json.is_object() && json["listen"].is_array(), "options are shown as JSON");
  const ServerOptions resolved = ResolveOptions(options);
  Expect(resolved.search_threads != 0 && resolved.ram_limit_bytes != 0, "what is 0 is what the machine has");
  static_cast<void>(AdminIsEncrypted(options));
  static_cast<void>(LogIsInTheClear(options));
  if (const absl::Status files = CheckFiles(options); !files.ok()) {
    ExpectRefusal(files,
                  {absl::StatusCode::kInvalidArgument, absl::StatusCode::kFailedPrecondition,
                   absl::StatusCode::kNotFound, absl::StatusCode::kPermissionDenied},
                  {"--tls-", "--shard-", "--tokens", "--log-settings", "--object-store-settings"});
  }
}

bool Run(std::string_view input) {
  std::vector<std::string> lines = absl::StrSplit(absl::string_view(input.data(), input.size()), '\n');
  std::string file;
  for (const std::string& line : lines) {
    if (absl::StartsWith(line, "@")) absl::StrAppend(&file, line.substr(1), "\n");
  }
  const std::string path = FileOf(file);
  Environment environment;
  std::vector<const char*> words = {"mneme-server"};
  for (std::string& line : lines) {
    if (words.size() > kMostWords) break;
    if (absl::StartsWith(line, "@")) continue;
    line = absl::StrReplaceAll(line, {{"%F", path}});
    if (absl::StartsWith(line, "$")) {
      environment.Set(line.substr(1));
    } else {
      words.push_back(line.c_str());
    }
  }
  const ParsedOptions parsed = ParseOptions(static_cast<int>(words.size()), words.data());
  if (parsed.run) {
    Expect(parsed.exit_code == 0 && parsed.text.empty(), "there is nothing to say");
    LookAt(parsed.options);
    return true;
  }
  Expect(absl::EndsWith(parsed.text, "\n"), "what is said is a line");
  if (parsed.exit_code == 0) return true;  // help, or the version
  Expect(parsed.exit_code == 2 && absl::StartsWith(parsed.text, "mneme-server: "), "an error says who says it");
  return false;
}

std::vector<std::string> Seeds() {
  return {"--help",
          "--version",
          "--data-dir=data",
          "$DATA_DIR=data\n$LISTEN=127.0.0.1:0, [::1]:0\n$LISTEN_UNIX=/s,/t\n$ADMIN_LISTEN=off\n$LOG_LEVEL=debug",
          "--data-dir\ndata\n--listen\n0.0.0.0:7700\n--insecure-listen\n--admin-listen\n0.0.0.0:7701\n"
          "--insecure-admin-listen\n--ram-limit\n1GiB\n--answer-cache=64MiB\n--drain-delay\n5s\n--log-format\ntext",
          "--data-dir=data\n--tls-certificate=c\n--tls-key=k\n--tls-client-ca=a\n--listen=example.org:1\n--tokens=t",
          "--data-dir=data\n--backup-dir=backups\n--erase-after=60\n--shards=4\n--search-threads=2\n--check-config",
          "--role=frontend\n--shard-addresses=a:1|b:2,c:3|d:4\n--log=kafka://k:9092/mneme\n--shard-tls-ca=a\n"
          "--shard-token-file=t",
          "--role\nshard\n--shard-number\n1\n--replica\n1\n--log\nkafka://k:9092/mneme\n--data-dir\nd\n"
          "--shard-addresses\na:1|b:2 c:3|d:4",
          "--role=shard\n--shard-number=1\n--shard-addresses=127.0.0.1:1,127.0.0.1:2\n--data-dir=d\n"
          "--accept-empty-shard\n--accept-truncated-log\n--shard-token-file=t",
          "--verify-backup=b\n--backup-number=3\n--backup-shard=0",
          "--restore-backup=b\n--data-dir=d\n--backup-shard=1\n--deployment=0123456789abcdef",
          "--restore-backup=b\n--data-dir=d\n--apart",
          "--restore-backup=b\n--data-dir=d\n--until=2026-01-31T12:00:00Z\n--log=kafka://k:9092/mneme",
          "--restore-backup=b\n--data-dir=d\n--until=4711,4802\n--log=kafka://k:9092/mneme",
          "--push-backups=b\n--object-store=s3://bucket/p\n--object-store-settings=f",
          "--pull-backups=b\n--object-store=s3://bucket\n--object-store-settings=f"};
}

const Registration kTarget({"server_options", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
