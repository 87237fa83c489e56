// What it costs to put a session of 8 MB and get it back, as ratios to a raw copy of the same bytes, measured side by
// side in one run over Unix sockets:
//
//   registers  put and get of a session of four registers of 2 MiB / raw: write the bytes to an echo and read them back
//   linear     put and get of a session of 64 linear states of 128 x 128 / the same
//   bare       a unary call that echoes the same bytes without looking at them / the same: what gRPC itself takes
//
// Server, echoes and client share one process. Prints a table for people on stderr and one JSON object on stdout.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/admin_client.h"
#include "client/channel.h"
#include "common/limits.h"
#include "mneme/v1/working_memory.grpc.pb.h"
#include "server/server.h"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;

void Require(bool held, const std::string& what) {
  if (held) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}
void Require(const grpc::Status& status) { Require(status.ok(), status.error_message()); }
template <typename T>
T Require(absl::StatusOr<T> value) {
  Require(value.ok(), value.status().ToString());
  return *std::move(value);
}

// A stream socket whose other end sends back what it gets, `bytes` at a time.
class RawEcho {
 public:
  RawEcho(const std::string& path, size_t bytes) : bytes_(bytes) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    const auto* at = reinterpret_cast<const sockaddr*>(&address);
    const int listening = socket(AF_UNIX, SOCK_STREAM, 0);
    Require(bind(listening, at, sizeof(address)) == 0 && listen(listening, 1) == 0, "a socket cannot be listened on");
    near_ = socket(AF_UNIX, SOCK_STREAM, 0);
    Require(connect(near_, at, sizeof(address)) == 0, "a socket cannot be connected");
    far_ = accept(listening, nullptr, nullptr);
    Require(far_ >= 0, "a socket cannot be accepted");
    close(listening);
    thread_ = std::thread([this] { Run(); });
  }
  ~RawEcho() {
    shutdown(near_, SHUT_RDWR);
    thread_.join();
    close(near_);
    close(far_);
  }

  void Echo(const std::string& sent, std::string& got) {
    got.resize(bytes_);
    Require(WriteAll(near_, sent.data()) && ReadAll(near_, got.data()), "the echo is gone");
  }

 private:
  void Run() {
    std::string buffer(bytes_, '\0');
    while (ReadAll(far_, buffer.data()) && WriteAll(far_, buffer.data())) {
    }
  }
  bool ReadAll(int socket, char* to) const {
    for (size_t at = 0; at < bytes_;) {
      const ssize_t part = read(socket, to + at, bytes_ - at);
      if (part <= 0) return false;
      at += static_cast<size_t>(part);
    }
    return true;
  }
  bool WriteAll(int socket, const char* from) const {
    for (size_t at = 0; at < bytes_;) {
      const ssize_t part = send(socket, from + at, bytes_ - at, MSG_NOSIGNAL);
      if (part <= 0) return false;
      at += static_cast<size_t>(part);
    }
    return true;
  }

  const size_t bytes_;
  int near_ = -1;
  int far_ = -1;
  std::thread thread_;
};

// A gRPC server that answers every call with its request.
class BareEcho final : public grpc::CallbackGenericService {
 public:
  explicit BareEcho(const std::string& path) {
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(static_cast<int>(limits::kMaxMessageBytes));
    builder.AddListeningPort("unix:" + path, grpc::InsecureServerCredentials());
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
    Require(server_ != nullptr, "a server of echoes does not start");
    stub_ = std::make_unique<grpc::GenericStub>(Require(NewChannel("unix:" + path)));
  }
  ~BareEcho() override { server_->Shutdown(); }

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override { return new Reactor; }

  void Echo(const std::string& sent, std::string& got) {
    grpc::Slice slice(sent);
    grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer answer;
    grpc::ClientContext context;
    grpc::CompletionQueue queue;
    const auto call = stub_->PrepareUnaryCall(&context, "/bare.Echo/Echo", request, &queue);
    grpc::Status status;
    call->StartCall();
    call->Finish(&answer, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    Require(queue.Next(&tag, &ok) && ok, "the echo is gone");
    Require(status);
    std::vector<grpc::Slice> slices;
    Require(answer.Dump(&slices));
    got.clear();
    for (const grpc::Slice& each : slices) got.append(reinterpret_cast<const char*>(each.begin()), each.size());
  }

 private:
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    Reactor() { StartRead(&message_); }
    void OnReadDone(bool ok) override {
      if (!ok) return Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "nothing came"));
      StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
    }
    void OnDone() override { delete this; }

   private:
    grpc::ByteBuffer message_;
  };

  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::GenericStub> stub_;
};

class Sessions {
 public:
  explicit Sessions(const std::string& directory) : log_(LogFormat::kJson, LogLevel::kError) {
    ServerOptions options;
    options.data_dir = directory + "/data";
    options.listen = {"127.0.0.1:0"};
    options.listen_unix = {directory + "/server.sock"};
    options.admin_listen = "off";
    server_ = Require(Server::Start(options, &log_));
    channel_ = Require(NewChannel("unix:" + directory + "/server.sock"));
    stub_ = v1::WorkingMemoryService::NewStub(channel_);
    v1::MemoryDescription memory;
    memory.set_name("wm");
    memory.set_dimension(2);
    memory.set_metric(v1::METRIC_L2);
    memory.set_value_kind(v1::VALUE_KIND_TOKEN);
    memory.set_vocabulary_size(2);
    Require(AdminClient(channel_).CreateMemory(memory));
  }

  std::string Registers(size_t count, size_t bytes) {
    v1::ApplyRequest request;
    for (size_t i = 0; i < count; ++i) {
      Operation(request, "registers", i)->mutable_register_put()->set_value(Noise(bytes));
    }
    return Made(request, "registers");
  }
  std::string Linear(size_t count, uint32_t dimension) {
    v1::ApplyRequest request;
    for (size_t i = 0; i < count; ++i) {
      v1::LinearApply& linear = *Operation(request, "linear", i)->mutable_linear();
      const std::vector<float> row(dimension, 0.25F + static_cast<float>(i));
      for (v1::Vectors* rows : {linear.mutable_keys(), linear.mutable_values()}) {
        rows->set_dimension(dimension);
        rows->set_dtype(v1::DTYPE_F32);
        rows->set_data(std::string(reinterpret_cast<const char*>(row.data()), row.size() * sizeof(float)));
      }
    }
    return Made(request, "linear");
  }

  // One session put and got; `content` is moved through the messages, as a client that owns its bytes would.
  void PutAndGet(std::string& content, std::string& got) {
    v1::PutSessionRequest put;
    put.set_memory("wm");
    put.set_session("moved");
    put.set_content(std::move(content));
    put.set_durability(v1::DURABILITY_WRITTEN);
    v1::PutSessionResponse answer;
    grpc::ClientContext context;
    Require(stub_->PutSession(&context, put, &answer));
    content = std::move(*put.mutable_content());
    got = Get("moved");
  }

 private:
  static v1::StateOperation* Operation(v1::ApplyRequest& request, const std::string& session, size_t number) {
    v1::StateOperation* operation = request.add_operations();
    operation->set_session(session);
    operation->set_name("state" + std::to_string(number));
    return operation;
  }
  static std::string Noise(size_t bytes) {
    std::string noise(bytes, '\0');
    uint32_t state = 1;
    for (char& each : noise) each = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    return noise;
  }
  std::string Made(v1::ApplyRequest& request, const std::string& session) {
    request.set_memory("wm");
    v1::ApplyResponse answer;
    grpc::ClientContext context;
    Require(stub_->Apply(&context, request, &answer));
    for (const v1::StateResult& result : answer.results()) Require(!result.has_error(), result.error().message());
    return Get(session);
  }
  std::string Get(const std::string& session) {
    v1::GetSessionRequest get;
    get.set_memory("wm");
    get.set_session(session);
    v1::GetSessionResponse answer;
    grpc::ClientContext context;
    Require(stub_->GetSession(&context, get, &answer));
    return std::move(*answer.mutable_content());
  }

  Log log_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::WorkingMemoryService::Stub> stub_;
};

double MillisOf(const std::function<void()>& work) {
  const auto start = Steady::now();
  work();
  return std::chrono::duration<double, std::milli>(Steady::now() - start).count();
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

int Run(size_t rounds) {
  char folder[] = "/tmp/mneme-sessions-XXXXXX";
  const std::string directory = mkdtemp(folder);
  std::map<std::string, std::vector<double>> ratios;
  std::map<std::string, std::vector<double>> millis;
  {
    Sessions sessions(directory);
    BareEcho bare(directory + "/bare.sock");
    const std::map<std::string, std::string> contents = {{"registers", sessions.Registers(4, size_t{2} << 20)},
                                                         {"linear", sessions.Linear(64, 128)}};
    for (const auto& [kind, content] : contents) {
      RawEcho raw(directory + "/" + kind + ".sock", content.size());
      std::string sent = content;
      std::string got;
      for (size_t round = 0; round <= rounds; ++round) {  // the first is to warm up
        const double raw_ms = MillisOf([&] { raw.Echo(sent, got); });
        Require(got == sent, "the raw echo changed something");
        const double bare_ms = MillisOf([&] { bare.Echo(sent, got); });
        Require(got == sent, "the bare call changed something");
        const double session_ms = MillisOf([&] { sessions.PutAndGet(sent, got); });
        Require(got == sent, "the session is not what was put");
        if (round == 0) continue;
        ratios[kind].push_back(session_ms / raw_ms);
        ratios["bare_" + kind].push_back(bare_ms / raw_ms);
        millis["raw_" + kind].push_back(raw_ms);
        millis[kind].push_back(session_ms);
      }
      std::fprintf(stderr, "%-10s %.1f MB: raw %.2f ms, put and get %.2f ms: %.2f times raw (bare gRPC %.2f)\n",
                   kind.c_str(), static_cast<double>(content.size()) / 1e6, Median(millis["raw_" + kind]),
                   Median(millis[kind]), Median(ratios[kind]), Median(ratios["bare_" + kind]));
    }
  }
  std::filesystem::remove_all(directory);
  std::string separator = "{";
  for (const auto& [name, values] : ratios) {
    std::printf("%s\"%s\": %.3f", separator.c_str(), name.c_str(), Median(values));
    separator = ", ";
  }
  std::printf("}\n");
  return 0;
}

}  // namespace
}  // namespace mneme

int main(int argc, char** argv) {
  const size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 21;
  if (rounds == 0) {
    std::fprintf(stderr, "usage: %s [ROUNDS], above 0\n", argv[0]);
    return 2;
  }
  return mneme::Run(rounds);
}
