// MemoryClient: mneme.v1.MemoryService as C++ methods.
#ifndef MNEME_CLIENT_MEMORY_CLIENT_H_
#define MNEME_CLIENT_MEMORY_CLIENT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/channel.h"
#include "client/insert_stream.h"
#include "client/query_stream.h"
#include "mneme/v1/memory.pb.h"

namespace mneme {

// The data plane of one server, one method per RPC. Every call has the deadline of the options; UNAVAILABLE, and
// RESOURCE_EXHAUSTED where the server says when, are tried again with the same request id, so that a write is applied
// once. Errors are the server's, with the first field violation in the message (rpc_status.h).
// Thread-safe. The streams that it opens may outlive it.
class MemoryClient {
 public:
  // Does not connect yet. Returns INVALID_ARGUMENT if the address is neither HOST:PORT nor unix:PATH.
  static absl::StatusOr<std::unique_ptr<MemoryClient>> New(const std::string& address, ClientOptions options = {});
  // Over a channel that other clients share.
  explicit MemoryClient(std::shared_ptr<grpc::Channel> channel, ClientOptions options = {});
  ~MemoryClient();

  // A request id is drawn where `request` has none.
  absl::StatusOr<v1::InsertResponse> Insert(v1::InsertRequest request);
  absl::StatusOr<v1::DeleteResponse> Delete(v1::DeleteRequest request);
  absl::StatusOr<v1::RememberResponse> Remember(v1::RememberRequest request);

  absl::StatusOr<v1::GetResponse> Get(const v1::GetRequest& request);
  absl::StatusOr<v1::CountResponse> Count(const v1::CountRequest& request);
  absl::StatusOr<v1::GetReceiptResponse> GetReceipt(const v1::GetReceiptRequest& request);
  // One page.
  absl::StatusOr<v1::ListReceiptsResponse> ListReceipts(const v1::ListReceiptsRequest& request);
  absl::StatusOr<v1::QueryResponse> Query(const v1::QueryRequest& request);

  // Hands every page to `page`, whose error ends the scan and is returned. Goes on after the last page when the
  // connection is lost on the way.
  absl::Status Scan(v1::ScanRequest request, const std::function<absl::Status(v1::ScanResponse& page)>& page);

  // Opens a stream; errors of the connection come with its first use.
  std::unique_ptr<InsertStream> OpenInsertStream();
  std::unique_ptr<QueryStream> OpenQueryStream();

 private:
  struct Stub;  // keeps gRPC out of this header
  const std::unique_ptr<Stub> stub_;
  const ClientOptions options_;
};

}  // namespace mneme

#endif  // MNEME_CLIENT_MEMORY_CLIENT_H_
