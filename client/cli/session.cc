#include "client/cli/session.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/channel.h"
#include "common/status_macros.h"
#include "security/token_source.h"

namespace mneme::cli {

namespace {

// Names the option, or several, before what is said of what it holds.
absl::Status OfOption(const char* option, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(option, ": ", status.message()));
}

absl::StatusOr<std::shared_ptr<const ChannelSecurity>> SecurityOf(const GlobalOptions& options) {
  ChannelSecurityOptions security;
  security.tls = options.tls;
  security.files = options.tls_files;
  security.server_name = options.tls_server_name;
  security.insecure_token = options.insecure_token;
  const char* token = std::getenv("MNEME_TOKEN");
  if (!options.token_file.empty()) {
    auto shown = TokenSource::OfFile(options.token_file);
    if (!shown.ok()) return OfOption("--token-file", shown.status());
    security.token = *std::move(shown);
  } else if (token != nullptr && *token != '\0') {
    auto shown = TokenSource::OfText(token);
    if (!shown.ok()) return OfOption("MNEME_TOKEN", shown.status());
    security.token = *std::move(shown);
  }
  auto made = ChannelSecurity::New(std::move(security));
  if (!made.ok()) return OfOption("--tls-ca, --tls-certificate, --tls-key", made.status());
  return made;
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> ChannelTo(const GlobalOptions& options,
                                                         const ChannelSecurity* security) {
  auto channel = NewChannel(options.server, security);
  if (!channel.ok()) return OfOption("--server", channel.status());
  return channel;
}

absl::Status NameVariables(const absl::Status& status, const GlobalOptions& options) {
  return absl::Status(status.code(), WithVariables(std::string(status.message()), options.variables));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Session>> Session::New(const GlobalOptions& options, Interrupt& interrupt) {
  ClientOptions client;
  auto security = SecurityOf(options);
  if (!security.ok()) return NameVariables(security.status(), options);
  client.security = *std::move(security);
  auto connected = ChannelTo(options, client.security.get());
  if (!connected.ok()) return NameVariables(connected.status(), options);
  const std::shared_ptr<grpc::Channel> channel = *std::move(connected);
  client.timeout = absl::Seconds(options.timeout_seconds);
  std::unique_ptr<Session> session(new Session(options, interrupt));
  session->memory_ = std::make_unique<MemoryClient>(channel, client);
  session->working_ = std::make_unique<WorkingMemoryClient>(channel, client);
  session->admin_ = std::make_unique<AdminClient>(channel, client);
  return session;
}

Session::Session(const GlobalOptions& options, Interrupt& interrupt)
    : options_(options), interrupt_(interrupt), live_(!options.quiet && isatty(STDERR_FILENO) == 1) {}

void Session::PrintJson(const nlohmann::ordered_json& document) {
  // Text that is no UTF-8 (a name from a damaged file) is shown with replacement characters instead of ending the run.
  Print(document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

void Session::Print(const std::string& text) {
  if (reader_gone_) return;
  if (std::fwrite(text.data(), 1, text.size(), stdout) < text.size()) reader_gone_ = errno == EPIPE;
}

absl::Status Session::CheckReader() const {
  return reader_gone_ ? absl::CancelledError("the reader of stdout is gone") : absl::OkStatus();
}

void Session::Note(const std::string& line) const {
  if (!options_.quiet) std::fprintf(stderr, "%s\n", line.c_str());
}

}  // namespace mneme::cli
