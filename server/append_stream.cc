#include "server/append_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "engine/flat_commands.h"
#include "engine/log_record.h"
#include "mneme/internal/v1/shard.pb.h"
#include "server/hosted_shard.h"
#include "server/raw_message.h"

namespace mneme {
namespace {

WriteOperation ToWrite(LoggedOperation operation) {
  if (auto* insert = std::get_if<InsertOperation>(&operation)) return std::move(*insert);
  if (auto* erase = std::get_if<DeleteOperation>(&operation)) return std::move(*erase);
  if (auto* remember = std::get_if<RememberOperation>(&operation)) return std::move(*remember);
  return std::move(std::get<StateOperation>(operation));
}

// That the keys of a write are keys of its memory: the writer of a shard takes that for granted.
absl::Status CheckKeys(const MemorySpec& spec, const LoggedOperation& operation) {
  const auto* insert = std::get_if<InsertOperation>(&operation);
  const auto* remember = std::get_if<RememberOperation>(&operation);
  bool fits = true;
  if (insert != nullptr) {
    fits = insert->entries.keys.size() == insert->entries.count * spec.KeyBytes() &&
           insert->entries.values.width == spec.ValueBytes();
  }
  if (remember != nullptr) {
    fits = remember->batch.queries.size() == remember->batch.count * spec.dimension * sizeof(float);
  }
  return fits ? absl::OkStatus() : absl::InvalidArgumentError("a log record holds no keys of its memory");
}

}  // namespace

AppendStream* AppendStream::Start(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request) {
  const auto stream = std::make_shared<AppendStream>(front_end, method, context);
  stream->self_ = stream;
  const absl::Status status = Guard([&] { return stream->Submit(*request); });
  status.ok() ? stream->Accepted() : stream->End(status);
  return stream.get();
}

AppendStream::AppendStream(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context)
    : front_end_(front_end), limits_(LimitsOf(*context, nullptr)), record_(front_end, method, *context) {}

absl::Status AppendStream::Submit(const grpc::ByteBuffer& bytes) {
  RETURN_IF_ERROR(limits_.Check());
  internal::v1::AppendRequest request;
  {
    absl::MutexLock lock(&mutex_);
    RETURN_IF_ERROR(record_.CheckCaller());
    RETURN_IF_ERROR(record_.Admit(bytes, &request));
  }
  ASSIGN_OR_RETURN(Deployment * deployment, front_end_.deployment());
  LocalDeployment& shard = Hosted(*deployment);
  RETURN_IF_ERROR(CheckTarget(shard, request.target()));
  ASSIGN_OR_RETURN(LogRecord record, DecodeLogRecord(request.record()));
  WriteTicket* const ticket = TicketOf(record.operation);
  if (ticket == nullptr) return absl::InvalidArgumentError("a record of the catalogue is no write of a shard");
  ASSIGN_OR_RETURN(ticket->memory, FindNumber(shard, record.memory));
  RETURN_IF_ERROR(CheckStamp(record.stamp_ms, SystemClock().NowMs()));
  RETURN_IF_ERROR(CheckKeys(ticket->memory->spec, record.operation));
  const auto durability = static_cast<Durability>(request.durability());
  if (durability != Durability::kWritten && durability != Durability::kSync) {
    return absl::InvalidArgumentError(absl::StrCat("durability is ", request.durability(), "; must be 1 or 2"));
  }
  ticket->durability = durability;
  ticket->stamp_ms = record.stamp_ms;
  const auto self = shared_from_this();
  if (request.tell_visible()) ticket->visible = [self] { self->Visible(); };
  ticket->done = [self](absl::StatusOr<WriteResult> result) { self->End(std::move(result)); };
  return shard.Append(ToWrite(std::move(record.operation)));
}

void AppendStream::Accepted() {
  absl::MutexLock lock(&mutex_);
  accepted_ = true;
  Advance();
}

void AppendStream::Visible() {
  absl::MutexLock lock(&mutex_);
  visible_ = true;
  Advance();
}

void AppendStream::End(absl::StatusOr<WriteResult> result) {
  absl::MutexLock lock(&mutex_);
  ended_ = std::move(result);
  Advance();
}

void AppendStream::OnWriteDone(bool) {
  const auto keep = shared_from_this();  // beyond the lock
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  Advance();
}

void AppendStream::Advance() {
  if (writing_ || finished_) return;
  internal::v1::AppendAnswer answer;
  if ((accepted_ || visible_) && !ended_.has_value()) {
    answer.set_visible(visible_);
    accepted_ = false;
    visible_ = false;
    if (!SerializeMessage(answer, &outgoing_).ok()) return;
    writing_ = true;
    return StartWrite(&outgoing_);
  }
  if (!ended_.has_value()) return;
  finished_ = true;
  absl::Status status = ended_->status();
  if (status.ok()) {
    answer.set_visible(visible_);
    answer.set_result(Flat(**ended_));
    status = SerializeMessage(answer, &outgoing_);
  }
  if (!status.ok()) return Finish(record_.Finish(status));
  StartWriteAndFinish(&outgoing_, grpc::WriteOptions(), record_.Finish(status));
}

}  // namespace mneme
