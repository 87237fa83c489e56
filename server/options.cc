#include "server/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cluster/kafka_settings.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "security/loopback.h"
#include "server/offline_options.h"
#include "server/security_options.h"
#include "server/version.h"

namespace mneme {
namespace {

constexpr int kUsageError = 2;
constexpr absl::Duration kMaxDrainDelay = absl::Minutes(5);
constexpr uint64_t kMinRamLimit = uint64_t{64} << 20;
constexpr uint32_t kMaxSearchThreads = 1'024;
// An option that is farther from a known one than this is no slip of the finger.
constexpr size_t kMaxSlip = 3;

constexpr char kFooter[] =
    "\nEvery option may come from the environment: --data-dir from MNEME_DATA_DIR, and so on. A flag wins.\n"
    "Not so --verify-backup, --restore-backup, --push-backups, --pull-backups and what is of them, which do their\n"
    "work instead of serving.\n"
    "Several addresses are separated by commas or spaces, replicas of one shard by |, Unix sockets by commas.\n"
    "\nExamples:\n"
    "  mneme-server --data-dir /var/lib/mneme\n"
    "  mneme-server --data-dir ./data --listen 127.0.0.1:0 --port-file ./port --admin-listen off\n"
    "  mneme-server --data-dir ./data --listen 0.0.0.0:7700 --tls-certificate cert.pem --tls-key key.pem \\\n"
    "    --tokens tokens\n"
    "  mneme-server --data-dir ./data --backup-dir /mnt/backups\n"
    "  mneme-server --restore-backup /mnt/backups --data-dir ./restored\n"
    "  mneme-server --restore-backup /mnt/backups --data-dir ./restored --shards 4\n"
    "  mneme-server --restore-backup /mnt/backups --data-dir ./shard-0 --backup-shard 0\n"
    "  mneme-server --restore-backup /mnt/backups --data-dir ./restored --until 2026-01-31T12:00:00Z \\\n"
    "    --log kafka://127.0.0.1:9092/mneme\n"
    "  mneme-server --push-backups /mnt/backups --object-store s3://bucket/mneme \\\n"
    "    --object-store-settings store.conf\n"
    "  mneme-server --role shard --shard-number 0 --shard-addresses 127.0.0.1:7710,127.0.0.1:7720 \\\n"
    "    --data-dir ./shard-0 --listen 127.0.0.1:7710 --admin-listen 127.0.0.1:7711\n"
    "  mneme-server --role frontend --shard-addresses 127.0.0.1:7710,127.0.0.1:7720\n"
    "  mneme-server --role shard --shard-number 0 --replica 1 --log kafka://127.0.0.1:9092/mneme \\\n"
    "    --shard-addresses '127.0.0.1:7710|127.0.0.1:7712,127.0.0.1:7720|127.0.0.1:7722' \\\n"
    "    --data-dir ./shard-0-1 --listen 127.0.0.1:7712 --admin-listen 127.0.0.1:7713\n";

struct RawOptions {
  ServerOptions* options = nullptr;
  std::string role = "all";
  std::string drain_delay = "0s";
  int64_t backup_shard = -1;
  std::string deployment;
  std::string until;
  std::string log_format = "auto";
  std::string log_level = "info";
};

std::string EnvironmentName(const std::string& flag) {
  std::string name = "MNEME_";
  for (const char c : flag.substr(2)) name.push_back(c == '-' ? '_' : static_cast<char>(std::toupper(c)));
  return name;
}

template <typename T>
CLI::Option* Add(CLI::App& app, const std::string& flag, T& value, const std::string& help) {
  return app.add_option(flag, value, help)->envname(EnvironmentName(flag))->capture_default_str();
}

void AddFlag(CLI::App& app, const std::string& flag, bool& value, const std::string& help) {
  app.add_flag(flag, value, help)->envname(EnvironmentName(flag));
}

void DeclareSecurity(CLI::App& app, ServerOptions& options) {
  Add(app, "--tls-certificate", options.tls.certificate,
      "FILE: certificate and chain in PEM, of --listen, and of --admin-listen beyond this machine; a new one is taken");
  Add(app, "--tls-key", options.tls.key, "FILE: its private key");
  Add(app, "--tls-client-ca", options.tls.ca, "FILE: answer only clients whose certificate one of these signed");
  Add(app, "--tokens", options.tokens, "FILE of who may do what (mneme token); read again at SIGHUP");
  Add(app, "--shard-tls-ca", options.shard_tls.ca, "FILE: who signs certificates of shards; encrypts");
  Add(app, "--shard-tls-certificate", options.shard_tls.certificate,
      "FILE: what this process shows to shards, if not --tls-certificate");
  Add(app, "--shard-tls-key", options.shard_tls.key, "FILE: its private key");
  Add(app, "--shard-token-file", options.shard_token_file, "FILE with the token that this process shows to shards");
  AddFlag(app, "--insecure-listen", options.insecure_listen,
          "Allow addresses beyond this machine without TLS: whoever is on the way reads and changes everything");
  AddFlag(app, "--insecure-shard-token", options.insecure_shard_token,
          "Show --shard-token-file to shards beyond this machine without TLS: whoever is on the way may take it");
  AddFlag(app, "--insecure-admin-listen", options.insecure_admin_listen,
          "Allow the admin address beyond this machine without TLS: whoever reaches it reads metrics and options");
}

void Declare(CLI::App& app, RawOptions& raw) {
  ServerOptions& options = *raw.options;
  Add(app, "--data-dir", options.data_dir, "Where everything is kept; made when missing. A front end keeps nothing");
  Add(app, "--listen", options.listen, "HOST:PORT for gRPC, several times if need be; port 0 takes a free one")
      ->take_all();
  Add(app, "--listen-unix", options.listen_unix, "PATH of a Unix socket for gRPC")->take_all();
  Add(app, "--port-file", options.port_file, "FILE that gets the port once the server serves");
  Add(app, "--admin-listen", options.admin_listen, "HOST:PORT for /metrics and /healthz, or off");
  Add(app, "--admin-port-file", options.admin_port_file, "FILE that gets the admin port");
  Add(app, "--backup-dir", options.backup_dir, "DIR for backups, made when missing; without it there are none");
  Add(app, "--erase-after", options.erase_after_seconds,
      "SECONDS that deletions wait for each other, until their bytes are erased from index and store in the background")
      ->check(CLI::Range(uint64_t{0}, limits::kMaxEraseAfterSeconds));
  const CLI::Validator named([](const std::string& path) { return path.empty() ? "must name a directory" : ""; }, "");
  app.add_option("--verify-backup", options.verify_backup, "Read every byte of a backup in DIR, and exit")
      ->check(named);
  app.add_option("--restore-backup", options.restore_backup,
                 "Verify a backup in DIR, make it the --data-dir, which is absent or empty, and exit")
      ->check(named);
  app.add_option("--backup-number", options.backup_number, "Which backup; 0: the newest")->capture_default_str();
  app.add_option("--backup-shard", raw.backup_shard, "Of a backup of several processes, one shard alone")
      ->check(CLI::Range(int64_t{0}, int64_t{limits::kMaxShards} - 1));
  app.add_option("--deployment", raw.deployment,
                 "Of --backup-shard: HEX of its deployment, as the restore of shard 0 told, or that of the backup");
  app.add_option("--until", raw.until,
                 "Then apply --log up to a TIME (2026-01-31T12:00:00Z), or to an offset of each shard (4711,4802)");
  app.add_option("--push-backups", options.push_backups, "Copy the backups of DIR into --object-store, and exit")
      ->check(named);
  app.add_option("--pull-backups", options.pull_backups, "Copy the backups of --object-store into DIR, and exit")
      ->check(named);
  app.add_option("--object-store", options.object_store, "s3://BUCKET[/PREFIX] that has copies of backups");
  app.add_option("--object-store-settings", options.object_store_settings,
                 "FILE: endpoint, region, access-key, secret-key and ca-file of the store, NAME=VALUE a line");
  app.add_flag("--apart", options.apart, "Of a backup of several processes: a directory for each of them");
  Add(app, "--role", raw.role, "What this process is of a deployment: all of it, a frontend, or one shard")
      ->check(CLI::IsMember({"all", "frontend", "shard"}));
  Add(app, "--shard-number", options.shard_number, "Which shard a process of role shard is; 0 has the names, too")
      ->check(CLI::Range(uint32_t{0}, limits::kMaxShards - 1));
  Add(app, "--shard-addresses", options.shard_addresses,
      "HOST:PORT of every shard, by number, and of its replicas, separated by |: of roles frontend and shard")
      ->take_all();
  Add(app, "--replica", options.replica, "Which replica of its shard a process of role shard is; needs --log")
      ->check(CLI::Range(uint32_t{0}, limits::kMaxReplicas - 1));
  Add(app, "--log", options.log,
      "kafka://HOST:PORT[,HOST:PORT...]/TOPIC: the log of all shards, a partition for each; names: TOPIC-catalogue");
  Add(app, "--log-settings", options.log_settings, "FILE of librdkafka's settings: how brokers are reached");
  Add(app, "--shards", options.shards, "Shards of a new or restored deployment; 0: 1, or as stored")
      ->check(CLI::Range(uint32_t{0}, limits::kMaxShards));
  Add(app, "--search-threads", options.search_threads, "Threads that search; 0: one per core")
      ->check(CLI::Range(uint32_t{0}, kMaxSearchThreads));
  Add(app, "--ram-limit", options.ram_limit_bytes, "Ram for unsealed rows and queued writes (4GiB); 0: half of it")
      ->transform(CLI::AsSizeValue(false));
  Add(app, "--disk-reserve", options.disk_reserve_bytes,
      "Bytes that are kept free on the disk of --data-dir (1GiB): with less, writes that fill it are refused; 0: none")
      ->transform(CLI::AsSizeValue(false));
  Add(app, "--answer-cache", options.answer_cache_bytes,
      "Ram for answers to keys that are asked again (256MiB); 0: none")
      ->transform(CLI::AsSizeValue(false));
  Add(app, "--drain-delay", raw.drain_delay, "Time between NOT_SERVING and the end (5s) after SIGTERM");
  Add(app, "--log-format", raw.log_format, "json, text, or auto: text on a terminal")
      ->check(CLI::IsMember({"json", "text", "auto"}));
  Add(app, "--log-level", raw.log_level, "Least level written")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  AddFlag(app, "--accept-truncated-log", options.accept_truncated_log,
          "Open although the log ends before what was acknowledged");
  AddFlag(app, "--accept-empty-shard", options.accept_empty_shard,
          "Open a shard whose directory holds nothing although the deployment has memories");
  DeclareSecurity(app, options);
  AddFlag(app, "--check-config", options.check_config, "Check the options and exit");
}

// The environment has one text for what a flag may say several times.
std::vector<std::string> SplitEach(const std::vector<std::string>& texts, const char* separators) {
  std::vector<std::string> out;
  for (const std::string& text : texts) {
    for (const auto part : absl::StrSplit(text, absl::ByAnyChar(separators), absl::SkipEmpty())) out.emplace_back(part);
  }
  return out;
}

absl::Status Interpret(const RawOptions& raw) {
  ServerOptions& options = *raw.options;
  options.listen = SplitEach(options.listen, ", \t");
  options.listen_unix = SplitEach(options.listen_unix, ",");
  options.shard_addresses = SplitEach(options.shard_addresses, ", \t");
  const std::map<std::string, Role> roles = {
      {"all", Role::kAll}, {"frontend", Role::kFrontEnd}, {"shard", Role::kShard}};
  options.role = roles.at(raw.role);
  const std::map<std::string, LogLevel> levels = {{"debug", LogLevel::kDebug},
                                                  {"info", LogLevel::kInfo},
                                                  {"warning", LogLevel::kWarning},
                                                  {"error", LogLevel::kError}};
  options.log_level = levels.at(raw.log_level);
  const bool text = raw.log_format == "text" || (raw.log_format == "auto" && isatty(STDERR_FILENO) != 0);
  options.log_format = text ? LogFormat::kText : LogFormat::kJson;
  if (raw.backup_shard >= 0) options.backup_shard = static_cast<uint32_t>(raw.backup_shard);
  if (!raw.until.empty()) {
    ASSIGN_OR_RETURN(options.until, ParseUntil(raw.until));
  }
  if (!raw.deployment.empty() && (raw.deployment.size() != 16 ||
                                  !absl::SimpleHexAtoi(raw.deployment, &options.deployment) ||
                                  options.deployment == 0)) {
    return absl::InvalidArgumentError(absl::StrCat("--deployment is \"", raw.deployment,
                                                   "\"; must be 16 hexadecimal digits, as mneme backups shows it"));
  }
  if (!absl::ParseDuration(raw.drain_delay, &options.drain_delay)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--drain-delay is \"", raw.drain_delay, "\"; must be a duration such as 5s or 500ms"));
  }
  return CheckOptions(options);
}

// `unless`: what would allow an address beyond this machine.
absl::Status CheckAddress(const char* key, const std::string& address, bool allowed, const char* unless) {
  const auto parts = SplitAddress(address);
  if (!parts.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, " is \"", address, "\"; ", std::string(parts.status().message())));
  }
  if (allowed || IsLoopback(parts->first)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      key, " is \"", address, "\"; must be of this machine (127.0.0.1, [::1], localhost) unless ", unless));
}

// Changes of one character that make `a` of `b` (Levenshtein).
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

// A sentence about the first flag that no option has; empty when there is none. CLI11 complains first of what is
// missing, which a mistyped flag may be.
std::string UnknownFlag(const CLI::App& app, int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string flag = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
    if (!absl::StartsWith(flag, "--") || flag.size() < 3) continue;
    std::string nearest;
    size_t distance = kMaxSlip + 1;
    for (const CLI::Option* option : app.get_options()) {
      const std::string known = option->get_name();
      const size_t changes = EditDistance(flag, known);
      if (changes < distance) nearest = known, distance = changes;
    }
    if (distance == 0) continue;
    const std::string hint = nearest.empty() ? "see --help" : absl::StrCat("did you mean ", nearest, "?");
    return absl::StrCat("unknown option ", flag, "; ", hint);
  }
  return "";
}

}  // namespace

absl::StatusOr<std::pair<std::string, int>> SplitAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  const absl::Status error = absl::InvalidArgumentError("must be HOST:PORT or [IPV6]:PORT with a port in [0, 65535]");
  if (colon == std::string::npos || colon == 0) return error;
  int port = -1;
  if (!absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65'535) return error;
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (absl::StrContains(host, ':')) {
    return error;  // two addresses in one, or an IPv6 address whose end only looks like a port
  }
  return std::make_pair(host, port);
}

const char* RoleName(Role role) {
  switch (role) {
    case Role::kAll: return "all";
    case Role::kFrontEnd: return "frontend";
    case Role::kShard: return "shard";
  }
  return "";
}

std::vector<std::string> ReplicasOf(const std::string& shard_address) {
  return absl::StrSplit(shard_address, '|');
}

uint32_t ShardsOf(const ServerOptions& options) {
  return options.role == Role::kAll ? options.shards : static_cast<uint32_t>(options.shard_addresses.size());
}

namespace {

absl::Status CheckRole(const ServerOptions& options) {
  const size_t shards = options.shard_addresses.size();
  if (options.accept_empty_shard && (options.role != Role::kShard || options.shard_number == 0)) {
    return absl::InvalidArgumentError(
        "--accept-empty-shard is given; must be of --role shard with a --shard-number above 0");
  }
  if (options.role == Role::kAll) {
    if (shards == 0) return absl::OkStatus();
    return absl::InvalidArgumentError("--shard-addresses is given, but --role all has all shards itself; must not be");
  }
  if (shards == 0 || shards > limits::kMaxShards) {
    return absl::InvalidArgumentError(absl::StrCat("--shard-addresses has ", shards, " addresses; --role ",
                                                   RoleName(options.role), " needs that of every shard, [1, ",
                                                   limits::kMaxShards, "]"));
  }
  for (const std::string& shard_address : options.shard_addresses) {
    const std::vector<std::string> replicas = ReplicasOf(shard_address);
    if (replicas.size() > limits::kMaxReplicas) {
      return absl::InvalidArgumentError(absl::StrCat("--shard-addresses has ", replicas.size(),
                                                     " replicas of a shard; must be at most ", limits::kMaxReplicas));
    }
    for (const std::string& address : replicas) {
      const auto parts = SplitAddress(address);
      if (parts.ok() && parts->second != 0) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("--shard-addresses has \"", address, "\"; must be HOST:PORT with the port that the shard has"));
    }
    for (auto at = replicas.begin(); at != replicas.end(); ++at) {
      if (std::find(replicas.begin(), at, *at) == at) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("--shard-addresses has ", *at, " twice in \"", shard_address, "\"; must be one replica"));
    }
  }
  if (options.shards != 0 && options.shards != shards) {
    return absl::InvalidArgumentError(
        absl::StrCat("--shards is ", options.shards, "; must be 0 or the ", shards, " of --shard-addresses"));
  }
  if (options.role == Role::kShard && options.shard_number >= shards) {
    return absl::InvalidArgumentError(absl::StrCat("--shard-number is ", options.shard_number, "; must be below the ",
                                                   shards, " of --shard-addresses"));
  }
  return absl::OkStatus();
}

absl::Status CheckLog(const ServerOptions& options) {
  if (options.log.empty()) {
    if (!options.log_settings.empty()) {
      return absl::InvalidArgumentError("--log-settings is given without --log; there is nothing that they are of");
    }
    if (options.replica != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("--replica is ", options.replica, "; must be 0 without --log, which replicas have in common"));
    }
    for (const std::string& address : options.shard_addresses) {
      if (ReplicasOf(address).size() == 1) continue;
      return absl::InvalidArgumentError(absl::StrCat("--shard-addresses has \"", address,
                                                     "\"; must be one address of each shard without --log"));
    }
    return absl::OkStatus();
  }
  if (options.role == Role::kAll) {
    return absl::InvalidArgumentError(
        "--log is given, but --role all has its own; must be of --role frontend and shard");
  }
  if (const auto address = ParseKafkaAddress(options.log); !address.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--log ", address.status().message()));
  }
  if (options.accept_empty_shard) {
    return absl::InvalidArgumentError(
        "--accept-empty-shard is given, but a shard that is empty takes what it had from --log; must not be");
  }
  if (options.role != Role::kShard) {
    if (options.replica == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("--replica is ", options.replica, "; must be of --role shard"));
  }
  const std::string& shard = options.shard_addresses[options.shard_number];
  const size_t replicas = ReplicasOf(shard).size();
  if (options.replica < replicas) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--replica is ", options.replica, "; must be below the ", replicas,
                                                 " of shard ", options.shard_number, " in --shard-addresses, \"",
                                                 shard, "\""));
}

// Without links and dots, as far as the path is there, and with a slash at its end.
std::string Canonical(const std::string& path) {
  std::error_code error;
  const std::filesystem::path whole = std::filesystem::absolute(path);
  const std::filesystem::path found = std::filesystem::weakly_canonical(whole, error);
  return ((error ? whole : found) / "").lexically_normal().string();
}

absl::Status CheckBackupDirectory(const ServerOptions& options) {
  if (options.backup_dir.empty()) return absl::OkStatus();
  if (options.role == Role::kFrontEnd) {
    return absl::InvalidArgumentError(absl::StrCat("--backup-dir is \"", options.backup_dir,
                                                   "\", but --role frontend keeps nothing: the processes of shards "
                                                   "write backups; must not be"));
  }
  if (!absl::StartsWith(Canonical(options.backup_dir), Canonical(options.data_dir))) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--backup-dir is \"", options.backup_dir, "\"; must not be the --data-dir or in it"));
}

}  // namespace

absl::Status CheckOptions(const ServerOptions& options) {
  RETURN_IF_ERROR(CheckOffline(options));
  if (options.offline()) return absl::OkStatus();
  if (options.data_dir.empty() && options.role != Role::kFrontEnd) {
    return absl::InvalidArgumentError("--data-dir is empty; must name a directory");
  }
  RETURN_IF_ERROR(CheckRole(options));
  RETURN_IF_ERROR(CheckLog(options));
  RETURN_IF_ERROR(CheckSecurity(options));
  RETURN_IF_ERROR(CheckBackupDirectory(options));
  if (options.listen.empty() && options.listen_unix.empty()) {
    return absl::InvalidArgumentError("--listen is empty; must give an address, here or as --listen-unix");
  }
  for (const std::string& address : options.listen) {
    RETURN_IF_ERROR(CheckAddress("--listen", address, options.insecure_listen || !options.tls.empty(),
                                 "--tls-certificate and --tls-key are given, or --insecure-listen, with which whoever "
                                 "is on the way reads and changes everything"));
  }
  if (options.admin_listen != "off") {
    RETURN_IF_ERROR(CheckAddress("--admin-listen", options.admin_listen,
                                 options.insecure_admin_listen || !options.tls.empty(),
                                 "--tls-certificate and --tls-key are given, or --insecure-admin-listen, with which "
                                 "whoever reaches it reads metrics and options"));
  }
  if (options.ram_limit_bytes != 0 && options.ram_limit_bytes < kMinRamLimit) {
    return absl::InvalidArgumentError(
        absl::StrCat("--ram-limit is ", options.ram_limit_bytes, "; must be 0 or at least ", kMinRamLimit));
  }
  if (options.drain_delay < absl::ZeroDuration() || options.drain_delay > kMaxDrainDelay) {
    return absl::InvalidArgumentError(absl::StrCat("--drain-delay is ", absl::FormatDuration(options.drain_delay),
                                                   "; must be in [0s, ", absl::FormatDuration(kMaxDrainDelay), "]"));
  }
  return absl::OkStatus();
}

ParsedOptions ParseOptions(int argc, const char* const* argv) {
  ParsedOptions parsed;
  RawOptions raw;
  raw.options = &parsed.options;
  CLI::App app("mneme-server: a memory that neural networks read and write while they run", "mneme-server");
  app.footer(kFooter);
  app.set_version_flag("--version", absl::StrCat("mneme-server ", kVersion));
  Declare(app, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream complaint;
    const bool asked = app.exit(error, out, complaint) == 0;
    parsed.exit_code = asked ? 0 : kUsageError;
    const std::string unknown = UnknownFlag(app, argc, argv);
    parsed.text = asked ? out.str() : absl::StrCat("mneme-server: ", unknown.empty() ? error.what() : unknown, "\n");
    return parsed;
  }
  const absl::Status status = Interpret(raw);
  parsed.run = status.ok();
  if (!status.ok()) {
    parsed.exit_code = kUsageError;
    parsed.text = absl::StrCat("mneme-server: ", std::string(status.message()), "\n");
  }
  return parsed;
}

ServerOptions ResolveOptions(ServerOptions options) {
  if (options.search_threads == 0) options.search_threads = std::max(1U, std::thread::hardware_concurrency());
  if (options.ram_limit_bytes == 0) {
    options.ram_limit_bytes =
        static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE)) / 2;
  }
  return options;
}

std::string OptionsJson(const ServerOptions& options) {
  nlohmann::json json = {{"role", RoleName(options.role)},
                         {"shard_number", options.shard_number},
                         {"replica", options.replica},
                         {"shard_addresses", options.shard_addresses},
                         {"log", options.log},
                         {"log_settings", options.log_settings},
                         {"data_dir", options.data_dir},
                         {"listen", options.listen},
                         {"listen_unix", options.listen_unix},
                         {"port_file", options.port_file},
                         {"admin_listen", options.admin_listen},
                         {"admin_port_file", options.admin_port_file},
                         {"backup_dir", options.backup_dir},
                         {"erase_after_seconds", options.erase_after_seconds},
                         {"shards", options.shards},
                         {"search_threads", options.search_threads},
                         {"ram_limit_bytes", options.ram_limit_bytes},
                         {"disk_reserve_bytes", options.disk_reserve_bytes},
                         {"answer_cache_bytes", options.answer_cache_bytes},
                         {"log_format", options.log_format == LogFormat::kJson ? "json" : "text"},
                         {"log_level", LogLevelName(options.log_level)},
                         {"drain_delay", absl::FormatDuration(options.drain_delay)},
                         {"accept_truncated_log", options.accept_truncated_log},
                         {"accept_empty_shard", options.accept_empty_shard},
                         {"tls_certificate", options.tls.certificate},
                         {"tls_key", options.tls.key},
                         {"tls_client_ca", options.tls.ca},
                         {"tokens", options.tokens},
                         {"shard_tls_ca", options.shard_tls.ca},
                         {"shard_tls_certificate", options.shard_tls.certificate},
                         {"shard_tls_key", options.shard_tls.key},
                         {"shard_token_file", options.shard_token_file},
                         {"insecure_listen", options.insecure_listen},
                         {"insecure_shard_token", options.insecure_shard_token},
                         {"insecure_admin_listen", options.insecure_admin_listen},
                         {"max_message_bytes", limits::kMaxMessageBytes},
                         {"max_k", limits::kMaxK},
                         {"max_query_rows", limits::kMaxQueryRows},
                         {"max_insert_entries", limits::kMaxInsertEntries}};
  if (options.role != Role::kAll) json["shards"] = ShardsOf(options);
  // Known once the data is open.
  if (options.role == Role::kAll && options.shards == 0) json["shards"] = "as stored, or 1 when new";
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace mneme
