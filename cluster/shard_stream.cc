#include "cluster/shard_stream.h"

#include <utility>

#include "cluster/wire_status.h"
#include "common/error_reason.h"

namespace mneme {

ShardStream::ShardStream(const ShardChannel& channel, ShardChannel::StreamMethod method, Question question,
                         CallLimits limits)
    : channel_(channel), method_(method), limits_(std::move(limits)),
      call_(channel.MakeCall(std::move(question.body))),
      replica_(question.replica == kAnyReplica ? channel.at() : question.replica),
      others_(question.replica == kAnyReplica ? channel.replicas() - 1 : 0) {
  Begin();
}

ShardStream::~ShardStream() {
  if (reader_ == nullptr) return;
  context_->TryCancel();
  (void)reader_->Finish();
}

void ShardStream::Begin() {
  context_ = MakeContext(limits_);
  channel_.canceller().Watch(limits_.cancelled, context_);
  reader_ = (*channel_.replicas_[replica_].stub.*method_)(context_.get(), call_);
}

absl::StatusOr<std::optional<std::string>> ShardStream::Next() {
  while (reader_ != nullptr) {
    internal_wire::Answer answer;
    if (reader_->Read(&answer)) {
      heard_ = true;
      return std::optional<std::string>(std::move(*answer.mutable_body()));
    }
    const absl::Status ended = FromGrpcStatus(reader_->Finish(), channel_.replicas_[replica_].name);
    reader_.reset();
    if (ended.ok()) break;
    if (ReasonOf(ended) == reason::kReplicaLagging) lags_ = ended;
    const bool goes_on = channel_.Leaves(replica_, ended) && !heard_ && others_ != 0 && limits_.Check().ok();
    if (!goes_on) return absl::IsUnavailable(ended) && !heard_ && !lags_.ok() ? lags_ : ended;
    replica_ = channel_.Next(replica_);
    --others_;
    Begin();
  }
  return std::optional<std::string>();
}

}  // namespace mneme
