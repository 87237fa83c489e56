// What options say of encryption and of who is known.
#ifndef MNEME_SERVER_SECURITY_OPTIONS_H_
#define MNEME_SERVER_SECURITY_OPTIONS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/kafka_settings.h"
#include "cluster/s3_settings.h"
#include "server/options.h"

namespace mneme {

// INVALID_ARGUMENT naming the options that do not belong together, or would show a secret to whoever is on the way.
absl::Status CheckSecurity(const ServerOptions& options);
// That the files which options name can be used: errors of CheckTlsFiles, TokenTable::Read, TokenSource, LogSettingsOf
// and StoreSettingsOf, which name the option. Of options that are offline() those of a log and of a store alone.
absl::Status CheckFiles(const ServerOptions& options);
// Whether the admin address is beyond this machine and speaks TLS there, as the gRPC addresses do.
bool AdminIsEncrypted(const ServerOptions& options);
// What --log-settings says; nothing without it. FAILED_PRECONDITION when others may write the file, who could have this
// process run what they like; errors of ReadOperatorFile and ParseKafkaSettings.
absl::StatusOr<KafkaSettings> LogSettingsOf(const ServerOptions& options);
// What --object-store-settings says. FAILED_PRECONDITION when others may read the file, who could do what its keys may;
// errors of ReadOperatorFile and ParseS3Settings.
absl::StatusOr<S3Settings> StoreSettingsOf(const ServerOptions& options);
// Whether what is written, keys and values, goes to brokers beyond this machine without TLS.
bool LogIsInTheClear(const ServerOptions& options);

}  // namespace mneme

#endif  // MNEME_SERVER_SECURITY_OPTIONS_H_
