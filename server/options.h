// ServerOptions: what an operator decides. Flag before environment (MNEME_*) before default.
#ifndef MNEME_SERVER_OPTIONS_H_
#define MNEME_SERVER_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/limits.h"
#include "common/option_text.h"
#include "engine/log_replay.h"
#include "security/tls_files.h"
#include "server/log.h"

namespace mneme {

// What a process is of a deployment.
enum class Role {
  kAll,       // all of it
  kFrontEnd,  // what clients speak to; keeps nothing
  kShard,     // one shard, for front ends; shard 0 has the catalogue, too
};
const char* RoleName(Role role);

struct ServerOptions {
  Role role = Role::kAll;
  std::string data_dir;                                  // not of a front end
  uint32_t shard_number = 0;                             // of role shard
  uint32_t replica = 0;                                  // of role shard: which of its shard
  // By number, HOST:PORT of the replicas of every shard, with | between those of one (ReplicasOf); not of role all.
  std::vector<std::string> shard_addresses;
  std::string log;           // the replicated log of the shards, kafka://..; empty: each has its own
  std::string log_settings;  // FILE: how its brokers are reached
  std::vector<std::string> listen = {"127.0.0.1:7700"};  // HOST:PORT; port 0: any that is free
  std::vector<std::string> listen_unix;                  // paths of Unix sockets
  std::string port_file;                                 // gets the port of the first `listen`
  std::string admin_listen = "127.0.0.1:7701";           // or "off"
  std::string admin_port_file;
  std::string backup_dir;        // where CreateBackup writes; empty: nowhere
  uint64_t erase_after_seconds = 86'400;  // that a deletion waits for others, until their bytes are erased
  uint32_t shards = 0;           // 0: as stored, or 1 when new
  uint32_t search_threads = 0;   // 0: one per core
  uint64_t ram_limit_bytes = 0;  // 0: half of the machine's
  uint64_t disk_reserve_bytes = limits::kDiskReserveBytes;  // that stay free on the disk of data_dir; 0: none
  uint64_t answer_cache_bytes = 0;
  LogFormat log_format = LogFormat::kJson;
  LogLevel log_level = LogLevel::kInfo;
  absl::Duration drain_delay = absl::ZeroDuration();
  bool accept_truncated_log = false;
  bool accept_empty_shard = false;
  // Of every gRPC address, and of the admin address beyond this machine; a ca: only clients with a certificate that it
  // signed, but for the pages of probes.
  TlsFiles tls;
  std::string tokens;          // FILE of who is known; empty: everybody may do everything
  TlsFiles shard_tls;          // of connections to shards; no ca: they are not encrypted
  std::string shard_token_file;
  // Where certificates of clients are asked for: connections take new calls for so long, and calls go on as long again.
  absl::Duration connection_age = absl::Milliseconds(limits::kMaxConnectionAgeMs);
  bool insecure_listen = false;
  bool insecure_shard_token = false;
  bool insecure_admin_listen = false;
  bool check_config = false;
  // Instead of serving (offline.h): a directory with backups, of which one, and what the exit code answers for.
  std::string verify_backup;
  std::string restore_backup;
  uint64_t backup_number = 0;  // 0: the newest
  std::optional<uint32_t> backup_shard;  // of one of several processes, that shard alone, and
  uint64_t deployment = 0;               // which deployment that is of then; 0: a new one
  bool apart = false;                    // a directory for the process of each shard
  std::optional<ReplayPoint> until;      // where `log` is then to be applied up to
  std::string push_backups;  // a directory that is copied to
  std::string pull_backups;  // or from
  std::string object_store;  // s3://..
  std::string object_store_settings;  // FILE

  bool offline() const {
    return !verify_backup.empty() || !restore_backup.empty() || !push_backups.empty() || !pull_backups.empty();
  }
};

// What parsing came to: options to run with, or something to print and an exit code (help and version: 0).
struct ParsedOptions {
  ServerOptions options;
  bool run = false;
  int exit_code = 0;
  std::string text;
  std::vector<OptionVariable> variables;  // by which the environment set some of the options
};

inline constexpr int kUsageError = 2;

// An error is exit code kUsageError, with key, value and bound in the text, and the variable that set it.
ParsedOptions ParseOptions(int argc, const char* const* argv);
// The text of such an error, of which `message` says the first three.
std::string Complaint(const std::string& message, const std::vector<OptionVariable>& variables);

// INVALID_ARGUMENT naming key, value and bound: addresses, one beyond this machine without TLS or insecure_listen, and
// so on.
absl::Status CheckOptions(const ServerOptions& options);
// The addresses of a shard's replicas, by their numbers, of one of `shard_addresses`.
std::vector<std::string> ReplicasOf(const std::string& shard_address);
// The shards of the deployment, as far as the options say: 0 where they do not.
uint32_t ShardsOf(const ServerOptions& options);

// "HOST:PORT" or "[IPV6]:PORT" in its parts. INVALID_ARGUMENT otherwise.
absl::StatusOr<std::pair<std::string, int>> SplitAddress(const std::string& address);

// With what this machine makes of a 0: search threads and the ram limit. The shards of a stored deployment are known
// only once it is open.
ServerOptions ResolveOptions(ServerOptions options);

// The effective options as a JSON object, for the log and /config. Files of secrets are named, not shown.
std::string OptionsJson(const ServerOptions& options);

}  // namespace mneme

#endif  // MNEME_SERVER_OPTIONS_H_
