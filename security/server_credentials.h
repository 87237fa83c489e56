// ServerCredentials: what a listening address proves itself with, and asks of who connects.
#ifndef MNEME_SECURITY_SERVER_CREDENTIALS_H_
#define MNEME_SECURITY_SERVER_CREDENTIALS_H_

#include <memory>

#include "security/tls_files.h"

namespace grpc {
class ServerCredentials;
}  // namespace grpc

namespace mneme {

// TLS 1.2 or 1.3 with the certificate; with a ca, only for clients whose certificate it signed. Files that change hold
// for connections from then on; those that are there go on. `files` have been checked and have a certificate.
std::shared_ptr<grpc::ServerCredentials> TlsServerCredentials(const TlsFiles& files);

}  // namespace mneme

#endif  // MNEME_SECURITY_SERVER_CREDENTIALS_H_
