#include "server/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/offline_options.h"
#include "server/version.h"

namespace mneme {
namespace {

constexpr char kFooter[] =
    "\nEvery option may come from the environment: --data-dir from MNEME_DATA_DIR, and so on. A flag wins. A variable\n"
    "that is empty says nothing, and one that no option has is not looked at.\n"
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

// What `take` makes of a value (it may rewrite it), or says that it must be. That is thrown, since CLI11 would put the
// option before what a validator answers.
CLI::Validator Taken(const CLI::Option& option, const std::function<std::string(std::string&)>& take,
                     const std::string& description) {
  const auto read = [key = option.get_name(), take](std::string& text) {
    const std::string bound = take(text);
    if (!bound.empty()) throw CLI::ConversionError(NotTaken(key, text, bound));
    return std::string();
  };
  return CLI::Validator(read, description);
}

template <typename T>
CLI::Option* Number(CLI::Option* option, T least, T most) {
  const auto take = [least, most](std::string& text) { return TakeNumber(text, least, most); };
  return option->transform(Taken(*option, take, absl::StrCat("[", least, ", ", most, "]")));
}

// Bytes in [least, most], or 0.
CLI::Option* Size(CLI::Option* option, uint64_t least, uint64_t most) {
  const std::string range = absl::StrCat("[", SizeText(least), ", ", SizeText(most), "]");
  const auto take = [least, most, range](std::string& text) {
    const std::optional<uint64_t> bytes = ReadSize(text);
    if (!bytes.has_value() || (*bytes != 0 && (*bytes < least || *bytes > most))) {
      return absl::StrCat("0, or a size such as 4GiB in ", range);
    }
    text = absl::StrCat(*bytes);
    return std::string();
  };
  return option->type_name("SIZE")->transform(Taken(*option, take, range));
}

CLI::Option* OneOf(CLI::Option* option, const std::vector<std::string>& words) {
  const auto take = [words](const std::string& text) {
    const bool known = std::find(words.begin(), words.end(), text) != words.end();
    return known ? std::string() : absl::StrCat("one of ", absl::StrJoin(words, ", "));
  };
  return option->check(Taken(*option, take, absl::StrCat("{", absl::StrJoin(words, ","), "}")));
}

// A path, a name, an address, or several.
CLI::Option* Text(CLI::Option* option) { return option->check(Taken(*option, TextBound, "")); }

CLI::Option* Flag(CLI::Option* option) { return option->transform(Taken(*option, TakeFlag, "")); }

// An option that its variable may set, whatever it holds: Number(), Size() and so on say that.
template <typename T>
CLI::Option* Add(CLI::App& app, const std::string& flag, T& value, const std::string& help) {
  return app.add_option(flag, value, help)->envname(EnvironmentName(flag))->capture_default_str();
}

template <typename T>
CLI::Option* AddText(CLI::App& app, const std::string& flag, T& value, const std::string& help) {
  return Text(Add(app, flag, value, help));
}

void AddFlag(CLI::App& app, const std::string& flag, bool& value, const std::string& help) {
  Flag(app.add_flag(flag, value, help)->envname(EnvironmentName(flag)));
}

void DeclareSecurity(CLI::App& app, ServerOptions& options) {
  AddText(app, "--tls-certificate", options.tls.certificate,
      "FILE: certificate and chain in PEM, of --listen, and of --admin-listen beyond this machine; a new one is taken");
  AddText(app, "--tls-key", options.tls.key, "FILE: its private key");
  AddText(app, "--tls-client-ca", options.tls.ca, "FILE: answer only clients whose certificate one of these signed");
  AddText(app, "--tokens", options.tokens, "FILE of who may do what (mneme token); read again at SIGHUP");
  AddText(app, "--shard-tls-ca", options.shard_tls.ca, "FILE: who signs certificates of shards; encrypts");
  AddText(app, "--shard-tls-certificate", options.shard_tls.certificate,
      "FILE: what this process shows to shards, if not --tls-certificate");
  AddText(app, "--shard-tls-key", options.shard_tls.key, "FILE: its private key");
  AddText(app, "--shard-token-file", options.shard_token_file, "FILE with the token that this process shows to shards");
  AddFlag(app, "--insecure-listen", options.insecure_listen,
          "Allow addresses beyond this machine without TLS: whoever is on the way reads and changes everything");
  AddFlag(app, "--insecure-shard-token", options.insecure_shard_token,
          "Show --shard-token-file to shards beyond this machine without TLS: whoever is on the way may take it");
  AddFlag(app, "--insecure-admin-listen", options.insecure_admin_listen,
          "Allow the admin address beyond this machine without TLS: whoever reaches it reads metrics and options");
}

// Of what is done instead of serving: no variable says any of it.
void DeclareOffline(CLI::App& app, RawOptions& raw) {
  ServerOptions& options = *raw.options;
  const auto text = [&app](const char* flag, std::string& value, const char* help) {
    Text(app.add_option(flag, value, help));
  };
  text("--verify-backup", options.verify_backup, "Read every byte of a backup in DIR, and exit");
  text("--restore-backup", options.restore_backup,
       "Verify a backup in DIR, make it the --data-dir, which is absent or empty, and exit");
  Number(app.add_option("--backup-number", options.backup_number, "Which backup; 0: the newest")
             ->capture_default_str(),
         uint64_t{0}, std::numeric_limits<uint64_t>::max());
  Number(app.add_option("--backup-shard", raw.backup_shard, "Of a backup of several processes, one shard alone"),
         int64_t{0}, int64_t{limits::kMaxShards} - 1);
  text("--deployment", raw.deployment,
       "Of --backup-shard: HEX of its deployment, as the restore of shard 0 told, or that of the backup");
  text("--until", raw.until,
       "Then apply --log up to a TIME (2026-01-31T12:00:00Z), or to an offset of each shard (4711,4802)");
  text("--push-backups", options.push_backups, "Copy the backups of DIR into --object-store, and exit");
  text("--pull-backups", options.pull_backups, "Copy the backups of --object-store into DIR, and exit");
  text("--object-store", options.object_store, "s3://BUCKET[/PREFIX] that has copies of backups");
  text("--object-store-settings", options.object_store_settings,
       "FILE: endpoint, region, access-key, secret-key and ca-file of the store, NAME=VALUE a line");
  Flag(app.add_flag("--apart", options.apart, "Of a backup of several processes: a directory for each of them"));
}

void Declare(CLI::App& app, RawOptions& raw) {
  ServerOptions& options = *raw.options;
  AddText(app, "--data-dir", options.data_dir,
          "Where everything is kept; made when missing. A front end keeps nothing");
  AddText(app, "--listen", options.listen, "HOST:PORT for gRPC, several times if need be; port 0 takes a free one")
      ->take_all();
  AddText(app, "--listen-unix", options.listen_unix, "PATH of a Unix socket for gRPC")->take_all();
  AddText(app, "--port-file", options.port_file, "FILE that gets the port once the server serves");
  AddText(app, "--admin-listen", options.admin_listen, "HOST:PORT for /metrics and /healthz, or off");
  AddText(app, "--admin-port-file", options.admin_port_file, "FILE that gets the admin port");
  AddText(app, "--backup-dir", options.backup_dir, "DIR for backups, made when missing; without it there are none");
  Number(Add(app, "--erase-after", options.erase_after_seconds,
             "SECONDS that deletions wait for each other, until their bytes are erased from index and store in the "
             "background"),
         uint64_t{0}, limits::kMaxEraseAfterSeconds);
  DeclareOffline(app, raw);
  OneOf(Add(app, "--role", raw.role, "What this process is of a deployment: all of it, a frontend, or one shard"),
        {"all", "frontend", "shard"});
  Number(Add(app, "--shard-number", options.shard_number,
             "Which shard a process of role shard is; 0 has the names, too"),
         uint32_t{0}, limits::kMaxShards - 1);
  AddText(app, "--shard-addresses", options.shard_addresses,
          "HOST:PORT of every shard, by number, and of its replicas, separated by |: of roles frontend and shard")
      ->take_all();
  Number(Add(app, "--replica", options.replica,
             "Which replica of its shard a process of role shard is; needs --log"),
         uint32_t{0}, limits::kMaxReplicas - 1);
  AddText(app, "--log", options.log,
          "kafka://HOST:PORT[,HOST:PORT...]/TOPIC: the log of all shards, a partition for each; names: "
          "TOPIC-catalogue");
  AddText(app, "--log-settings", options.log_settings, "FILE of librdkafka's settings: how brokers are reached");
  Number(Add(app, "--shards", options.shards, "Shards of a new or restored deployment; 0: 1, or as stored"),
         uint32_t{0}, limits::kMaxShards);
  Number(Add(app, "--search-threads", options.search_threads, "Threads that search; 0: one per core"), uint32_t{0},
         limits::kMaxSearchThreads);
  Size(Add(app, "--ram-limit", options.ram_limit_bytes, "Ram for unsealed rows and queued writes; 0: half of it"),
       limits::kMinRamLimitBytes, limits::kMaxRamLimitBytes);
  Size(Add(app, "--disk-reserve", options.disk_reserve_bytes,
           "Room that is kept free on the disk of --data-dir: with less, writes that fill it are refused; 0: none"),
       1, limits::kMaxDiskReserveBytes);
  Size(Add(app, "--answer-cache", options.answer_cache_bytes, "Ram for answers to keys that are asked again; 0: none"),
       1, limits::kMaxRamLimitBytes);
  AddText(app, "--drain-delay", raw.drain_delay, "Time between NOT_SERVING and the end (5s) after SIGTERM");
  OneOf(Add(app, "--log-format", raw.log_format, "json, text, or auto: text on a terminal"), {"json", "text", "auto"});
  OneOf(Add(app, "--log-level", raw.log_level, "Least level written"), {"debug", "info", "warning", "error"});
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
  const bool hexadecimal = std::all_of(raw.deployment.begin(), raw.deployment.end(), absl::ascii_isxdigit);
  if (!raw.deployment.empty() && (raw.deployment.size() != 16 || !hexadecimal ||
                                  !absl::SimpleHexAtoi(raw.deployment, &options.deployment) ||
                                  options.deployment == 0)) {
    return absl::InvalidArgumentError(NotTaken("--deployment", raw.deployment,
                                               "16 hexadecimal digits that are not all 0, as mneme backups shows it"));
  }
  const absl::Duration longest = absl::Milliseconds(limits::kMaxDrainDelayMs);
  if (!absl::ParseDuration(raw.drain_delay, &options.drain_delay) || options.drain_delay < absl::ZeroDuration() ||
      options.drain_delay > longest) {
    return absl::InvalidArgumentError(NotTaken("--drain-delay", raw.drain_delay,
                                               absl::StrCat("a time such as 5s or 500ms in [0s, ",
                                                            absl::FormatDuration(longest), "]")));
  }
  return CheckOptions(options);
}

// A sentence about the first flag that no option has; empty when there is none. CLI11 complains first of what is
// missing, which a mistyped flag may be.
std::string UnknownFlag(const CLI::App& app, int argc, const char* const* argv) {
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options()) known.push_back(option->get_name());
  for (int i = 1; i < argc; ++i) {
    const std::string flag = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
    if (!absl::StartsWith(flag, "--") || flag.size() < 3) continue;
    if (std::find(known.begin(), known.end(), flag) != known.end()) continue;
    const std::string nearest = Nearest(flag, known);
    const std::string hint = nearest.empty() ? "see --help" : absl::StrCat("did you mean ", nearest, "?");
    return absl::StrCat("unknown option ", flag, "; ", hint);
  }
  return "";
}

// What has a value although no flag gave it one.
std::vector<OptionVariable> Variables(const CLI::App& app) {
  const std::vector<CLI::Option*>& given = app.parse_order();
  std::vector<OptionVariable> variables;
  for (const CLI::Option* option : app.get_options()) {
    if (option->count() == 0 || std::find(given.begin(), given.end(), option) != given.end()) continue;
    variables.push_back({option->get_name(), option->get_envname()});
  }
  return variables;
}

}  // namespace

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
    parsed.text = asked ? out.str() : Complaint(unknown.empty() ? error.what() : unknown, Variables(app));
    return parsed;
  }
  parsed.variables = Variables(app);
  const absl::Status status = Interpret(raw);
  parsed.run = status.ok();
  if (!status.ok()) {
    parsed.exit_code = kUsageError;
    parsed.text = Complaint(std::string(status.message()), parsed.variables);
  }
  return parsed;
}

std::string Complaint(const std::string& message, const std::vector<OptionVariable>& variables) {
  return absl::StrCat("mneme-server: ", WithVariables(message, variables), "\n");
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
