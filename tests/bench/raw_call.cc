// raw_call: what a unary call takes that carries so many bytes each way between two processes, over TCP and with the
// settings of calls between those of a deployment, while nobody looks at the bytes; one at a time, as one JSON object.
//
//   raw_call --request-bytes 8600 --answer-bytes 197000 --seconds 3
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstddef>
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "cluster/shard_channel.h"
#include "common/limits.h"
#include "tests/bench/measurement.h"

namespace mneme::bench {
namespace {

struct Options {
  size_t request_bytes = 0;
  size_t answer_bytes = 0;
  double seconds = 2.0;
  double warm_up = 0.5;
};

constexpr char kMethod[] = "/mneme.internal.v1.ShardService/Query";
constexpr std::chrono::seconds kPatience{60};

grpc::ByteBuffer Filled(size_t bytes) {
  const grpc::Slice slice{std::string(bytes, 'x')};
  return grpc::ByteBuffer(&slice, 1);
}

// Answers every call with the same bytes.
class Answerer final : public grpc::CallbackGenericService {
 public:
  explicit Answerer(size_t bytes) : answer_(Filled(bytes)) {
    // As server/server.cc tunes it.
    constexpr int kMegabyte = 1 << 20;
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kMegabyte);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16 * kMegabyte);
    builder.AddChannelArgument(GRPC_ARG_TCP_READ_CHUNK_SIZE, kMegabyte);
    builder.AddChannelArgument(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, 16 * kMegabyte);
    builder.SetMaxReceiveMessageSize(limits::kMaxInternalMessageBytes);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) Require(absl::UnavailableError("the server of the calls does not start"));
  }

  int port() const { return port_; }
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Reactor(answer_);
  }

 private:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Reactor(const grpc::ByteBuffer& answer) : answer_(answer) { StartRead(&request_); }
    void OnReadDone(bool ok) override {
      if (!ok) return Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "nothing came"));
      StartWriteAndFinish(&answer_, grpc::WriteOptions(), grpc::Status::OK);
    }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer request_;
    const grpc::ByteBuffer answer_;
  };

  const grpc::ByteBuffer answer_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// An Answerer in a process of its own, which ends with this one. Made before anything of gRPC's.
class Other {
 public:
  explicit Other(size_t answer_bytes) {
    int up[2];
    int down[2];
    if (pipe(up) != 0 || pipe(down) != 0) Require(absl::UnavailableError("no pipe"));
    pid_ = fork();
    if (pid_ < 0) Require(absl::UnavailableError("no process"));
    if (pid_ == 0) {
      close(up[0]);
      close(down[1]);
      Answer(answer_bytes, up[1], down[0]);
    }
    close(up[1]);
    close(down[0]);
    end_ = down[1];
    if (read(up[0], &port_, sizeof(port_)) != sizeof(port_)) Require(absl::UnavailableError("no answers"));
    close(up[0]);
  }
  ~Other() {
    close(end_);
    waitpid(pid_, nullptr, 0);
  }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  int pid() const { return pid_; }

 private:
  // Until there is nobody at the other end of `end`.
  [[noreturn]] static void Answer(size_t bytes, int told, int end) {
    Answerer answers(bytes);
    const int port = answers.port();
    char nothing = 0;
    const bool heard = write(told, &port, sizeof(port)) == sizeof(port) && read(end, &nothing, 1) == 0;
    _exit(heard ? 0 : 1);
  }

  pid_t pid_ = 0;
  int port_ = 0;
  int end_ = -1;
};

nlohmann::json Run(const Options& options) {
  const Other other(options.answer_bytes);
  const std::shared_ptr<grpc::Channel> channel = MakeInternalChannel(other.address(), nullptr);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + kPatience)) {
    Require(absl::UnavailableError("no connection to " + other.address()));
  }
  grpc::GenericStub stub(channel);
  const grpc::ByteBuffer request = Filled(options.request_bytes);
  grpc::CompletionQueue queue;
  Measurement measured(other.pid());
  bool counting = false;
  const Steady::time_point begin = Steady::now();
  for (double elapsed = 0; elapsed < options.warm_up + options.seconds;
       elapsed = SecondsBetween(begin, Steady::now())) {
    if (!counting && elapsed >= options.warm_up) {
      measured.Start();
      counting = true;
    }
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    grpc::ByteBuffer answer;
    grpc::Status status;
    const Steady::time_point start = Steady::now();
    const auto call = stub.PrepareUnaryCall(&context, kMethod, request, &queue);
    call->StartCall();
    call->Finish(&answer, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    if (!queue.Next(&tag, &ok)) break;
    measured.Add(start, 1, status.ok() ? answer.Length() : 0, status.ok() ? "" : status.error_message());
  }
  return measured.Report();
}

}  // namespace
}  // namespace mneme::bench

int main(int argc, char** argv) {
  CLI::App app("A bare unary call between two processes");
  mneme::bench::Options options;
  app.add_option("--request-bytes", options.request_bytes, "Of each call")->check(CLI::Range(0U, 1U << 28));
  app.add_option("--answer-bytes", options.answer_bytes, "Of each call")->check(CLI::Range(0U, 1U << 28));
  app.add_option("--seconds", options.seconds, "Counted time");
  app.add_option("--warm-up", options.warm_up, "Seconds before it");
  CLI11_PARSE(app, argc, argv);
  std::cout << mneme::bench::Run(options) << std::endl;
  return 0;
}
