#include "server/raw_message.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"

namespace mneme {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

// Bytes that are copied sooner than a slice of their own is made.
constexpr size_t kCopied = 16 * 1024;

// Takes the fields of a message from `left`; false when there are more. Stops where the bytes are no message: the
// parser will say so. What no field of ours is keeps its place in ram, so groups of old count by what is in them.
bool CountFields(CodedInputStream& in, const Descriptor& type, int depth, size_t& left) {
  while (const uint32_t tag = in.ReadTag()) {
    if (left == 0) return false;
    --left;
    const WireFormatLite::WireType wire = WireFormatLite::GetTagWireType(tag);
    if (wire == WireFormatLite::WIRETYPE_START_GROUP || wire == WireFormatLite::WIRETYPE_END_GROUP) continue;
    if (wire != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&in, tag)) return true;
      continue;
    }
    int size = 0;
    if (!in.ReadVarintSizeAsInt(&size)) return true;
    const FieldDescriptor* const field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const Descriptor* const within = field == nullptr ? nullptr : field->message_type();
    if (within == nullptr || depth == limits::kMaxMessageDepth) {
      if (!in.Skip(size)) return true;
      continue;
    }
    const CodedInputStream::Limit outer = in.PushLimit(size);
    if (!CountFields(in, *within, depth + 1, left)) return false;
    if (in.BytesUntilLimit() != 0) return true;
    in.PopLimit(outer);
  }
  return true;
}

bool FieldsAreBounded(const grpc::ByteBuffer& bytes, const Descriptor& type) {
  if (bytes.Length() <= limits::kMaxMessageFields) return true;
  grpc::ByteBuffer shared = bytes;  // a reference to the same slices
  grpc::ProtoBufferReader reader(&shared);
  CodedInputStream in(&reader);
  size_t left = limits::kMaxMessageFields;
  return CountFields(in, type, 0, left);
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  if (!FieldsAreBounded(bytes, *message->GetDescriptor())) {
    return WithReason(absl::InvalidArgumentError(absl::StrCat("the request has more than ", limits::kMaxMessageFields,
                                                              " fields; no ", message->GetTypeName(),
                                                              " needs so many")),
                      reason::kMalformedRequest);
  }
  grpc::ByteBuffer shared = bytes;
  grpc::ProtoBufferReader reader(&shared);
  if (reader.status().ok() && message->ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  return WithReason(absl::InvalidArgumentError(absl::StrCat("the request is not a valid ", message->GetTypeName())),
                    reason::kMalformedRequest);
}

absl::Status SerializeMessage(const google::protobuf::MessageLite& message, grpc::ByteBuffer* bytes) {
  bool own_buffer = false;
  bytes->Clear();
  const grpc::Status status =
      grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::MessageLite>(message, bytes, &own_buffer);
  if (status.ok()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("cannot serialise ", message.GetTypeName()));
}

absl::Status SerializeMessage(internal::v1::Answer&& answer, grpc::ByteBuffer* bytes) {
  const size_t size = answer.body().size();
  if (size < kCopied || size > size_t{std::numeric_limits<int>::max()}) {
    return SerializeMessage(static_cast<const google::protobuf::MessageLite&>(answer), bytes);
  }
  uint8_t head[16];
  uint8_t* end = WireFormatLite::WriteTagToArray(internal::v1::Answer::kBodyFieldNumber,
                                                 WireFormatLite::WIRETYPE_LENGTH_DELIMITED, head);
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(size), end);
  auto body = std::make_unique<std::string>(std::move(*answer.mutable_body()));
  const auto let_go = [](void* owned) { delete static_cast<std::string*>(owned); };
  const grpc::Slice slices[] = {{head, static_cast<size_t>(end - head)}, {body->data(), size, let_go, body.get()}};
  (void)body.release();
  grpc::ByteBuffer whole(slices, 2);
  bytes->Swap(&whole);
  return absl::OkStatus();
}

}  // namespace mneme
