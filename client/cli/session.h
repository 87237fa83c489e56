// Session: what every verb of the CLI is given: the server, and where to print.
#ifndef MNEME_CLIENT_CLI_SESSION_H_
#define MNEME_CLIENT_CLI_SESSION_H_

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/admin_client.h"
#include "client/cli/interrupt.h"
#include "client/memory_client.h"
#include "client/working_memory_client.h"
#include "common/option_text.h"
#include "security/tls_files.h"

namespace mneme::cli {

// The options that every verb takes.
struct GlobalOptions {
  std::string server = "127.0.0.1:7700";
  bool tls = false;
  TlsFiles tls_files;
  std::string tls_server_name;  // what the server's certificate must name, if not the host of its address
  std::string token_file;  // a token itself only comes in MNEME_TOKEN: arguments are for all users of a machine to see
  bool insecure_token = false;
  double timeout_seconds = 60;
  std::string output = "text";  // or "json"
  bool quiet = false;
  std::string command;  // as it was typed, for advice on how to go on
  std::vector<OptionVariable> variables;  // of the environment, by which it set some of these
};

// One run of the CLI. Data goes to stdout and everything else to stderr, so that a pipe gets data only.
// Not thread-safe, but the clients are.
class Session {
 public:
  // Returns INVALID_ARGUMENT, naming the options and the variables that set them, if the server's address cannot be
  // one, or files of TLS or the token cannot be used.
  // `interrupt` outlives the session.
  static absl::StatusOr<std::unique_ptr<Session>> New(const GlobalOptions& options, Interrupt& interrupt);

  MemoryClient& memory() { return *memory_; }
  WorkingMemoryClient& working() { return *working_; }
  AdminClient& admin() { return *admin_; }
  Interrupt& interrupt() { return interrupt_; }
  const GlobalOptions& options() const { return options_; }

  bool json() const { return options_.output == "json"; }
  // True where progress, prompts and live lines may be shown: stderr is a terminal and -q was not given.
  bool live() const { return live_; }

  // Prints a JSON document and a newline to stdout.
  void PrintJson(const nlohmann::ordered_json& document);
  // Prints text to stdout as it is; does nothing once the reader is gone.
  void Print(const std::string& text);
  // Returns CANCELLED once the reader of stdout is gone (`| head`): a long answer ends there, which is no error.
  absl::Status CheckReader() const;
  // Prints a line to stderr unless -q was given.
  void Note(const std::string& line) const;

 private:
  Session(const GlobalOptions& options, Interrupt& interrupt);

  const GlobalOptions options_;
  Interrupt& interrupt_;
  bool live_;
  bool reader_gone_ = false;
  std::unique_ptr<MemoryClient> memory_;
  std::unique_ptr<WorkingMemoryClient> working_;
  std::unique_ptr<AdminClient> admin_;
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_SESSION_H_
