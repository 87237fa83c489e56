// AdminHttp: the operator's port: /metrics, /healthz, /readyz, /version, /config.
#ifndef MNEME_SERVER_ADMIN_HTTP_H_
#define MNEME_SERVER_ADMIN_HTTP_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace mneme {

// What the pages show; called on threads of the HTTP server, all thread-safe.
struct AdminPages {
  std::function<std::string()> metrics;
  std::function<bool()> ready;
  std::function<std::string()> config;  // JSON
};

// Listens from Start() until destroyed. Thread-safe.
class AdminHttp {
 public:
  // UNAVAILABLE when the address is taken. Port 0 takes a free one.
  static absl::StatusOr<std::unique_ptr<AdminHttp>> Start(const std::string& host, int port, AdminPages pages);
  ~AdminHttp();

  int port() const;

 private:
  struct Server;
  explicit AdminHttp(std::unique_ptr<Server> server);
  std::unique_ptr<Server> server_;
};

}  // namespace mneme

#endif  // MNEME_SERVER_ADMIN_HTTP_H_
