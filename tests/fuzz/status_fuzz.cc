// Errors of calls, as another process or a server sends them: u8 who hears | u8 code | u8 length | message | details.
#include "client/rpc_status.h"
#include "cluster/wire_status.h"
#include "common/error_reason.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/fuzz/fuzz.h"

#include <grpcpp/support/status.h>

namespace mneme::fuzz {
namespace {

enum Kind : uint8_t { kProcess, kClient, kKinds };

constexpr uint8_t kCodes = 17;

bool OfProcess(const grpc::Status& sent) {
  const absl::Status heard = FromGrpcStatus(sent, "shard 3");
  Expect(heard.ok() == sent.ok(), "an error is one");
  if (sent.ok()) return !IsAway(sent);
  const auto code = static_cast<absl::StatusCode>(sent.error_code());
  const bool shut_out = absl::IsUnavailable(heard) && (code == absl::StatusCode::kUnauthenticated ||
                                                       code == absl::StatusCode::kPermissionDenied);
  Expect(heard.code() == code || shut_out, "an error has its code");
  Expect(!absl::IsUnavailable(heard) || ReasonOf(heard) == reason::kShardUnavailable, "what is away has its reason");
  static_cast<void>(IsAway(sent));
  return true;
}

bool OfClient(const grpc::Status& sent) {
  const absl::Status heard = ToAbslStatus(sent);
  Expect(heard.ok() == sent.ok(), "an error is one");
  if (sent.ok()) return true;
  Expect(heard.code() == static_cast<absl::StatusCode>(sent.error_code()), "an error has its code");
  Expect(IsRpcError(heard), "an error is of a call");
  static_cast<void>(RetryDelay(heard));
  return true;
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  const auto code = static_cast<grpc::StatusCode>(in.Byte() % kCodes);
  const std::string message(in.Bytes(in.Byte()));
  const std::string details(in.Rest());
  // An empty detail is two bytes, and a message that is kept once or twice.
  const AllocationBound bound(64 * 1024 + 64 * input.size());
  const grpc::Status sent(code, message, details);
  return kind == kProcess ? OfProcess(sent) : OfClient(sent);
}

std::string Seed(Kind kind, absl::StatusCode code, const std::string& message, const google::rpc::Status& details) {
  return std::string{static_cast<char>(kind), static_cast<char>(code), static_cast<char>(message.size())} + message +
         details.SerializeAsString();
}

std::vector<std::string> Seeds() {
  google::rpc::Status details;
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("k");
  bad.mutable_field_violations(0)->set_description("is 5000; must be in [1, 4096]");
  details.add_details()->PackFrom(bad);
  google::rpc::ErrorInfo info;
  info.set_reason("REPLICA_LAGGING");
  details.add_details()->PackFrom(info);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  details.add_details()->PackFrom(retry);
  google::rpc::Status starting;
  info.set_reason("STARTING");
  starting.add_details()->PackFrom(info);
  std::vector<std::string> seeds;
  for (const Kind kind : {kProcess, kClient}) {
    seeds.push_back(Seed(kind, absl::StatusCode::kInvalidArgument, "k is 5000", details));
    seeds.push_back(Seed(kind, absl::StatusCode::kUnavailable, "it starts", starting));
    seeds.push_back(Seed(kind, absl::StatusCode::kPermissionDenied, "", {}));
    seeds.push_back(Seed(kind, absl::StatusCode::kDeadlineExceeded, "late", {}));
    seeds.push_back(Seed(kind, absl::StatusCode::kInternal, "", details));
    seeds.push_back(Seed(kind, absl::StatusCode::kOk, "", {}));
  }
  return seeds;
}

const Registration kTarget({"status", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
