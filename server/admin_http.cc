#include "server/admin_http.h"

#include <httplib.h>
#include <sys/socket.h>

#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "server/listen_error.h"
#include "server/version.h"

namespace mneme {
namespace {

constexpr char kHealth[] = "/healthz";
constexpr char kReady[] = "/readyz";
constexpr char kText[] = "text/plain; charset=utf-8";
constexpr char kJson[] = "application/json";
// The version of Prometheus' text form.
constexpr char kMetricsText[] = "text/plain; version=0.0.4; charset=utf-8";
// A connection holds one for as long as it says something every kSeconds, also while it shakes hands: probes are
// answered beside some that are slow.
constexpr size_t kThreads = 8;
constexpr time_t kSeconds = 5;

}  // namespace

struct AdminHttp::Server {
  std::unique_ptr<TlsIdentity> identity;  // outlives what it serves
  std::unique_ptr<httplib::Server> server;
  AdminPages pages;
  int port = 0;
  std::thread thread;

  bool MayRead(const httplib::Request& request) const {
    if (pages.may_read == nullptr || request.path == kHealth || request.path == kReady) return true;
    AdminReader reader;
    // Of two neither counts, nor a certificate beside them, as for gRPC (AccessControl::Identify).
    const size_t headers = request.get_header_value_count("Authorization");
    if (headers != 0) reader.authorization = headers == 1 ? request.get_header_value("Authorization") : "several";
    if (request.ssl != nullptr) reader.certificate = TlsIdentity::PeerNames(*request.ssl);
    return pages.may_read(reader);
  }

  void Route() {
    httplib::Server& http = *server;
    http.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& out) {
      if (MayRead(request)) return httplib::Server::HandlerResponse::Unhandled;
      out.status = 401;
      out.set_header("WWW-Authenticate", "Bearer");
      out.set_content("this page is for who may read metrics: send `Authorization: Bearer TOKEN`\n", kText);
      return httplib::Server::HandlerResponse::Handled;
    });
    http.Get(kHealth, [](const httplib::Request&, httplib::Response& out) { out.set_content("ok\n", kText); });
    http.Get(kReady, [this](const httplib::Request&, httplib::Response& out) {
      const bool ready = pages.ready();
      out.status = ready ? 200 : 503;
      out.set_content(ready ? "ok\n" : "not serving\n", kText);
    });
    http.Get("/metrics", [this](const httplib::Request&, httplib::Response& out) {
      out.set_content(pages.metrics(), kMetricsText);
    });
    http.Get("/version", [](const httplib::Request&, httplib::Response& out) {
      out.set_content(absl::StrCat("{\"version\":\"", kVersion, "\"}\n"), kJson);
    });
    http.Get("/config", [this](const httplib::Request&, httplib::Response& out) {
      out.set_content(absl::StrCat(pages.config(), "\n"), kJson);
    });
  }
};

AdminHttp::AdminHttp(std::unique_ptr<Server> server) : server_(std::move(server)) {}

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(const std::string& host, int port, AdminPages pages,
                                                            std::unique_ptr<TlsIdentity> identity) {
  auto server = std::make_unique<Server>();
  server->pages = std::move(pages);
  server->identity = std::move(identity);
  if (TlsIdentity* const tls = server->identity.get(); tls != nullptr) {
    server->server = std::make_unique<httplib::SSLServer>([tls](SSL_CTX& context) { return tls->Serve(context); });
    if (!server->server->is_valid()) return absl::InternalError("OpenSSL gives the admin address no context");
  } else {
    server->server = std::make_unique<httplib::Server>();
  }
  httplib::Server& http = *server->server;
  http.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  // The library's default would let a second server share the port, and take half of the answers.
  http.set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  http.set_payload_max_length(limits::kMaxAdminBodyBytes);
  http.set_read_timeout(kSeconds);
  http.set_write_timeout(kSeconds);
  http.set_keep_alive_timeout(kSeconds);
  server->Route();
  if (port == 0) {
    server->port = http.bind_to_any_port(host);
  } else if (http.bind_to_port(host, port)) {
    server->port = port;
  }
  if (server->port <= 0) {
    const bool six = host.find(':') != std::string::npos;
    return ListenError("admin address", six ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port));
  }
  server->thread = std::thread([raw = server.get()] { raw->server->listen_after_bind(); });
  // stop() does nothing before the loop runs.
  while (!http.is_running()) std::this_thread::yield();
  return std::unique_ptr<AdminHttp>(new AdminHttp(std::move(server)));
}

AdminHttp::~AdminHttp() {
  server_->server->stop();
  server_->thread.join();
}

int AdminHttp::port() const { return server_->port; }

}  // namespace mneme
