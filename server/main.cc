// mneme-server: parse, start, wait for a signal, drain.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>

#include "common/allocator.h"
#include "server/grpc_log.h"
#include "server/log.h"
#include "server/offline.h"
#include "server/open_logs.h"
#include "server/options.h"
#include "server/security_options.h"
#include "server/server.h"

namespace {

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// SIGHUP asks to read files again.
sigset_t WaitedSignals() {
  sigset_t signals = StopSignals();
  sigaddset(&signals, SIGHUP);
  return signals;
}

pthread_t main_thread;

// A library that is loaded may have started threads before anything was blocked: they hand the signal on.
void LeaveToMainThread() {
  main_thread = pthread_self();
  struct sigaction action = {};
  action.sa_handler = [](int number) { pthread_kill(main_thread, number); };
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGHUP, &action, nullptr);
}

// Whether a signal waits that is blocked: a process that waits for another may be stopped.
bool StopIsPending() {
  sigset_t pending;
  sigemptyset(&pending);
  sigpending(&pending);
  return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
}

// For work that looks now and then whether it is to end.
volatile sig_atomic_t stop_asked = 0;
void StopWhenAsked() {
  struct sigaction action = {};
  action.sa_handler = [](int) { stop_asked = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
}

// From here on a signal ends the process at once.
void StopAtNextSignal() {
  const sigset_t signals = StopSignals();
  struct sigaction action = {};
  action.sa_handler = [](int number) { _exit(128 + number); };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  mneme::ParsedOptions parsed = mneme::ParseOptions(argc, argv);
  if (!parsed.run) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  parsed.options = mneme::ResolveOptions(std::move(parsed.options));
  absl::Status files = mneme::CheckFiles(parsed.options);
  if (files.ok()) files = mneme::CheckLogSettings(parsed.options);
  if (!files.ok()) {
    std::fputs(mneme::Complaint(std::string(files.message()), parsed.variables).c_str(), stderr);
    return mneme::kUsageError;
  }
  if (parsed.options.check_config) {
    std::printf("%s\n", mneme::OptionsJson(parsed.options).c_str());
    return 0;
  }
  if (parsed.options.offline()) {
    StopWhenAsked();
    return mneme::RunOffline(parsed.options, [] { return stop_asked != 0; });
  }
  mneme::KeepFreedRam();
  // Before any thread is started, so that all of them inherit the mask and the signal waits for sigwait.
  const sigset_t signals = WaitedSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  LeaveToMainThread();
  mneme::Log log(parsed.options.log_format, parsed.options.log_level);
  const mneme::GrpcLog grpc_log(&log);
  log.Write(mneme::LogLevel::kInfo, "server", "starting", {{"config", mneme::OptionsJson(parsed.options)}});
  auto server = mneme::Server::Start(parsed.options, &log, [] { return StopIsPending(); });
  if (!server.ok() && absl::IsCancelled(server.status())) return 0;
  if (!server.ok()) {
    log.Write(mneme::LogLevel::kError, "server", "cannot start: " + std::string(server.status().message()),
              {{"code", absl::StatusCodeToString(server.status().code())}});
    return 1;
  }
  mneme::GiveBackFreedRam();
  int signal = 0;
  while (sigwait(&signals, &signal) == 0 && signal == SIGHUP) (*server)->Reload();
  StopAtNextSignal();
  (*server)->Drain();
  return 0;
}
