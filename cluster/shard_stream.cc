#include "cluster/shard_stream.h"

#include <utility>

#include "common/error_reason.h"
#include "common/status_macros.h"

namespace mneme {

ShardStream::ShardStream(const ShardChannel& channel, ShardChannel::StreamMethod method, Question question,
                         CallLimits limits)
    : channel_(channel), method_(method), limits_(std::move(limits)),
      call_(channel.MakeCall(std::move(question.body))),
      replicas_(channel.Now()),
      replica_(question.replica == kAnyReplica ? channel.AtIn(*replicas_) : question.replica),
      others_(question.replica == kAnyReplica ? ShardChannel::CountIn(*replicas_) - 1 : 0) {
  Begin();
}

ShardStream::~ShardStream() {
  if (reader_ == nullptr) return;
  context_->TryCancel();
  (void)reader_->Finish();
}

void ShardStream::Begin() {
  const ShardChannel::ReplicaHandle replica = ShardChannel::FindIn(*replicas_, replica_);
  if (replica == nullptr) {
    gone_ = channel_.NoReplica(replica_);
    return;
  }
  context_ = MakeContext(limits_);
  channel_.canceller().Watch(limits_.cancelled, context_);
  reader_ = (*replica->stub.*method_)(context_.get(), call_);
}

absl::StatusOr<std::optional<std::string>> ShardStream::Next() {
  RETURN_IF_ERROR(std::exchange(gone_, absl::OkStatus()));
  while (reader_ != nullptr) {
    internal_wire::Answer answer;
    if (reader_->Read(&answer)) {
      heard_ = true;
      return std::optional<std::string>(std::move(*answer.mutable_body()));
    }
    const absl::Status ended = channel_.Ended(reader_->Finish(), (*replicas_)[replica_]->name, limits_);
    reader_.reset();
    if (ended.ok()) break;
    if (IsLagging(ended)) lags_ = ended;
    const bool goes_on = channel_.Leaves(replica_, ended) && !heard_ && others_ != 0 && limits_.Check().ok();
    if (!goes_on) return absl::IsUnavailable(ended) && !heard_ && !lags_.ok() ? lags_ : ended;
    replica_ = ShardChannel::NextIn(*replicas_, replica_);
    --others_;
    Begin();
  }
  return std::optional<std::string>();
}

}  // namespace mneme
