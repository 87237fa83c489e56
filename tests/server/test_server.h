// A real server on a free port over a temporary directory, and the words that its tests speak.
#ifndef MNEME_TESTS_SERVER_TEST_SERVER_H_
#define MNEME_TESTS_SERVER_TEST_SERVER_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/client_unary_call.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/limits.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "mneme/v1/admin.grpc.pb.h"
#include "mneme/v1/memory.grpc.pb.h"
#include "mneme/v1/working_memory.grpc.pb.h"
#include "server/server.h"
#include "tests/server/column.h"

namespace mneme {

// The items of a column (tests/server/column.h).
template <typename T>
std::vector<T> Items(const std::string& bytes) {
  std::vector<T> out(bytes.size() / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size() * sizeof(T));
  return out;
}

inline v1::Vectors F32(const std::vector<float>& components, uint32_t dimension) {
  v1::Vectors out;
  out.set_data(Column(components));
  out.set_dtype(v1::DTYPE_F32);
  out.set_dimension(dimension);
  return out;
}

// What an error says beyond its code.
struct ErrorDetail {
  std::string reason;
  std::string domain;
  std::vector<std::string> fields;
  bool has_retry = false;
  std::string resource;
};

inline ErrorDetail DetailOf(const grpc::Status& status) {
  ErrorDetail out;
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return out;
  for (const auto& any : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    google::rpc::ResourceInfo resource;
    if (any.UnpackTo(&info)) out.reason = info.reason(), out.domain = info.domain();
    if (any.UnpackTo(&resource)) out.resource = resource.resource_name();
    if (any.Is<google::rpc::RetryInfo>()) out.has_retry = true;
    if (any.UnpackTo(&bad)) {
      for (const auto& violation : bad.field_violations()) out.fields.push_back(violation.field());
    }
  }
  return out;
}

class TestServer {
 public:
  explicit TestServer(uint32_t shards = 2) : log_(LogFormat::kJson, LogLevel::kError) {
    std::string pattern = (std::filesystem::temp_directory_path() / "mneme_server_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    ServerOptions options;
    options.data_dir = directory_ + "/data";
    options.listen = {"127.0.0.1:0"};
    options.admin_listen = "127.0.0.1:0";
    options.shards = shards;
    options.port_file = directory_ + "/port";
    auto server = Server::Start(options, &log_);
    if (!server.ok()) {
      ADD_FAILURE() << server.status();
      std::abort();
    }
    server_ = *std::move(server);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetMaxSendMessageSize(-1);
    channel_ = grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()),
                                         grpc::InsecureChannelCredentials(), arguments);
    memory = v1::MemoryService::NewStub(channel_);
    admin = v1::AdminService::NewStub(channel_);
    working = v1::WorkingMemoryService::NewStub(channel_);
  }
  ~TestServer() {
    memory.reset();
    admin.reset();
    working.reset();
    channel_.reset();
    server_.reset();
    std::filesystem::remove_all(directory_);
  }

  Server& server() { return *server_; }
  const std::shared_ptr<grpc::Channel>& channel() { return channel_; }
  const std::string& directory() const { return directory_; }

  // A TOKEN memory unless told otherwise.
  grpc::Status Create(const std::string& name, uint32_t dimension, v1::Metric metric = v1::METRIC_L2,
                      v1::ValueKind kind = v1::VALUE_KIND_TOKEN, uint32_t size = 100,
                      v1::Dtype dtype = v1::DTYPE_F32) {
    v1::CreateMemoryRequest request;
    request.mutable_memory()->set_name(name);
    request.mutable_memory()->set_dimension(dimension);
    request.mutable_memory()->set_metric(metric);
    request.mutable_memory()->set_value_kind(kind);
    request.mutable_memory()->set_key_dtype(dtype);
    request.mutable_memory()->mutable_fingerprint()->set_model("gpt");
    if (kind == v1::VALUE_KIND_TOKEN) request.mutable_memory()->set_vocabulary_size(size);
    if (kind == v1::VALUE_KIND_VECTOR) request.mutable_memory()->set_value_dimension(size);
    v1::CreateMemoryResponse response;
    return Call(&v1::AdminService::Stub::CreateMemory, *admin, request, &response);
  }

  template <typename Stub, typename Request, typename Response>
  static grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), Stub& stub,
                           const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return (stub.*method)(&context, request, response);
  }
  grpc::Status Insert(const v1::InsertRequest& request, v1::InsertResponse* response = nullptr) {
    v1::InsertResponse unused;
    return Call(&v1::MemoryService::Stub::Insert, *memory, request, response != nullptr ? response : &unused);
  }
  grpc::Status Query(const v1::QueryRequest& request, v1::QueryResponse* response = nullptr) {
    v1::QueryResponse unused;
    return Call(&v1::MemoryService::Stub::Query, *memory, request, response != nullptr ? response : &unused);
  }
  uint64_t Count(const std::string& name) {
    v1::CountRequest request;
    request.set_memory(name);
    v1::CountResponse response;
    EXPECT_TRUE(Call(&v1::MemoryService::Stub::Count, *memory, request, &response).ok());
    return response.count();
  }

  std::unique_ptr<v1::MemoryService::Stub> memory;
  std::unique_ptr<v1::WorkingMemoryService::Stub> working;
  std::unique_ptr<v1::AdminService::Stub> admin;

 private:
  Log log_;
  std::string directory_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

// Sends one message to a method of any kind, reads to the end and returns the status; `last` gets the last response.
inline grpc::Status SendBytes(grpc::GenericStub& stub, const std::string& method, const std::string& bytes,
                              std::string* last = nullptr, const std::string& authorization = "") {
  grpc::ClientContext context;
  if (!authorization.empty()) context.AddMetadata("authorization", authorization);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  grpc::CompletionQueue queue;
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return ok;
  };
  auto call = stub.PrepareCall(&context, method, &queue);
  grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  call->StartCall(nullptr);
  if (wait()) {
    call->WriteLast(request, grpc::WriteOptions(), nullptr);
    wait();
    while (true) {
      grpc::ByteBuffer response;
      call->Read(&response, nullptr);
      if (!wait()) break;
      std::vector<grpc::Slice> slices;
      if (last == nullptr || !response.Dump(&slices).ok()) continue;
      last->clear();
      for (const grpc::Slice& part : slices) last->append(reinterpret_cast<const char*>(part.begin()), part.size());
    }
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  return status;
}

// Two rows of dimension 2 with tokens 7 and 8, ids 1 and 2: valid for a memory of Create(name, 2).
inline v1::InsertRequest GoodInsert(const std::string& name) {
  v1::InsertRequest request;
  request.set_memory(name);
  *request.mutable_entries()->mutable_keys() = F32({1, 0, 0, 1}, 2);
  request.mutable_entries()->mutable_values()->set_tokens(Column<uint32_t>({7, 8}));
  request.mutable_entries()->set_ids(Column<uint64_t>({1, 2}));
  return request;
}

// Writes and reads a register; valid for any memory.
inline v1::ApplyRequest GoodApply(const std::string& name) {
  v1::ApplyRequest request;
  request.set_memory(name);
  for (int i = 0; i < 2; ++i) {
    request.add_operations()->set_session("chat");
    request.mutable_operations(i)->set_name("mode");
  }
  request.mutable_operations(0)->mutable_register_put()->set_value("draft");
  request.mutable_operations(1)->mutable_register_get();
  return request;
}

inline v1::QueryRequest GoodQuery(const std::string& name) {
  v1::QueryRequest request;
  request.set_memory(name);
  *request.mutable_keys() = F32({1, 0}, 2);
  request.set_k(2);
  request.mutable_search()->set_exact(true);
  return request;
}

}  // namespace mneme

#endif  // MNEME_TESTS_SERVER_TEST_SERVER_H_
