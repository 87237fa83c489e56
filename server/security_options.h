// What options say of encryption and of who is known.
#ifndef MNEME_SERVER_SECURITY_OPTIONS_H_
#define MNEME_SERVER_SECURITY_OPTIONS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/kafka_settings.h"
#include "server/options.h"

namespace mneme {

// INVALID_ARGUMENT naming the options that do not belong together, or would show a secret to whoever is on the way.
absl::Status CheckSecurity(const ServerOptions& options);
// That the files which options name can be used: errors of CheckTlsFiles, TokenTable::Read, TokenSource and
// LogSettingsOf, which name the option.
absl::Status CheckFiles(const ServerOptions& options);
// Whether the admin address is beyond this machine and speaks TLS there, as the gRPC addresses do.
bool AdminIsEncrypted(const ServerOptions& options);
// What --log-settings says; nothing without it. FAILED_PRECONDITION when others may write the file, who could have this
// process run what they like; errors of ReadOperatorFile and ParseKafkaSettings.
absl::StatusOr<KafkaSettings> LogSettingsOf(const ServerOptions& options);
// Whether what is written, keys and values, goes to brokers beyond this machine without TLS.
bool LogIsInTheClear(const ServerOptions& options);

}  // namespace mneme

#endif  // MNEME_SERVER_SECURITY_OPTIONS_H_
