// `mneme`: the command line of a memory server.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>

#include "client/cli/exit_code.h"
#include "client/cli/interrupt.h"
#include "client/cli/parser.h"
#include "client/cli/session.h"

namespace mneme::cli {
namespace {

// A word as a shell would take it back.
std::string ShellWord(const std::string& word) {
  constexpr char kPlain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,@%+";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

int Fail(const std::string& line, int code) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s\n", line.c_str());
  return code;
}

int Run(int argc, char** argv) {
  GlobalOptions options;
  Action action;
  Parser parser(options, action);
  for (int i = 0; i < argc; ++i) options.command += (i > 0 ? " " : "") + ShellWord(argv[i]);
  const absl::StatusOr<std::string> asked = parser.Parse({argv + 1, argv + argc});
  if (!asked.ok()) return Fail(ErrorLine(asked.status(), options.server), ExitCode(asked.status()));
  if (!asked->empty()) {
    std::fputs(asked->c_str(), stdout);
    return kExitOk;
  }
  if (!action) {
    std::fputs(parser.Help().c_str(), stderr);
    return kExitUsage;
  }
  Interrupt interrupt;  // before gRPC starts threads
  const auto session = Session::New(options, interrupt);
  if (!session.ok()) return Fail(ErrorLine(session.status(), options.server), kExitUsage);
  const absl::Status status = action(**session);
  const bool reader_gone = !(*session)->CheckReader().ok();
  if (reader_gone && (status.ok() || absl::IsCancelled(status))) return kExitOk;
  if (!status.ok()) return Fail(ErrorLine(status, options.server), ExitCode(status));
  // A full disk or a closed pipe may show itself only here. Who closed the pipe wants no more, which is no error.
  const bool flushed = std::fflush(stdout) == 0;
  if (!flushed && errno == EPIPE) return kExitOk;
  if (!flushed || std::ferror(stdout) != 0) return Fail("error: stdout cannot be written", kExitFailed);
  return kExitOk;
}

}  // namespace
}  // namespace mneme::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // `mneme scan | head` ends in order, not with a signal
  return mneme::cli::Run(argc, argv);
}
