#include "security/channel_security.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "security/judged_tls_files.h"
#include "security/loopback.h"
#include "security/token_source.h"

namespace mneme {
namespace {

using grpc::experimental::FileWatcherCertificateProvider;

// `judged` are null where there are no files.
std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const JudgedTlsFiles* judged) {
  grpc::experimental::TlsChannelCredentialsOptions options;
  if (judged != nullptr) {
    options.set_certificate_provider(std::make_shared<FileWatcherCertificateProvider>(
        judged->pair_path(), judged->pair_path(), judged->ca_path(), kTlsRefreshSeconds));
    if (!judged->ca_path().empty()) options.watch_root_certs();
    if (!judged->pair_path().empty()) options.watch_identity_key_cert_pairs();
  }
  return grpc::experimental::TlsCredentials(options);
}

struct Watched {
  std::shared_ptr<const JudgedTlsFiles> files;
  std::shared_ptr<grpc::Channel> channel;
};

// `channel`, with which its files are looked at.
std::shared_ptr<grpc::Channel> With(std::shared_ptr<const JudgedTlsFiles> files,
                                    std::shared_ptr<grpc::Channel> channel) {
  if (files == nullptr) return channel;
  const auto watched = std::make_shared<Watched>();
  watched->files = std::move(files);
  watched->channel = std::move(channel);
  return std::shared_ptr<grpc::Channel>(watched, watched->channel.get());
}

// Puts the token into the metadata of every call, however it was made. (Credentials of a call would be refused by a
// channel that is not encrypted.)
class ShowToken final : public grpc::experimental::Interceptor {
 public:
  explicit ShowToken(TokenSource* token) : token_(token) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("authorization", absl::StrCat("Bearer ", token_->Current()));
    }
    methods->Proceed();
  }

 private:
  TokenSource* const token_;
};

class ShowTokens final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit ShowTokens(std::shared_ptr<TokenSource> token) : token_(std::move(token)) {}

  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo*) override {
    return new ShowToken(token_.get());
  }

 private:
  const std::shared_ptr<TokenSource> token_;
};

bool IsSocket(const std::string& address) { return address.rfind("unix:", 0) == 0; }

}  // namespace

ChannelSecurity::ChannelSecurity(ChannelSecurityOptions options, std::shared_ptr<const JudgedTlsFiles> judged)
    : options_(std::move(options)),
      judged_(std::move(judged)),
      credentials_(options_.tls ? CredentialsOf(judged_.get()) : nullptr) {}

absl::StatusOr<std::shared_ptr<const ChannelSecurity>> ChannelSecurity::New(ChannelSecurityOptions options) {
  options.tls |= !options.files.ca.empty();
  if (!options.tls && !options.files.empty()) {
    return absl::InvalidArgumentError("a certificate is given, but no ca; nothing would be encrypted");
  }
  RETURN_IF_ERROR(CheckTlsFiles(options.files));  // told to who asks for it, and not in the log
  std::shared_ptr<const JudgedTlsFiles> judged;
  if (!options.files.empty()) {
    ASSIGN_OR_RETURN(judged, JudgedTlsFiles::Watch(options.files));
  }
  return std::shared_ptr<const ChannelSecurity>(new ChannelSecurity(std::move(options), std::move(judged)));
}

absl::Status ChannelSecurity::CheckAddress(const std::string& address) const {
  if (options_.token == nullptr || options_.tls || options_.insecure_token || StaysOnMachine(address)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "a token would travel to ", address, " unencrypted, for anybody on the way to take; give a ca for TLS"));
}

std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address, const ChannelSecurity* security,
                                           grpc::ChannelArguments arguments) {
  // Processes of a memory reach each other directly. A web proxy from the environment would be shown the token and all
  // else of what is not encrypted, though the address be of this machine.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const bool encrypted = security != nullptr && security->credentials_ != nullptr && !IsSocket(address);
  const auto credentials = encrypted ? security->credentials_ : grpc::InsecureChannelCredentials();
  if (encrypted && !security->options_.server_name.empty()) {
    arguments.SetSslTargetNameOverride(security->options_.server_name);
  }
  const auto files = encrypted ? security->judged_ : nullptr;
  if (security == nullptr || security->options_.token == nullptr || !security->CheckAddress(address).ok()) {
    return With(files, grpc::CreateCustomChannel(address, credentials, arguments));
  }
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<ShowTokens>(security->options_.token));
  return With(files, grpc::experimental::CreateCustomChannelWithInterceptors(address, credentials, arguments,
                                                                             std::move(interceptors)));
}

}  // namespace mneme
