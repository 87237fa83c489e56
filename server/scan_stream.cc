#include "server/scan_stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_columns.h"
#include "server/convert_entries.h"
#include "server/convert_selection.h"
#include "server/find_memory.h"
#include "server/raw_message.h"

namespace mneme {
namespace {

// Id and the columns that most entries have.
constexpr size_t kAttributeBytes = 64;

size_t DefaultPage(const MemorySpec& spec, bool with_keys) {
  const size_t entry = kAttributeBytes + (with_keys ? spec.KeyBytes() : 0) + spec.ValueBytes();
  return std::clamp<size_t>(limits::kScanPageBytes / entry, 1, limits::kMaxScanPage);
}

}  // namespace

ScanStream* ScanStream::Start(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context,
                              const grpc::ByteBuffer* request) {
  auto* stream = new ScanStream(front_end, method, context);
  const absl::Status status = Guard([&] { return stream->Prepare(*request); });
  if (status.ok()) {
    stream->NextPage();
  } else {
    stream->End(status);
  }
  return stream;
}

ScanStream::ScanStream(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context)
    : front_end_(front_end),
      record_(front_end, method, *context),
      held_(front_end.held_answers(), context->c_call(), record_.CallerName()) {
  command_.limits = LimitsOf(*context, cancelled_);
}

absl::Status ScanStream::Prepare(const grpc::ByteBuffer& bytes) {
  RETURN_IF_ERROR(record_.CheckCaller());
  RETURN_IF_ERROR(command_.limits.Check());
  RETURN_IF_ERROR(record_.Admit(bytes, &request_));
  ASSIGN_OR_RETURN(deployment_, front_end_.deployment());
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(*deployment_, request_.memory()));
  memory_ = *memory;
  return ReadRequest(memory);
}

absl::Status ScanStream::ReadRequest(const MemoryHandle& memory) {
  RETURN_IF_ERROR(ReadPartitions("partitions", request_.partitions(), command_.partitions));
  several_partitions_ = CoversSeveral(command_.partitions) ||
                        (!command_.partitions.partitions.empty() && command_.partitions.partitions.front() != 0);
  RETURN_IF_ERROR(ReadFilter("filter", request_.filter(), command_.filter));
  if (request_.page_size() > limits::kMaxScanPage) {
    return FieldError("page_size",
                      absl::StrCat("is ", request_.page_size(), "; must be at most ", limits::kMaxScanPage));
  }
  command_.with_keys = request_.with_keys();
  command_.page_size =
      request_.page_size() != 0 ? request_.page_size() : DefaultPage(memory_.spec, command_.with_keys);
  if (!request_.page_token().empty()) {
    absl::StatusOr<ScanPosition> from = deployment_->DecodeScanPosition(memory, request_.page_token());
    if (absl::IsInvalidArgument(from.status())) return FieldError("page_token", "is not one that this memory gave");
    if (!from.ok()) return from.status();
    command_.from = *from;
  }
  ASSIGN_OR_RETURN(command_.at_least, ReadVersion(*deployment_, memory, request_.at_least_version()));
  return absl::OkStatus();
}

void ScanStream::NextPage() {
  const absl::Status accepted = front_end_.calls().Submit([this] {
    const absl::Status status = Guard([this] { return ReadPage(); });
    if (status.ok()) {
      StartWrite(&outgoing_);
    } else {
      End(WithMemory(status, memory_));
    }
  });
  if (!accepted.ok()) End(accepted);
}

absl::Status ScanStream::ReadPage() {
  RETURN_IF_ERROR(command_.limits.Check());
  RETURN_IF_ERROR(record_.Authorize(request_));  // he may have lost his right since
  v1::ScanResponse response;
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindAgain(*deployment_, memory_));
  RETURN_IF_ERROR(ReadFittingPage(memory, response));
  ++pages_;
  last_page_ = response.next_page_token().empty() || pages_ == request_.page_limit();
  RETURN_IF_ERROR(SerializeMessage(response, &outgoing_));
  RETURN_IF_ERROR(held_.Give(outgoing_.Length(), /*wrote=*/false));
  record_.TakeAnswer(outgoing_.Length());
  return absl::OkStatus();
}

absl::Status ScanStream::ReadFittingPage(const MemoryHandle& memory, v1::ScanResponse& response) {
  while (true) {
    ASSIGN_OR_RETURN(const ScanPage page, deployment_->Scan(memory, command_));
    response.Clear();
    WriteEntries(page.entries, memory->spec, response.mutable_entries());
    if (several_partitions_) WriteColumn(page.partitions, response.mutable_partitions());
    if (page.next.has_value()) response.set_next_page_token(deployment_->EncodeScanPosition(*page.next));
    if (response.ByteSizeLong() <= limits::kMaxMessageBytes || command_.page_size == 1) {
      command_.from = page.next;
      return absl::OkStatus();
    }
    command_.page_size /= 2;
  }
}

void ScanStream::OnWriteDone(bool ok) {
  held_.Taken();
  if (!ok) return End(absl::CancelledError("the client is gone"));
  if (last_page_) return End(absl::OkStatus());
  outgoing_.Clear();
  pause_.Then(record_, command_.limits, [this] { NextPage(); });
}

}  // namespace mneme
