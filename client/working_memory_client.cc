#include "client/working_memory_client.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "client/retry.h"
#include "client/rpc_status.h"
#include "client/unary_call.h"
#include "common/status_macros.h"
#include "mneme/v1/working_memory.grpc.pb.h"

namespace mneme {

using Service = v1::WorkingMemoryService;

struct WorkingMemoryClient::Stub {
  std::unique_ptr<Service::Stub> service;
};

absl::StatusOr<std::unique_ptr<WorkingMemoryClient>> WorkingMemoryClient::New(const std::string& address,
                                                                              ClientOptions options) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, NewChannel(address, options.security.get()));
  return std::make_unique<WorkingMemoryClient>(std::move(channel), options);
}

WorkingMemoryClient::WorkingMemoryClient(std::shared_ptr<grpc::Channel> channel, ClientOptions options)
    : stub_(std::make_unique<Stub>(Stub{Service::NewStub(channel)})), options_(options) {}

WorkingMemoryClient::~WorkingMemoryClient() = default;

absl::StatusOr<v1::ApplyResponse> WorkingMemoryClient::Apply(v1::ApplyRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  return UnaryCall(*stub_->service, options_, &Service::Stub::Apply, request);
}

absl::StatusOr<v1::ResetSessionsResponse> WorkingMemoryClient::ResetSessions(v1::ResetSessionsRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  return UnaryCall(*stub_->service, options_, &Service::Stub::ResetSessions, request);
}

absl::StatusOr<v1::ForkSessionResponse> WorkingMemoryClient::ForkSession(v1::ForkSessionRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  return UnaryCall(*stub_->service, options_, &Service::Stub::ForkSession, request);
}

absl::StatusOr<v1::PutSessionResponse> WorkingMemoryClient::PutSession(v1::PutSessionRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  return UnaryCall(*stub_->service, options_, &Service::Stub::PutSession, request);
}

absl::StatusOr<v1::GetSessionResponse> WorkingMemoryClient::GetSession(const v1::GetSessionRequest& request) {
  return UnaryCall(*stub_->service, options_, &Service::Stub::GetSession, request);
}

absl::StatusOr<v1::MaskTokensResponse> WorkingMemoryClient::MaskTokens(const v1::MaskTokensRequest& request) {
  return UnaryCall(*stub_->service, options_, &Service::Stub::MaskTokens, request);
}

absl::Status WorkingMemoryClient::ListSessions(
    v1::ListSessionsRequest request, const std::function<absl::Status(const v1::ListSessionsResponse& page)>& page) {
  do {
    ASSIGN_OR_RETURN(const v1::ListSessionsResponse response,
                     UnaryCall(*stub_->service, options_, &Service::Stub::ListSessions, request));
    RETURN_IF_ERROR(page(response));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return absl::OkStatus();
}

absl::Status ResultStatus(const v1::StateResult& result) {
  if (!result.has_error()) return absl::OkStatus();
  const v1::StateError& error = result.error();
  return ToAbslStatus(error.code(), error.message(), error.reason());
}

}  // namespace mneme
