// AdminHttp: the operator's port: /metrics, /healthz, /readyz, /version, /config. Over TLS it asks who reads them, but
// for the two of probes, which know nobody.
#ifndef MNEME_SERVER_ADMIN_HTTP_H_
#define MNEME_SERVER_ADMIN_HTTP_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "security/tls_identity.h"

namespace mneme {

// Who asks for a page.
struct AdminReader {
  std::string authorization;             // the header's value, "" where there is none
  std::vector<std::string> certificate;  // names of a verified one
};

// What the pages show; called on threads of the HTTP server, all thread-safe.
struct AdminPages {
  std::function<std::string()> metrics;
  std::function<bool()> ready;
  std::function<std::string()> config;  // JSON
  std::function<bool(const AdminReader&)> may_read = nullptr;  // null: everybody may; of TLS alone
};

// Listens from Start() until destroyed. Thread-safe.
class AdminHttp {
 public:
  // UNAVAILABLE when the address is taken. Port 0 takes a free one. Without an identity nothing is encrypted.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(const std::string& host, int port, AdminPages pages,
                                                          std::unique_ptr<TlsIdentity> identity);
  ~AdminHttp();

  int port() const;

 private:
  struct Server;
  explicit AdminHttp(std::unique_ptr<Server> server);
  std::unique_ptr<Server> server_;
};

}  // namespace mneme

#endif  // MNEME_SERVER_ADMIN_HTTP_H_
