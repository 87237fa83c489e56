// Each replica of each shard is asked what it is, all at once. Digests of a shard are of one offset of its log: its
// end, or, where a replica has passed that by the time that it is asked, one ahead of it. What is missing up to there
// is filled with markers, which change nothing.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cluster/remote_deployment_state.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/flat_checkpoints.h"
#include "engine/log_record.h"

namespace mneme {
namespace {

using Async = ShardChannel::Async;
using Stub = ShardChannel::Stub;
using Steady = std::chrono::steady_clock;

// What a replica says of itself it has at hand.
constexpr std::chrono::seconds kDescribeWithin{2};
// Until all replicas of a shard have come to the offset: one that lags further has no digest.
constexpr std::chrono::seconds kTakeWithin{30};
// Names come beside the log: until all replicas have heard of a memory that was made, or dropped.
constexpr std::chrono::seconds kNamesWithin{2};
// Offsets beyond the end of the log, at each try: none, for a log that nobody writes to.
constexpr LogOffset kAhead[] = {0, 64, 512, 4096};

// A digest of one replica, which another thread asks for.
struct Asked {
  const std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);
  std::atomic<bool> waits{false};  // it will hold its log up at the offset
  std::atomic<bool> taken{false};  // it no longer changes what is read
  std::atomic<bool> ended{false};
  absl::StatusOr<ShardDigest> digest = absl::UnknownError("not asked");
  std::thread thread = {};
};

// The digests of the replicas of one shard at one offset.
class DigestRound {
 public:
  DigestRound(const ShardChannel& shard, std::optional<LogOffset> at, const CallLimits& limits)
      : shard_(shard), at_(at), deadline_(limits.deadline), asked_(limits::kMaxReplicas) {}
  ~DigestRound() {
    for (const Asked& asked : asked_) asked.cancelled->store(true);
    for (Asked& asked : asked_) {
      if (asked.thread.joinable()) asked.thread.join();
    }
  }

  void Ask(uint32_t replica) {
    asked_[replica].thread = std::thread([this, replica] {
      Asked& asked = asked_[replica];
      asked.digest = Read(replica, asked);
      asked.ended = true;
    });
  }
  // Those that have not come to the offset need not go on.
  void CancelUntaken() {
    for (const Asked& asked : asked_) {
      if (!asked.taken) asked.cancelled->store(true);
    }
  }
  // Of those that were asked.
  bool AllTaken() const {
    return std::all_of(asked_.begin(), asked_.end(), [](const Asked& asked) {
      return asked.taken || asked.ended || !asked.thread.joinable();
    });
  }
  // Before that the log must not be filled up to the offset: one that gets ready for it would find that gone by.
  bool AllWait() const {
    return std::all_of(asked_.begin(), asked_.end(), [](const Asked& asked) {
      return asked.waits || asked.ended || !asked.thread.joinable();
    });
  }
  bool AllEnded() const {
    return std::all_of(asked_.begin(), asked_.end(),
                       [](const Asked& asked) { return asked.ended || !asked.thread.joinable(); });
  }
  // Whether one has gone beyond the offset.
  bool Missed() const {
    return std::any_of(asked_.begin(), asked_.end(), [](const Asked& asked) {
      return asked.ended && absl::IsOutOfRange(asked.digest.status());
    });
  }
  // Of one that has ended.
  const absl::StatusOr<ShardDigest>& digest(uint32_t replica) const { return asked_[replica].digest; }

 private:
  absl::StatusOr<ShardDigest> Read(uint32_t replica, Asked& asked) const {
    std::optional<ShardDigest> digest;
    const auto hear = [&](std::string_view bytes) -> absl::Status {
      FlatProgress progress;
      RETURN_IF_ERROR(Unflat(bytes, progress, digest));
      asked.waits = true;
      if (progress.stage != "waiting") asked.taken = true;
      return absl::OkStatus();
    };
    CallLimits limits;
    limits.deadline = deadline_;
    limits.cancelled = asked.cancelled;
    RETURN_IF_ERROR(shard_.AskForMany(&Stub::Digest, Question(Flat(at_), replica), limits, hear));
    if (digest.has_value()) return *digest;
    return absl::DataLossError("it did not say what its digest is");
  }

  const ShardChannel& shard_;
  const std::optional<LogOffset> at_;
  const Steady::time_point deadline_;
  std::vector<Asked> asked_;  // by replica
};

// What is known of the replicas of one shard, and asked of them.
class ShardSurvey {
 public:
  ShardSurvey(const ShardChannel& shard, ShardLog* log, std::function<std::string()> marker,
              const ReplicaQuestion& question)
      : shard_(shard), log_(log), marker_(std::move(marker)), question_(question) {
    for (ShardChannel::Place& place : shard.places()) {
      ReplicaDescription& told = replicas_.emplace_back();
      told.shard = shard.number();
      told.replica = place.replica;
      told.address = std::move(place.address);
    }
  }

  // Asks all of them, and does not wait.
  void Begin() {
    for (const ReplicaDescription& replica : replicas_) {
      asked_.push_back(shard_.AskAhead(&Async::DescribeReplica, Question(Flat(), replica.replica),
                                       question_.limits.Within(kDescribeWithin)));
    }
  }
  absl::StatusOr<std::vector<ReplicaDescription>> Finish() {
    for (size_t at = 0; at < replicas_.size(); ++at) Hear(replicas_[at], asked_[at].get());
    if (log_ != nullptr) {
      const absl::StatusOr<LogOffset> end = log_->End(question_.limits.Within(kDescribeWithin));
      // One that is ahead of a front end's brokers knows more.
      for (ReplicaDescription& told : replicas_) {
        if (end.ok() && told.state != ReplicaState::kAway) told.log_end = std::max(*end, told.log_end);
      }
    }
    if (question_.digests) RETURN_IF_ERROR(Digest());
    return std::move(replicas_);
  }

 private:
  static void Hear(ReplicaDescription& told, const absl::StatusOr<std::string>& answer) {
    // Where this process reaches it, and that may be by another address than others do.
    const std::string address = told.address;
    const absl::Status read = answer.ok() ? Unflat(*answer, told) : answer.status();
    told.address = address;
    if (read.ok()) return;
    told.state = ReplicaState::kAway;
    told.detail = std::string(read.message());
  }
  static bool Answers(const ReplicaDescription& replica) {
    return replica.state == ReplicaState::kServing || replica.state == ReplicaState::kLost;
  }

  // What differs is asked once more: a replica that heard of a memory a moment before another differs from it in that.
  absl::Status Digest() {
    RETURN_IF_ERROR(DigestOnce());
    if (log_ == nullptr || !Differ()) return absl::OkStatus();
    std::this_thread::sleep_for(kNamesWithin);
    return DigestOnce();
  }
  bool Differ() const {
    const std::optional<ShardDigest>* first = nullptr;
    for (const ReplicaDescription& told : replicas_) {
      if (!told.digest.has_value()) continue;
      if (first == nullptr) first = &told.digest;
      if (!(*told.digest == **first)) return true;
    }
    return false;
  }
  absl::Status DigestOnce() {
    if (log_ == nullptr) return Round(std::nullopt, /*last=*/true).status();
    for (const LogOffset ahead : kAhead) {
      ASSIGN_OR_RETURN(const LogOffset end, log_->End(question_.limits.Within(kDescribeWithin)));
      ASSIGN_OR_RETURN(const bool all, Round(end + ahead, ahead == kAhead[std::size(kAhead) - 1]));
      if (all) return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  // False when a replica has gone beyond `at`, and it is not the last round.
  absl::StatusOr<bool> Round(std::optional<LogOffset> at, bool last) {
    DigestRound round(shard_, at, question_.limits);
    for (const ReplicaDescription& told : replicas_) {
      if (Answers(told)) round.Ask(told.replica);
    }
    const auto late = Steady::now() + kTakeWithin;
    bool waits = true;  // for the log to come to the offset
    while (!round.AllEnded()) {
      RETURN_IF_ERROR(question_.limits.Check());
      if (round.Missed() && !last) return false;
      if (Steady::now() > late && !round.AllTaken()) round.CancelUntaken();
      if (at.has_value() && waits && round.AllWait() && !round.AllTaken()) {
        ASSIGN_OR_RETURN(waits, Fill(*at));
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    }
    if (round.Missed() && !last) return false;
    for (ReplicaDescription& told : replicas_) {
      if (!Answers(told)) continue;
      const absl::StatusOr<ShardDigest>& digest = round.digest(told.replica);
      if (digest.ok()) {
        told.digest = *digest;
        told.detail.clear();
      } else {
        told.digest.reset();
        told.detail = absl::StrCat("no digest: ", digest.status().message());
      }
    }
    return true;
  }

  // Appends markers where the log ends before `at`; whether it ended before it.
  absl::StatusOr<bool> Fill(LogOffset at) {
    const CallLimits limits = question_.limits.Within(kDescribeWithin);
    ASSIGN_OR_RETURN(const LogOffset end, log_->End(limits));
    if (end >= at) return false;
    std::vector<std::future<absl::Status>> appended;
    for (LogOffset left = at - end; left > 0; --left) {
      const auto told = std::make_shared<std::promise<absl::Status>>();
      appended.push_back(told->get_future());
      log_->Append(marker_(), [told](const absl::StatusOr<LogOffset>& offset) { told->set_value(offset.status()); });
    }
    for (std::future<absl::Status>& each : appended) RETURN_IF_ERROR(each.get());
    return true;
  }

  const ShardChannel& shard_;
  ShardLog* const log_;  // null: the shard has none
  const std::function<std::string()> marker_;
  const ReplicaQuestion& question_;
  std::vector<ReplicaDescription> replicas_;
  std::vector<std::future<absl::StatusOr<std::string>>> asked_;
};

}  // namespace

absl::Status RemoteDeployment::DescribeReplicas(const ReplicaQuestion& question, const ReplicaSink& each) const {
  if (question.digests && !state_->logs.empty()) RETURN_IF_ERROR(state_->watch->CheckClock());
  std::vector<std::unique_ptr<ShardSurvey>> surveys;
  for (const uint32_t number : state_->shards.all()) {
    const auto marker = [this] {
      LogRecord record;
      record.deployment = identity();
      record.stamp_ms = state_->clock.NowMs();
      record.operation = ReadMarker{};
      return EncodeLogRecord(record);
    };
    ShardLog* const log = state_->logs.empty() ? nullptr : state_->logs[number].get();
    surveys.push_back(std::make_unique<ShardSurvey>(state_->shards.shard(number), log, marker, question));
    surveys.back()->Begin();
  }
  for (const auto& survey : surveys) {
    ASSIGN_OR_RETURN(const std::vector<ReplicaDescription> replicas, survey->Finish());
    for (const ReplicaDescription& replica : replicas) RETURN_IF_ERROR(each(replica));
  }
  return absl::OkStatus();
}

}  // namespace mneme
