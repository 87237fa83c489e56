#include "server/raw_message.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/limits.h"

namespace mneme {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// Messages within messages that the parser takes.
constexpr int kMaxDepth = 100;

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
    if (within == nullptr || depth == kMaxDepth) {
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

}  // namespace mneme
