// TlsIdentity: what a listening address that is not gRPC's proves itself with, and whose certificates it knows, as
// OpenSSL takes it. Files are judged as those of gRPC are (JudgedTlsFiles), so that both ports have the same: a pair
// that cannot be used does not hold up who is trusted no longer. What was judged is read under its lock, at most every
// kTlsRefreshSeconds: handshakes wait for that.
#ifndef MNEME_SECURITY_TLS_IDENTITY_H_
#define MNEME_SECURITY_TLS_IDENTITY_H_

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "security/judged_tls_files.h"
#include "security/tls_files.h"

struct ssl_ctx_st;
struct ssl_st;

namespace mneme {

// Thread-safe.
class TlsIdentity {
 public:
  // Errors of JudgedTlsFiles::Watch(). `files` have a certificate.
  static absl::StatusOr<std::unique_ptr<TlsIdentity>> New(const TlsFiles& files);

  // Every handshake of `context` is of TLS 1.2 or 1.3, resumes none, and has what the files hold by then; what cannot
  // be used leaves in use what was read before. With a ca a client may show a certificate, and has no connection when
  // none of the ca signed it; it need not show any. Outlives the context. False: OpenSSL refused.
  bool Serve(ssl_ctx_st& context);

  // The names in the certificate that the other end has shown, which was verified: subject alternative names, then the
  // common name. Empty where it showed none.
  static std::vector<std::string> PeerNames(const ssl_st& connection);

 private:
  using Held = std::shared_ptr<ssl_ctx_st>;  // made of the files; nothing connects by it

  TlsIdentity(std::shared_ptr<const JudgedTlsFiles> files, Held held)
      : files_(std::move(files)), held_(std::move(held)) {}

  // Null when OpenSSL does not take it, or the pair was put anew meanwhile.
  static Held Read(const JudgedTlsFiles& files);
  static int OnHandshake(ssl_st* connection, void* self);
  Held Current() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::shared_ptr<const JudgedTlsFiles> files_;
  Mutex mutex_;
  Held held_ ABSL_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point looked_ ABSL_GUARDED_BY(mutex_) = std::chrono::steady_clock::now();
};

}  // namespace mneme

#endif  // MNEME_SECURITY_TLS_IDENTITY_H_
