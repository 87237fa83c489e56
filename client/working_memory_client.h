// WorkingMemoryClient: mneme.v1.WorkingMemoryService as C++ methods.
#ifndef MNEME_CLIENT_WORKING_MEMORY_CLIENT_H_
#define MNEME_CLIENT_WORKING_MEMORY_CLIENT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/channel.h"
#include "mneme/v1/working_memory.pb.h"

namespace mneme {

// The working memory of one server, one method per RPC; deadlines, retries and errors as in MemoryClient. Thread-safe.
class WorkingMemoryClient {
 public:
  // Does not connect yet. Returns INVALID_ARGUMENT if the address is neither HOST:PORT nor unix:PATH.
  static absl::StatusOr<std::unique_ptr<WorkingMemoryClient>> New(const std::string& address,
                                                                  ClientOptions options = {});
  // Over a channel that other clients share.
  explicit WorkingMemoryClient(std::shared_ptr<grpc::Channel> channel, ClientOptions options = {});
  ~WorkingMemoryClient();

  // Writes; a request id is drawn where `request` has none. A refused operation fails no call: see ResultStatus.
  absl::StatusOr<v1::ApplyResponse> Apply(v1::ApplyRequest request);
  absl::StatusOr<v1::ResetSessionsResponse> ResetSessions(v1::ResetSessionsRequest request);
  absl::StatusOr<v1::ForkSessionResponse> ForkSession(v1::ForkSessionRequest request);
  absl::StatusOr<v1::PutSessionResponse> PutSession(v1::PutSessionRequest request);

  absl::StatusOr<v1::GetSessionResponse> GetSession(const v1::GetSessionRequest& request);
  absl::StatusOr<v1::MaskTokensResponse> MaskTokens(const v1::MaskTokensRequest& request);

  // Hands every page to `page`, whose error ends the list and is returned.
  absl::Status ListSessions(v1::ListSessionsRequest request,
                            const std::function<absl::Status(const v1::ListSessionsResponse& page)>& page);

 private:
  struct Stub;  // keeps gRPC out of this header
  const std::unique_ptr<Stub> stub_;
  const ClientOptions options_;
};

// Why the server did not apply an operation, as the status of a call would be, with its reason; OK where it did.
absl::Status ResultStatus(const v1::StateResult& result);

}  // namespace mneme

#endif  // MNEME_CLIENT_WORKING_MEMORY_CLIENT_H_
