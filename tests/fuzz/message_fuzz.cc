// Messages of calls as they arrive: u8 which | u8 how often | bytes, which stand so often one after the other, that
// there may be as many fields as a message may not have.
#include "server/raw_message.h"

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <memory>
#include <utility>
#include <vector>

#include "common/limits.h"
#include "mneme/internal/v1/shard.pb.h"
#include "mneme/v1/memory.pb.h"
#include "mneme/v1/working_memory.pb.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

enum Kind : uint8_t { kQuery, kInsert, kApply, kAnswer, kKinds };

// `how often` of these is: so often that there are more bytes than a message may have fields.
constexpr uint8_t kManyTimes = 0xff;

std::unique_ptr<google::protobuf::Message> MessageOf(uint8_t kind) {
  switch (kind) {
    case kQuery: return std::make_unique<v1::QueryRequest>();
    case kInsert: return std::make_unique<v1::InsertRequest>();
    case kApply: return std::make_unique<v1::ApplyRequest>();
    default: return std::make_unique<internal::v1::Answer>();
  }
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  Expect(buffer.Dump(&slices).ok(), "bytes can be looked at");
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

// An answer whose body is sent from where it lies is as any message is.
void Send(const internal::v1::Answer& answer) {
  for (const size_t more : {size_t{0}, size_t{16} << 10}) {
    internal::v1::Answer sent;
    sent.set_body(answer.body() + std::string(more, 'x'));
    const std::string bytes = sent.SerializeAsString();
    grpc::ByteBuffer buffer;
    Expect(SerializeMessage(std::move(sent), &buffer).ok() && BytesOf(buffer) == bytes, "an answer is sent as it is");
  }
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  const uint8_t times = in.Byte();
  std::string bytes(in.Rest());
  if (times == kManyTimes && !bytes.empty()) {
    const std::string once = bytes;
    bytes.reserve(limits::kMaxMessageFields + 2 * once.size());
    while (bytes.size() <= limits::kMaxMessageFields) bytes += once;
  }
  const grpc::Slice slices[] = {grpc::Slice(bytes.substr(0, bytes.size() / 2)),
                                grpc::Slice(bytes.substr(bytes.size() / 2))};
  const grpc::ByteBuffer buffer(slices, 2);
  const std::unique_ptr<google::protobuf::Message> message = MessageOf(kind);
  const absl::Status parsed = ParseMessage(buffer, message.get());
  if (!parsed.ok()) {
    ExpectRefusal(parsed, {absl::StatusCode::kInvalidArgument}, {"fields; no ", "is not a valid "});
    Expect(ReasonOf(parsed) == reason::kMalformedRequest, "what is no message is malformed");
    return false;
  }
  grpc::ByteBuffer sent;
  Expect(SerializeMessage(*message, &sent).ok() && BytesOf(sent) == message->SerializeAsString(),
         "a message is sent as it is");
  if (kind == kAnswer) Send(static_cast<internal::v1::Answer&>(*message));
  return true;
}

std::vector<std::string> Seeds() {
  const auto seed = [](Kind kind, uint8_t times, const google::protobuf::Message& message) {
    return std::string{static_cast<char>(kind), static_cast<char>(times)} + message.SerializeAsString();
  };
  v1::QueryRequest query;
  query.set_memory("wiki");
  query.set_k(10);
  query.mutable_keys()->set_data("12345678");
  query.mutable_neighbours()->set_with_keys(true);
  v1::InsertRequest insert;
  insert.set_memory("wiki");
  insert.mutable_entries()->mutable_values()->mutable_blobs()->set_data(std::string(300, 'x'));
  v1::ApplyRequest apply;
  v1::StateOperation& put = *apply.add_operations();
  put.set_session("agent/1");
  put.mutable_register_put()->set_value("text");
  internal::v1::Answer answer;
  answer.set_body("body");
  return {seed(kQuery, 1, query),           seed(kQuery, kManyTimes, query), seed(kInsert, kManyTimes, insert),
          seed(kApply, 1, apply),           seed(kAnswer, 1, answer)};
}

const Registration kTarget({"message", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
