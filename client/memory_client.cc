#include "client/memory_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdint>

#include "client/retry.h"
#include "client/unary_call.h"
#include "common/status_macros.h"
#include "mneme/v1/memory.grpc.pb.h"

namespace mneme {

using Service = v1::MemoryService;

struct MemoryClient::Stub {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<Service::Stub> service;
};

namespace {

// A scan takes as long as it takes; its deadline holds for so many pages.
constexpr uint64_t kPagesPerCall = 16;

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryClient>> MemoryClient::New(const std::string& address, ClientOptions options) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, NewChannel(address, options.security.get()));
  return std::make_unique<MemoryClient>(std::move(channel), options);
}

MemoryClient::MemoryClient(std::shared_ptr<grpc::Channel> channel, ClientOptions options)
    : stub_(std::make_unique<Stub>(Stub{channel, Service::NewStub(channel)})), options_(options) {}

MemoryClient::~MemoryClient() = default;

absl::StatusOr<v1::InsertResponse> MemoryClient::Insert(v1::InsertRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  return UnaryCall(*stub_->service, options_, &Service::Stub::Insert, request);
}

absl::StatusOr<v1::DeleteResponse> MemoryClient::Delete(v1::DeleteRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  return UnaryCall(*stub_->service, options_, &Service::Stub::Delete, request);
}

absl::StatusOr<v1::RememberResponse> MemoryClient::Remember(v1::RememberRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  return UnaryCall(*stub_->service, options_, &Service::Stub::Remember, request);
}

absl::StatusOr<v1::GetResponse> MemoryClient::Get(const v1::GetRequest& request) {
  return UnaryCall(*stub_->service, options_, &Service::Stub::Get, request);
}

absl::StatusOr<v1::CountResponse> MemoryClient::Count(const v1::CountRequest& request) {
  return UnaryCall(*stub_->service, options_, &Service::Stub::Count, request);
}

absl::StatusOr<v1::GetReceiptResponse> MemoryClient::GetReceipt(const v1::GetReceiptRequest& request) {
  return UnaryCall(*stub_->service, options_, &Service::Stub::GetReceipt, request);
}

absl::StatusOr<v1::ListReceiptsResponse> MemoryClient::ListReceipts(const v1::ListReceiptsRequest& request) {
  return UnaryCall(*stub_->service, options_, &Service::Stub::ListReceipts, request);
}

absl::StatusOr<v1::QueryResponse> MemoryClient::Query(const v1::QueryRequest& request) {
  return UnaryCall(*stub_->service, options_, &Service::Stub::Query, request);
}

absl::Status MemoryClient::Scan(v1::ScanRequest request,
                                const std::function<absl::Status(v1::ScanResponse& page)>& page) {
  uint64_t remaining = request.page_limit() > 0 ? request.page_limit() : UINT64_MAX;
  absl::Status consumed;
  bool more = true;
  const auto read_pages = [&](grpc::ClientContext& context) {
    more = false;  // an answer without pages ends the scan too
    request.set_page_limit(static_cast<uint32_t>(std::min(remaining, kPagesPerCall)));
    auto reader = stub_->service->Scan(&context, request);
    v1::ScanResponse response;
    while (reader->Read(&response)) {
      request.set_page_token(response.next_page_token());
      more = !response.next_page_token().empty() && --remaining > 0;
      consumed = page(response);
      if (consumed.ok() && more) continue;
      context.TryCancel();
      static_cast<void>(reader->Finish());
      return grpc::Status::OK;
    }
    return reader->Finish();
  };
  while (more && consumed.ok()) RETURN_IF_ERROR(CallWithRetry(options_, read_pages));
  return consumed;
}

std::unique_ptr<InsertStream> MemoryClient::OpenInsertStream() {
  return std::make_unique<InsertStream>(stub_->channel, options_);
}

std::unique_ptr<QueryStream> MemoryClient::OpenQueryStream() {
  return std::make_unique<QueryStream>(stub_->channel, options_);
}

}  // namespace mneme
