// What is checked of options together, however they came: addresses, roles, logs, directories.
#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cluster/kafka_settings.h"
#include "common/limits.h"
#include "common/option_text.h"
#include "common/status_macros.h"
#include "security/loopback.h"
#include "server/offline_options.h"
#include "server/options.h"
#include "server/security_options.h"

namespace mneme {

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
  for (const std::string& path : options.listen_unix) {
    if (path.size() <= limits::kMaxSocketPathBytes) continue;
    return absl::InvalidArgumentError(
        NotTaken("--listen-unix", path, absl::StrCat("a path of at most ", limits::kMaxSocketPathBytes, " bytes")));
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
  return absl::OkStatus();
}

}  // namespace mneme
