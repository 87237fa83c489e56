#include "security/server_credentials.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <utility>

#include "common/status_macros.h"
#include "security/judged_tls_files.h"

namespace mneme {
namespace {

struct Watched {
  std::shared_ptr<const JudgedTlsFiles> files;
  std::shared_ptr<grpc::ServerCredentials> credentials;
};

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> TlsServerCredentials(const TlsFiles& files) {
  ASSIGN_OR_RETURN(std::shared_ptr<const JudgedTlsFiles> judged, JudgedTlsFiles::Watch(files));
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(judged->pair_path(), judged->pair_path(),
                                                                           judged->ca_path(), kTlsRefreshSeconds));
  options.watch_identity_key_cert_pairs();
  if (!files.ca.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  const auto watched = std::make_shared<Watched>();
  watched->files = std::move(judged);
  watched->credentials = grpc::experimental::TlsServerCredentials(options);
  return std::shared_ptr<grpc::ServerCredentials>(watched, watched->credentials.get());
}

}  // namespace mneme
