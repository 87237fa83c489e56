#include "client/admin_client.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <future>

#include "client/retry.h"
#include "client/rpc_status.h"
#include "client/unary_call.h"
#include "common/status_macros.h"
#include "grpc/health/v1/health.pb.h"
#include "mneme/v1/admin.grpc.pb.h"

namespace mneme {

using Service = v1::AdminService;

struct AdminClient::Stub {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<Service::Stub> service;
};

AdminClient::AdminClient(std::shared_ptr<grpc::Channel> channel, ClientOptions options)
    : stub_(std::make_unique<Stub>(Stub{channel, Service::NewStub(channel)})), options_(options) {}

AdminClient::~AdminClient() = default;

absl::StatusOr<v1::MemoryDescription> AdminClient::CreateMemory(const v1::MemoryDescription& memory) {
  v1::CreateMemoryRequest request;
  *request.mutable_memory() = memory;
  ASSIGN_OR_RETURN(v1::CreateMemoryResponse response,
                   UnaryCall(*stub_->service, options_, &Service::Stub::CreateMemory, request));
  return std::move(*response.mutable_memory());
}

absl::StatusOr<v1::MemoryDescription> AdminClient::GetMemory(const std::string& name) {
  v1::GetMemoryRequest request;
  request.set_memory(name);
  ASSIGN_OR_RETURN(v1::GetMemoryResponse response,
                   UnaryCall(*stub_->service, options_, &Service::Stub::GetMemory, request));
  return std::move(*response.mutable_memory());
}

absl::StatusOr<std::vector<v1::MemoryDescription>> AdminClient::ListMemories() {
  std::vector<v1::MemoryDescription> memories;
  v1::ListMemoriesRequest request;
  do {
    ASSIGN_OR_RETURN(v1::ListMemoriesResponse page,
                     UnaryCall(*stub_->service, options_, &Service::Stub::ListMemories, request));
    for (auto& memory : *page.mutable_memories()) memories.push_back(std::move(memory));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return memories;
}

absl::Status AdminClient::DropMemory(const std::string& name) {
  v1::DropMemoryRequest request;
  request.set_memory(name);
  return UnaryCall(*stub_->service, options_, &Service::Stub::DropMemory, request).status();
}

absl::StatusOr<v1::SetAliasResponse> AdminClient::SetAlias(const v1::SetAliasRequest& request) {
  return UnaryCall(*stub_->service, options_, &Service::Stub::SetAlias, request);
}

absl::Status AdminClient::DropAlias(const std::string& alias) {
  v1::DropAliasRequest request;
  request.set_alias(alias);
  return UnaryCall(*stub_->service, options_, &Service::Stub::DropAlias, request).status();
}

absl::StatusOr<std::vector<v1::Alias>> AdminClient::ListAliases() {
  std::vector<v1::Alias> aliases;
  v1::ListAliasesRequest request;
  do {
    ASSIGN_OR_RETURN(v1::ListAliasesResponse page,
                     UnaryCall(*stub_->service, options_, &Service::Stub::ListAliases, request));
    for (auto& alias : *page.mutable_aliases()) aliases.push_back(std::move(alias));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return aliases;
}

absl::Status AdminClient::BuildIndex(const v1::BuildIndexRequest& request,
                                     const std::function<bool(const v1::BuildIndexResponse&)>& progress) {
  grpc::ClientContext context;
  auto reader = stub_->service->BuildIndex(&context, request);
  v1::BuildIndexResponse response;
  while (reader->Read(&response)) {
    if (!progress(response)) context.TryCancel();
  }
  return ToAbslStatus(reader->Finish());
}

absl::Status AdminClient::ExportIndex(const v1::ExportIndexRequest& request,
                                      const std::function<absl::Status(const v1::ExportIndexResponse&)>& piece) {
  grpc::ClientContext context;
  auto reader = stub_->service->ExportIndex(&context, request);
  v1::ExportIndexResponse response;
  absl::Status taken;
  while (taken.ok() && reader->Read(&response)) taken = piece(response);
  if (!taken.ok()) context.TryCancel();
  const absl::Status ended = ToAbslStatus(reader->Finish());
  return taken.ok() ? ended : taken;
}

absl::StatusOr<v1::PruneMemoryResponse> AdminClient::PruneMemory(
    const v1::PruneMemoryRequest& request, const std::function<bool(const v1::PruneMemoryResponse&)>& progress) {
  grpc::ClientContext context;
  auto reader = stub_->service->PruneMemory(&context, request);
  v1::PruneMemoryResponse response;
  while (reader->Read(&response)) {
    if (!progress(response)) context.TryCancel();
  }
  absl::Status status = ToAbslStatus(reader->Finish());
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<v1::CreateBackupResponse> AdminClient::CreateBackup(
    const v1::CreateBackupRequest& request, const std::function<bool(const v1::CreateBackupResponse&)>& progress) {
  grpc::ClientContext context;
  auto reader = stub_->service->CreateBackup(&context, request);
  v1::CreateBackupResponse response;
  while (reader->Read(&response)) {
    if (!progress(response)) context.TryCancel();
  }
  absl::Status status = ToAbslStatus(reader->Finish());
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<std::vector<v1::ShowClusterResponse>> AdminClient::ShowCluster(bool digest) {
  v1::ShowClusterRequest request;
  request.set_digest(digest);
  grpc::ClientContext context;
  auto reader = stub_->service->ShowCluster(&context, request);
  std::vector<v1::ShowClusterResponse> replicas;
  v1::ShowClusterResponse replica;
  while (reader->Read(&replica)) replicas.push_back(std::move(replica));
  absl::Status status = ToAbslStatus(reader->Finish());
  if (!status.ok()) return status;
  return replicas;
}

absl::StatusOr<v1::ChangeReplicasResponse> AdminClient::ChangeReplicas(
    const v1::ChangeReplicasRequest& request, const std::function<bool(const v1::ChangeReplicasResponse&)>& progress) {
  grpc::ClientContext context;
  auto reader = stub_->service->ChangeReplicas(&context, request);
  v1::ChangeReplicasResponse response;
  while (reader->Read(&response)) {
    if (!progress(response)) context.TryCancel();
  }
  absl::Status status = ToAbslStatus(reader->Finish());
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<std::vector<v1::Backup>> AdminClient::ListBackups() {
  std::vector<v1::Backup> backups;
  v1::ListBackupsRequest request;
  do {
    ASSIGN_OR_RETURN(v1::ListBackupsResponse page,
                     UnaryCall(*stub_->service, options_, &Service::Stub::ListBackups, request));
    for (auto& backup : *page.mutable_backups()) backups.push_back(std::move(backup));
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return backups;
}

absl::StatusOr<v1::GetStatisticsResponse> AdminClient::GetStatistics(const std::string& name) {
  v1::GetStatisticsRequest request;
  request.set_memory(name);
  return UnaryCall(*stub_->service, options_, &Service::Stub::GetStatistics, request);
}

absl::StatusOr<v1::ProbeRecallResponse> AdminClient::ProbeRecall(const v1::ProbeRecallRequest& request) {
  return UnaryCall(*stub_->service, options_, &Service::Stub::ProbeRecall, request);
}

absl::StatusOr<v1::PingResponse> AdminClient::Ping() {
  return UnaryCall(*stub_->service, options_, &Service::Stub::Ping, v1::PingRequest());
}

absl::StatusOr<bool> AdminClient::IsServing(const std::string& service) {
  using grpc::health::v1::HealthCheckRequest;
  using grpc::health::v1::HealthCheckResponse;
  grpc::TemplatedGenericStub<HealthCheckRequest, HealthCheckResponse> stub(stub_->channel);
  HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  RETURN_IF_ERROR(CallWithRetry(options_, [&](grpc::ClientContext& context) {
    std::promise<grpc::Status> done;
    stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &response,
                   [&done](grpc::Status status) { done.set_value(std::move(status)); });
    return done.get_future().get();
  }));
  return response.status() == HealthCheckResponse::SERVING;
}

}  // namespace mneme
