// ServerCredentials: what a listening address proves itself with, and asks of who connects.
#ifndef MNEME_SECURITY_SERVER_CREDENTIALS_H_
#define MNEME_SECURITY_SERVER_CREDENTIALS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "security/tls_files.h"

namespace grpc {
class ServerCredentials;
}  // namespace grpc

namespace mneme {

// TLS 1.2 or 1.3 with the certificate; with a ca, only for clients whose certificate it signed. `files` have a
// certificate; errors of JudgedTlsFiles::Watch. What is put in their place and can be used holds for connections from
// then on, as long as what is returned lives, and those that are there go on; what cannot be used changes nothing.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> TlsServerCredentials(const TlsFiles& files);

}  // namespace mneme

#endif  // MNEME_SECURITY_SERVER_CREDENTIALS_H_
