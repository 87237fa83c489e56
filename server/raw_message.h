// Messages in and out of raw calls: the bytes as they arrived, so that what does not parse is our error to tell.
#ifndef MNEME_SERVER_RAW_MESSAGE_H_
#define MNEME_SERVER_RAW_MESSAGE_H_

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include <exception>
#include <new>
#include <utility>

#include "absl/status/status.h"
#include "mneme/internal/v1/shard.pb.h"
#include "server/request_error.h"

namespace mneme {

// INVALID_ARGUMENT (MALFORMED_REQUEST) when `bytes` are no such message, or have more than kMaxMessageFields: that is
// found before any of them takes ram.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);
// Serialises straight into the slices that gRPC sends.
absl::Status SerializeMessage(const google::protobuf::MessageLite& message, grpc::ByteBuffer* bytes);
// As that does, of an answer between processes: its body is not copied, it is sent from where it lies.
absl::Status SerializeMessage(internal::v1::Answer&& answer, grpc::ByteBuffer* bytes);

// Runs `f`, which returns a Status, and turns what it throws into one: an allocation that fails is RESOURCE_EXHAUSTED,
// anything else INTERNAL. Nothing that a client sends may end the process.
template <typename F>
absl::Status Guard(F&& f) {
  try {
    return std::forward<F>(f)();
  } catch (const std::bad_alloc&) {
    return WithReason(absl::ResourceExhaustedError("out of ram"), reason::kMemoryLimit);
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace mneme

#endif  // MNEME_SERVER_RAW_MESSAGE_H_
