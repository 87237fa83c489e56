#include "cluster/remote_query.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "cluster/remote_leases.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/candidates.h"
#include "engine/flat_commands.h"
#include "index/search.h"

namespace mneme {
namespace {

using Async = ShardChannel::Async;
using Answers = ShardFan::Answers;
using Bodies = std::vector<std::string>;
using Duration = std::chrono::steady_clock::duration;
// Bytes of a neighbour beside its value.
constexpr uint64_t kNeighbourBytes = 64;
// Around the keys of a query and what is to be made of its neighbours.
constexpr size_t kAroundBytes = 1024;
// Of what a shard has read out: they are copied three times on their way to the client, which takes as long as a search
// thread takes to wake. gRPC has as few threads as two, which longer answers would keep from others.
constexpr size_t kMostPassedOnBytes = 128 * 1024;

// Whether what shards find is put together here, or added to; else one shard has all of it.
bool IsMerged(const QueryCommand& command, size_t shards) { return shards > 1 || !command.extra_offsets.empty(); }

// What a query asks of each shard, and what each may answer. What is found of every entry has a bound of its own.
uint64_t HeldBytes(const MemoryRecord& memory, const QueryCommand& command, size_t shards) {
  uint64_t bytes = command.queries.size();
  if (command.read_out != nullptr && !IsMerged(command, shards)) {
    bytes += command.read_out_bytes;
  } else if (command.k != limits::kEveryEntry) {
    const uint64_t key = command.with_keys ? memory.spec.KeyBytes() : 0;
    bytes += uint64_t{command.count} * command.k * (memory.spec.ValueBytes() + key + kNeighbourBytes);
  }
  return bytes * shards;
}

// What of its time a query keeps for itself, when shards that take longer may be left out.
Duration ReserveOf(const QueryCommand& command) {
  const std::chrono::steady_clock::time_point deadline = command.limits.deadline;
  if (!command.allow_partial || deadline == std::chrono::steady_clock::time_point::max()) return Duration::zero();
  const Duration tenth = (deadline - std::chrono::steady_clock::now()) / 10;
  return std::clamp<Duration>(tenth, Duration::zero(), std::chrono::milliseconds(limits::kMaxPartialReserveMs));
}

// Whether a shard said nothing, in time or at all, has not applied what it must show, or has too much to search by then
// to begin: all else is an answer.
bool IsAbsence(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || ReasonOf(status) == reason::kQueueFull;
}

// A step of a query that computes.
class Step final : public SearchTask {
 public:
  explicit Step(std::function<void()> work) : work_(std::move(work)) {}
  uint64_t affinity() const override { return 0; }
  size_t rows() const override { return 1; }
  std::chrono::steady_clock::time_point deadline() const override {
    return std::chrono::steady_clock::time_point::max();  // the shards have done the most of it
  }
  void Run(std::vector<std::unique_ptr<SearchTask>>) override { work_(); }

 private:
  const std::function<void()> work_;
};

class RemoteQuery : public std::enable_shared_from_this<RemoteQuery> {
 public:
  RemoteQuery(const RemoteQueryContext& context, MemoryHandle memory, QueryCommand command,
              std::function<void(absl::StatusOr<QueryOutcome>)> done)
      : context_(context), memory_(std::move(memory)), command_(std::move(command)), done_(std::move(done)),
        owners_(context_.shards->routing().OwnersOf(*memory_, command_.partitions)) {}

  // Step 1.
  void Start() {
    const absl::Status version = context_.shards->CheckVersion(command_.at_least);
    if (!version.ok()) return done_(version);
    at_least_ = std::exchange(command_.at_least, Version());
    const bool merges = IsMerged(command_, owners_.size());
    // The order of I4 takes ids, partitions and all of a score.
    if (merges) {
      command_.with_ids = true;
      command_.single_scores = false;
    }
    try {
      // It borrows from the caller.
      const auto read_out = std::exchange(command_.read_out, nullptr);
      if (read_out != nullptr && !merges) read_out_ = read_out();
      reads_out_ = !read_out_.empty();
      AskNext();
    } catch (const std::bad_alloc&) {
      done_(WithReason(absl::ResourceExhaustedError("out of ram while asking shards"), reason::kMemoryLimit));
    }
  }

 private:
  using Next = absl::Status (*)(RemoteQuery& query, Bodies bodies);

  // Goes on, on a search thread unless there is next to nothing to do, with what those of `asked_` answered that did;
  // an error ends the query.
  std::function<void(Answers)> Then(Next next) {
    return [self = shared_from_this(), next](Answers answers) {
      if (self->IsPassedOn(answers)) return self->GoOn(next, std::move(answers));
      auto moved = std::make_shared<Answers>(std::move(answers));
      std::vector<std::unique_ptr<SearchTask>> steps;
      steps.push_back(std::make_unique<Step>([self, next, moved] { self->GoOn(next, std::move(*moved)); }));
      const absl::Status queued = self->context_.pool->Submit(std::move(steps));
      if (!queued.ok()) self->done_(queued);
    };
  }

  void GoOn(Next next, Answers answers) {
    const absl::Status status = Guarded(next, std::move(answers));
    if (!status.ok()) done_(status);
  }

  // Of the one shard that was to read out: a short answer.
  bool IsPassedOn(const Answers& answers) const {
    return reads_out_ && answers.size() == 1 && answers.front().ok() && answers.front()->size() <= kMostPassedOnBytes;
  }

  absl::Status Guarded(Next next, Answers answers) {
    try {
      ASSIGN_OR_RETURN(Bodies bodies, Heard(std::move(answers)));
      return next(*this, std::move(bodies));
    } catch (const std::bad_alloc&) {
      return WithReason(absl::ResourceExhaustedError("out of ram while merging answers"), reason::kMemoryLimit);
    } catch (const std::exception& error) {
      return absl::InternalError(error.what());
    }
  }

  // In the order of `asked_`, without shards that are missing, where that is allowed.
  absl::StatusOr<Bodies> Heard(Answers answers) {
    Bodies bodies;
    for (size_t i = 0; i < answers.size(); ++i) {
      if (answers[i].ok()) {
        bodies.push_back(*std::move(answers[i]));
        continue;
      }
      const absl::Status& status = answers[i].status();
      if (!command_.allow_partial || !IsAbsence(status)) return status;
      missing_.insert(asked_[i]);
      absl::Status& why = outcome_.coverage.why_missing;
      if (!absl::IsUnavailable(why)) why = status;
    }
    return bodies;
  }

  // Of shards that are asked now, while `later` rounds of questions are to come.
  CallLimits LimitsBefore(int later) const {
    CallLimits of_shards = command_.limits;
    of_shards.deadline -= reserve_ * (later + 1);
    return of_shards;
  }
  int RoundsAfterSearch() const { return (command_.extra_offsets.empty() ? 0 : 1) + RoundsAfterCandidates(); }
  int RoundsAfterCandidates() const { return command_.with_successors ? 1 : 0; }

  // Asks shards that were not asked yet: all at once. But what a search for every entry finds has a bound, each shard
  // keeps to that for itself, and how much one has is known when it has answered: so the first is asked alone, and then
  // as many at once as would stay within the bound if none had more than the most so far.
  void AskNext() {
    size_t count = owners_.size() - begun_;
    if (command_.k == limits::kEveryEntry) {
      const double left = static_cast<double>(limits::kMaxAttendedBytes) - attended_bytes_->load();
      const double fit = outcomes_.empty() ? 1.0 : left / std::max(most_attended_, 1.0);
      count = std::min(count, static_cast<size_t>(std::clamp(fit, 1.0, static_cast<double>(limits::kMaxShards))));
    }
    const auto hedged = command_.k == limits::kEveryEntry ? std::nullopt : std::optional(HedgedRead::kQuery);
    const auto body = [&](uint32_t shard) {
      command_.at_least = context_.shards->PartOf(at_least_, shard, command_.lease);
      std::string flat = FlatIn(command_.queries.size() + read_out_.size() + kAroundBytes, memory_->number,
                                LeaseOn(command_.lease, shard), command_, read_out_);
      std::string().swap(read_out_);  // of the one shard that is asked for it; who asks it again has kept what it was
      return Question(std::move(flat), HolderOf(command_.lease, shard), hedged);
    };
    const absl::Span<const uint32_t> next = absl::MakeConstSpan(owners_).subspan(begun_, count);
    asked_.assign(next.begin(), next.end());
    begun_ += count;
    context_.shards->AskEach(&Async::Query, asked_, body, LimitsBefore(RoundsAfterSearch()),
                             Then([](RemoteQuery& query, Bodies bodies) { return query.Take(std::move(bodies)); }));
  }

  absl::Status Take(Bodies answers) {
    for (std::string& answer : answers) {
      QueryOutcome& outcome = outcomes_.emplace_back();
      RETURN_IF_ERROR(Unflat(answer, outcome, outcome.read_out));
      std::string().swap(answer);
      RETURN_IF_ERROR(CheckFound(outcome));
      // Rounded up for each row and shard: a mean of several shards is up to one for each above that of one process.
      outcome_.statistics.Add(outcome.statistics);
      if (command_.k == limits::kEveryEntry) {
        const double bytes = BytesOfRows(outcome.statistics.rows_total);
        most_attended_ = std::max(most_attended_, bytes);
        attended_bytes_->fetch_add(bytes);
      }
      outcome_.version.parts.insert(outcome_.version.parts.end(), outcome.version.parts.begin(),
                                    outcome.version.parts.end());
      outcome_.queue_us = std::max(outcome_.queue_us, outcome.queue_us);
      outcome_.search_us = std::max(outcome_.search_us, outcome.search_us);
    }
    RETURN_IF_ERROR(CheckEveryEntry());
    if (begun_ == owners_.size()) return Merge();
    AskNext();
    return absl::OkStatus();
  }

  // Step 2.
  absl::Status Merge() {
    std::vector<const NeighbourColumns*> parts;
    for (const QueryOutcome& outcome : outcomes_) parts.push_back(&outcome.neighbours);
    outcome_.version.memory = memory_->number;
    if (parts.size() == 1) {
      outcome_.neighbours = std::move(outcomes_[0].neighbours);
      outcome_.read_out = std::move(outcomes_[0].read_out);
    } else {
      outcome_.neighbours = MergeNeighbours(parts, command_.k);
    }
    outcomes_.clear();
    if (parts.empty()) {
      outcome_.neighbours.offsets.assign(command_.count + 1, 0);
      outcome_.neighbours.values.width = memory_->spec.ValueBytes();
    }
    return AskForCandidates();
  }

  // What was read out where that was asked for, and nothing beside it; neighbours where not.
  absl::Status CheckFound(const QueryOutcome& outcome) const {
    if (!reads_out_ && !outcome.read_out.has_value()) {
      return CheckAnswer(outcome.neighbours, command_.with_keys);
    }
    const bool made = reads_out_ && outcome.read_out.has_value() && outcome.neighbours.size() == 0;
    return made ? absl::OkStatus() : absl::DataLossError("a shard's answer is not of what it was asked for");
  }

  // `keyed`: with keys. Nothing is read of it before it is as wide as the memory says; only what a search for nothing,
  // of a k of 0, finds has no width.
  absl::Status CheckAnswer(const NeighbourColumns& answer, bool keyed) const {
    RETURN_IF_ERROR(CheckWhole(answer));
    const size_t count = answer.size();
    const size_t attributes = command_.with_attributes ? count : 0;
    const size_t ids = command_.with_ids ? count : 0;
    const size_t key_bytes = keyed ? memory_->spec.KeyBytes() : 0;
    const bool none = command_.k == 0 && count == 0 && answer.values.width == 0 && answer.key_bytes == 0;
    const bool fits = none || (answer.values.width == memory_->spec.ValueBytes() && answer.key_bytes == key_bytes &&
                               answer.keys.size() == count * key_bytes);
    if (fits && answer.queries() == command_.count && answer.labels.size() == attributes && answer.ids.size() == ids) {
      return absl::OkStatus();
    }
    return absl::DataLossError("a shard's answer is not whole");
  }

  double BytesOfRows(uint64_t rows) const {
    return static_cast<double>(rows) * static_cast<double>(RowBytes() * command_.count);
  }
  uint64_t RowBytes() const { return memory_->spec.ValueBytes() + kNeighbourBytes; }
  // Shards bound what each gathers for a search for every entry; this is the bound of all of them together.
  absl::Status CheckEveryEntry() const {
    if (command_.k != limits::kEveryEntry) return absl::OkStatus();
    const double bytes = attended_bytes_->load();
    if (bytes <= static_cast<double>(limits::kMaxAttendedBytes)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("k is 0, all entries: with ", command_.count, " rows over ", outcome_.statistics.rows_total,
                     " entries of ", RowBytes(), " bytes there are ", bytes, " bytes; must stay within ",
                     limits::kMaxAttendedBytes, ": ask for fewer rows, or give a k"));
  }

  // Step 3.
  absl::Status AskForCandidates() {
    if (command_.extra_offsets.empty()) return AskForSuccessors();
    Score(WantedCandidates(command_, outcome_.neighbours), /*plain=*/false, LimitsBefore(RoundsAfterCandidates()),
          [](RemoteQuery& query, Bodies bodies) {
            ASSIGN_OR_RETURN(const auto scored, query.ReadScored(bodies, query.command_.with_keys));
            AddCandidates(scored, query.outcome_.neighbours);
            return query.AskForSuccessors();
          });
    return absl::OkStatus();
  }

  absl::Status AskForSuccessors() {
    if (!command_.with_successors) return Finish();
    wanted_ = WantedSuccessors(outcome_);
    Score(wanted_, /*plain=*/true, LimitsBefore(0), [](RemoteQuery& query, Bodies bodies) {
      ASSIGN_OR_RETURN(const auto scored, query.ReadScored(bodies, /*keyed=*/false));
      MarkSuccessors(query.wanted_, scored, query.outcome_);
      return query.Finish();
    });
    return absl::OkStatus();
  }

  void Score(const std::vector<WantedEntry>& wanted, bool plain, const CallLimits& of_shards, Next next) {
    const auto by_shard = SplitByOwner(context_.shards->routing(), *memory_, wanted);
    asked_.clear();
    for (const auto& [shard, of_shard] : by_shard) {
      if (!missing_.contains(shard)) asked_.push_back(shard);
    }
    const auto body = [&](uint32_t shard) {
      // Another replica than the one that found them may answer.
      command_.at_least = command_.lease == nullptr ? context_.shards->PartOf(outcome_.version, shard) : Version();
      return Question(
          Flat(memory_->number, LeaseOn(command_.lease, shard), command_, plain, by_shard.at(shard)),
          HolderOf(command_.lease, shard), HedgedRead::kScore);
    };
    context_.shards->AskEach(&Async::Score, asked_, body, of_shards, Then(next));
  }

  absl::StatusOr<std::vector<NeighbourColumns>> ReadScored(const Bodies& answers, bool keyed) const {
    std::vector<NeighbourColumns> scored;
    for (const std::string& answer : answers) {
      RETURN_IF_ERROR(Unflat(answer, scored.emplace_back()));
      RETURN_IF_ERROR(CheckAnswer(scored.back(), keyed));
    }
    return scored;
  }

  absl::Status Finish() {
    Coverage& coverage = outcome_.coverage;
    coverage.shards_total = static_cast<uint32_t>(owners_.size());
    coverage.shards_answered = coverage.shards_total - static_cast<uint32_t>(missing_.size());
    coverage.missing_shards.assign(missing_.begin(), missing_.end());
    done_(std::move(outcome_));
    return absl::OkStatus();
  }

  const RemoteQueryContext& context_;
  const MemoryHandle memory_;
  QueryCommand command_;
  const std::function<void(absl::StatusOr<QueryOutcome>)> done_;
  const std::vector<uint32_t> owners_;
  Version at_least_;
  bool reads_out_ = false;  // whether the one shard is to read out
  std::string read_out_;    // what it is to make of the neighbours, until it is asked
  const Duration reserve_ = ReserveOf(command_);
  std::vector<uint32_t> asked_;  // now
  size_t begun_ = 0;             // of `owners_`: were searched, or are being
  std::set<uint32_t> missing_;   // did not answer all that they were asked, which is allowed
  std::vector<QueryOutcome> outcomes_;  // of those of `owners_` that answered, until they are merged
  // Bytes of every entry, with those of other searches of the request, and the most of one shard.
  const std::shared_ptr<std::atomic<double>> attended_bytes_ =
      command_.attended_bytes != nullptr ? command_.attended_bytes : std::make_shared<std::atomic<double>>(0.0);
  double most_attended_ = 0.0;
  QueryOutcome outcome_;
  std::vector<WantedEntry> wanted_;
};

}  // namespace

void ExecuteRemoteQuery(const RemoteQueryContext& context, MemoryHandle memory, QueryCommand command,
                        std::function<void(absl::StatusOr<QueryOutcome>)> done) {
  const size_t shards = context.shards->routing().OwnersOf(*memory, command.partitions).size();
  const uint64_t bytes = HeldBytes(*memory, command, shards);
  absl::StatusOr<QueryAdmission::Ticket> admitted = context.admission->Admit(bytes);
  if (!admitted.ok()) return done(admitted.status());
  auto ticket = std::make_shared<QueryAdmission::Ticket>(*std::move(admitted));
  auto leave = [ticket = std::move(ticket), done = std::move(done)](absl::StatusOr<QueryOutcome> outcome) {
    ticket->Leave();
    done(std::move(outcome));
  };
  std::make_shared<RemoteQuery>(context, std::move(memory), std::move(command), std::move(leave))->Start();
}

}  // namespace mneme
