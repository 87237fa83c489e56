#include "server/security_options.h"

#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "security/loopback.h"
#include "security/small_file.h"
#include "security/token_file.h"
#include "security/token_source.h"

namespace mneme {
namespace {

absl::Status CheckPair(const char* key, const TlsFiles& files) {
  if (files.certificate.empty() == files.key.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(key, "certificate and ", key, "key belong together; ",
                                                 files.key.empty() ? "the key" : "the certificate", " is missing"));
}

absl::Status ForOption(const char* key, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(key, ": ", status.message()));
}

// `key`: the option and its file. Messages about a file go on after its name.
absl::Status OfFile(const std::string& key, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(key, status.message()));
}

}  // namespace

absl::Status CheckSecurity(const ServerOptions& options) {
  RETURN_IF_ERROR(CheckPair("--tls-", options.tls));
  RETURN_IF_ERROR(CheckPair("--shard-tls-", options.shard_tls));
  if (!options.tls.ca.empty() && options.tls.certificate.empty()) {
    return absl::InvalidArgumentError("--tls-client-ca is given without --tls-certificate; nothing would be encrypted");
  }
  if (options.role == Role::kAll && !(options.shard_tls.empty() && options.shard_token_file.empty())) {
    return absl::InvalidArgumentError("--shard-tls-.. and --shard-token-file are for --role frontend and shard");
  }
  if (options.shard_tls.ca.empty() && !options.shard_tls.certificate.empty()) {
    return absl::InvalidArgumentError(
        "--shard-tls-certificate is given without --shard-tls-ca; nothing would be encrypted");
  }
  if (options.shard_token_file.empty() || !options.shard_tls.ca.empty() || options.insecure_shard_token) {
    return absl::OkStatus();
  }
  for (const std::string& shard : options.shard_addresses) {
    for (const std::string& address : ReplicasOf(shard)) {
      if (StaysOnMachine(address)) continue;
      return absl::InvalidArgumentError(absl::StrCat("--shard-token-file is given, and would be shown to ", address,
                                                     " unencrypted; give --shard-tls-ca, or --insecure-shard-token"));
    }
  }
  return absl::OkStatus();
}

bool AdminIsEncrypted(const ServerOptions& options) {
  return !options.tls.certificate.empty() && options.admin_listen != "off" && !StaysOnMachine(options.admin_listen);
}

absl::StatusOr<KafkaSettings> LogSettingsOf(const ServerOptions& options) {
  if (options.log_settings.empty()) return KafkaSettings();
  const std::string key = absl::StrCat("--log-settings ", options.log_settings, " ");
  const absl::StatusOr<SmallFile> file = ReadOperatorFile(options.log_settings, limits::kMaxLogSettingsBytes);
  if (!file.ok()) return OfFile(key, file.status());
  if ((file->mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(key, "may be written by its group or by anybody, who could have "
                                                      "this process run a command; chmod go-w it"));
  }
  absl::StatusOr<KafkaSettings> settings = ParseKafkaSettings(file->text);
  if (!settings.ok()) return OfFile(key, settings.status());
  return settings;
}

absl::StatusOr<S3Settings> StoreSettingsOf(const ServerOptions& options) {
  const std::string key = absl::StrCat("--object-store-settings ", options.object_store_settings, " ");
  const absl::StatusOr<SmallFile> file = ReadOperatorFile(options.object_store_settings, limits::kMaxLogSettingsBytes);
  if (!file.ok()) return OfFile(key, file.status());
  if ((file->mode & (S_IRWXG | S_IRWXO)) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(key, "may be read or written by others; chmod 600 it"));
  }
  absl::StatusOr<S3Settings> settings = ParseS3Settings(file->text);
  if (!settings.ok()) return OfFile(key, settings.status());
  return settings;
}

bool LogIsInTheClear(const ServerOptions& options) {
  const auto address = ParseKafkaAddress(options.log);
  const auto settings = LogSettingsOf(options);
  if (!address.ok() || !settings.ok()) return false;
  for (const auto& [name, value] : *settings) {
    if (name == "security.protocol" && absl::StrContains(absl::AsciiStrToLower(value), "ssl")) return false;
  }
  const std::vector<std::string> brokers = absl::StrSplit(address->brokers, ',');
  return !std::all_of(brokers.begin(), brokers.end(), StaysOnMachine);
}

absl::Status CheckFiles(const ServerOptions& options) {
  if (!options.object_store_settings.empty()) RETURN_IF_ERROR(StoreSettingsOf(options).status());
  if (!options.log_settings.empty()) RETURN_IF_ERROR(LogSettingsOf(options).status());
  if (options.offline()) return absl::OkStatus();
  RETURN_IF_ERROR(ForOption("--tls-certificate, --tls-key, --tls-client-ca", CheckTlsFiles(options.tls)));
  RETURN_IF_ERROR(ForOption("--shard-tls-..", CheckTlsFiles(options.shard_tls)));
  if (!options.tokens.empty()) RETURN_IF_ERROR(ForOption("--tokens", TokenTable::Read(options.tokens).status()));
  if (options.shard_token_file.empty()) return absl::OkStatus();
  return ForOption("--shard-token-file", TokenSource::OfFile(options.shard_token_file).status());
}

}  // namespace mneme
