// ChannelSecurity: how the side that connects proves the other end, and itself. Made once for all its channels.
#ifndef MNEME_SECURITY_CHANNEL_SECURITY_H_
#define MNEME_SECURITY_CHANNEL_SECURITY_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "security/tls_files.h"

namespace grpc {
class Channel;
class ChannelArguments;
class ChannelCredentials;
}  // namespace grpc

namespace mneme {

class JudgedTlsFiles;
class TokenSource;

struct ChannelSecurityOptions {
  // TLS 1.2 or 1.3. Also where files name a ca; without one the system's are trusted. With a certificate and a key this
  // end proves itself, too. The files are looked at again while the channels live: what can be used holds for
  // connections from then on, and what cannot changes nothing.
  bool tls = false;
  TlsFiles files;
  // What the server's certificate must name instead of the host of its address; empty: that host.
  std::string server_name;
  // The token that every call shows; null: none.
  std::shared_ptr<TokenSource> token;
  // Sends the token over connections that are not encrypted and leave this machine.
  bool insecure_token = false;
};

// Immutable; thread-safe.
class ChannelSecurity {
 public:
  // INVALID_ARGUMENT when files are wrong (CheckTlsFiles), or given without tls; errors of JudgedTlsFiles::Watch.
  static absl::StatusOr<std::shared_ptr<const ChannelSecurity>> New(ChannelSecurityOptions options);

  // INVALID_ARGUMENT when calls to `address` would show the token to whoever listens on the way.
  absl::Status CheckAddress(const std::string& address) const;

 private:
  friend std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address, const ChannelSecurity* security,
                                                    grpc::ChannelArguments arguments);
  ChannelSecurity(ChannelSecurityOptions options, std::shared_ptr<const JudgedTlsFiles> judged);

  const ChannelSecurityOptions options_;
  const std::shared_ptr<const JudgedTlsFiles> judged_;     // null: there are no files
  std::shared_ptr<grpc::ChannelCredentials> credentials_;  // null: nothing is encrypted
};

// A channel to "HOST:PORT" or "unix:PATH". Where CheckAddress refuses that, as it may one that others have told, calls
// show no token, and are refused by who wants one. A Unix socket is never encrypted: its permissions protect it. No web
// proxy is used, whatever the environment says. `security` may be null, and need not outlive the call.
std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address, const ChannelSecurity* security,
                                           grpc::ChannelArguments arguments);

}  // namespace mneme

#endif  // MNEME_SECURITY_CHANNEL_SECURITY_H_
