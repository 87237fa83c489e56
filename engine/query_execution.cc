// Snapshots of sleeping partitions are taken under a lock of the query that is held while the store is read: only other
// slices of the same query wait for it.
#include "engine/query_execution.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "engine/candidates.h"
#include "engine/leases.h"
#include "engine/neighbour_rows.h"
#include "engine/query_batch.h"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;

// Rows of a slice at least: fewer would scan the same lists too many times.
constexpr size_t kSliceRows = 8;
// Bytes of a neighbour beside its value.
constexpr uint64_t kNeighbourBytes = 64;

uint64_t MicrosSince(Steady::time_point start) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Steady::now() - start).count());
}

class QueryExecution;

// One (shard, slice) of a query.
class QueryPart : public SearchTask {
 public:
  QueryPart(std::shared_ptr<QueryExecution> query, size_t number) : query_(std::move(query)), number_(number) {}
  uint64_t affinity() const override;
  size_t rows() const override;
  Steady::time_point deadline() const override;
  void Run(std::vector<std::unique_ptr<SearchTask>> joined) override;

 private:
  const std::shared_ptr<QueryExecution> query_;
  const size_t number_;
};

class QueryExecution : public std::enable_shared_from_this<QueryExecution> {
 public:
  QueryExecution(const QueryContext& context, MemoryHandle memory, QueryCommand command,
                 std::function<void(absl::StatusOr<QueryOutcome>)> done)
      : context_(context), memory_(std::move(memory)), command_(std::move(command)), done_(std::move(done)),
        attended_bytes_(command_.attended_bytes != nullptr ? command_.attended_bytes
                                                           : std::make_shared<std::atomic<double>>(0.0)),
        owners_(context_.routing->OwnersOf(*memory_, command_.partitions)) {
    const size_t busy = std::max<size_t>(1, 2 * context_.pool->threads() / std::max<size_t>(owners_.size(), 1));
    const size_t slices = std::clamp<size_t>(command_.count / kSliceRows, 1, std::min(busy, context_.pool->threads()));
    for (size_t i = 0; i <= slices; ++i) slice_begins_.push_back(command_.count * i / slices);
    parts_.resize(owners_.size() * slices);
    snapshots_.resize(owners_.size());
    taken_.resize(owners_.size());
    fits_.resize(owners_.size());
    for (const uint32_t owner : owners_) {
      // Slices of one query are of one version, and k = 0 needs no search: neither joins others.
      const bool joins = slices == 1 && command_.k != 0;
      affinities_.push_back(joins ? BatchAffinity(memory_->number, owner, command_) : 0);
    }
  }

  void Start() {
    AwaitVersion(0);
  }

  uint64_t affinity(size_t part) const { return affinities_[part / slices()]; }
  Steady::time_point deadline() const { return command_.limits.deadline; }
  size_t rows(size_t part) const { return slice_begins_[part % slices() + 1] - slice_begins_[part % slices()]; }
  // True when this part of it and that part of `other` are one search.
  bool Joins(size_t part, const QueryExecution& other, size_t other_part) const {
    return memory_->number == other.memory_->number &&
           owners_[part / slices()] == other.owners_[other_part / other.slices()] &&
           SearchableTogether(command_, other.command_);
  }

  // Step 2: searches parts of several queries, the same shard of each, in one version of it.
  static void RunTogether(const std::vector<std::pair<QueryExecution*, size_t>>& parts) {
    const auto& [first, number] = parts.front();
    std::vector<BatchMember> members;
    for (const auto& [query, part] : parts) members.push_back(query->BeginPart(part));
    // Partitions that sleep are read now: for one query alone until its time is over, for several to the end.
    const absl::Status taken = first->TakeSnapshot(number, parts.size() == 1 ? first->command_.limits : CallLimits());
    if (!taken.ok()) {
      for (const BatchMember& member : members) member.answer(taken);
      return;
    }
    const Shard::Snapshot& snapshot = first->snapshots_[number / first->slices()];
    std::vector<BatchMember> searched;
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto& [query, part] = parts[i];
      const size_t owner = part / query->slices();
      if (query != first) {
        query->snapshots_[owner] = snapshot;
        query->fits_[owner] = query->CheckEveryEntry(snapshot);
      }
      if (query->fits_[owner].ok()) {
        searched.push_back(std::move(members[i]));
      } else {
        members[i].answer(query->fits_[owner]);
      }
    }
    if (searched.empty()) return;
    SearchTogether(*first->context_.answers, snapshot.versions, MakeIndexSpec(first->memory_->spec),
                   std::move(searched));
  }

 private:
  size_t slices() const { return slice_begins_.size() - 1; }

  // Step 1: parts of the version one after another; each continuation may run on the shard's writer.
  void AwaitVersion(size_t part) {
    if (part == command_.at_least.parts.size()) return Enqueue();
    const Version::Part& wanted = command_.at_least.parts[part];
    if (wanted.shard >= context_.shards.size()) {
      return done_(absl::InvalidArgumentError("at_least_version names a shard that does not exist"));
    }
    context_.shards[wanted.shard]->WhenVisible(
        wanted.sequence, command_.limits, [self = shared_from_this(), part](const absl::Status& status) {
          status.ok() ? self->AwaitVersion(part + 1) : self->done_(status);
        });
  }

  void Enqueue() {
    enqueued_ = Steady::now();
    pending_ = parts_.size();
    std::vector<std::unique_ptr<SearchTask>> tasks;
    for (size_t i = 0; i < parts_.size(); ++i) tasks.push_back(std::make_unique<QueryPart>(shared_from_this(), i));
    const absl::Status queued = context_.pool->Submit(std::move(tasks));
    if (!queued.ok()) done_(queued);
  }

  // A search for every entry gathers them all for each row: those of this shard join those of the others.
  absl::Status CheckEveryEntry(const Shard::Snapshot& snapshot) const {
    if (command_.k != limits::kEveryEntry) return absl::OkStatus();
    uint64_t rows = 0;
    for (const auto& version : snapshot.versions) rows += version->rows();
    const uint64_t row_bytes = memory_->spec.ValueBytes() + kNeighbourBytes;
    const double here = static_cast<double>(rows) * static_cast<double>(row_bytes * command_.count);
    const double bytes = here + attended_bytes_->fetch_add(here, std::memory_order_relaxed);
    if (bytes <= static_cast<double>(limits::kMaxAttendedBytes)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("k is 0, all entries: with ", command_.count, " rows over ", rows, " entries of ", row_bytes,
                     " bytes there are ", bytes, " bytes; must stay within ", limits::kMaxAttendedBytes,
                     ": ask for fewer rows, or give a k"));
  }

  // One version of each shard for all slices (I3): the lease's, or of the moment when the first of them has its turn.
  absl::Status TakeSnapshot(size_t part, const CallLimits& limits) {
    const size_t owner = part / slices();
    MutexLock lock(&snapshot_mutex_);  // held while sleeping partitions are read: who waits could do no more
    if (taken_[owner]) return absl::OkStatus();
    ASSIGN_OR_RETURN(snapshots_[owner],
                     mneme::TakeSnapshot(*context_.shards[owners_[owner]],
                                         {memory_->number, command_.partitions, command_.lease.get(), limits}));
    fits_[owner] = CheckEveryEntry(snapshots_[owner]);
    taken_[owner] = true;
    return absl::OkStatus();
  }

  BatchMember BeginPart(size_t part) {
    if (!started_.exchange(true)) queue_us_ = MicrosSince(enqueued_);
    return {&command_, slice_begins_[part % slices()], rows(part), [this, part](absl::StatusOr<SearchResult> result) {
              parts_[part] = std::move(result);
              if (pending_.fetch_sub(1) == 1) Complete();
            }};
  }

  // Step 3.
  void Complete() {
    auto outcome = GuardedMerge();
    if (outcome.ok()) {
      outcome->queue_us = queue_us_;
      outcome->search_us = MicrosSince(enqueued_) - std::min(queue_us_, MicrosSince(enqueued_));
    }
    done_(std::move(outcome));
  }

  absl::StatusOr<QueryOutcome> GuardedMerge() {
    try {
      return Merge();
    } catch (const std::bad_alloc&) {
      return WithReason(absl::ResourceExhaustedError("out of ram while merging answers"), reason::kMemoryLimit);
    }
  }

  absl::StatusOr<QueryOutcome> Merge() {
    for (const auto& part : parts_) RETURN_IF_ERROR(part.status());
    QueryOutcome outcome;
    std::vector<NeighbourColumns> rows_of_slice;
    for (size_t slice = 0; slice < slices(); ++slice) {
      std::vector<const NeighbourColumns*> answers;
      for (size_t owner = 0; owner < owners_.size(); ++owner) {
        SearchResult& part = *parts_[owner * slices() + slice];
        // Means per query: weighed with the rows of the slice.
        AddWeighed(outcome.statistics, part.statistics, slice_begins_[slice + 1] - slice_begins_[slice]);
        answers.push_back(&part.neighbours);
      }
      rows_of_slice.push_back(answers.size() == 1 ? std::move(parts_[slice]->neighbours)
                                                  : MergeNeighbours(answers, command_.k));
    }
    FinishStatistics(outcome.statistics);
    outcome.neighbours = Concatenate(std::move(rows_of_slice));
    const SearchRequest request = MakeSearchRequest(MakeIndexSpec(memory_->spec), command_, 0, command_.count);
    if (!command_.extra_offsets.empty()) {
      ASSIGN_OR_RETURN(const auto scored, Score(request, WantedCandidates(command_, outcome.neighbours)));
      AddCandidates(scored, outcome.neighbours);
    }
    if (command_.with_successors) {
      const std::vector<WantedEntry> wanted = WantedSuccessors(outcome);
      ASSIGN_OR_RETURN(const auto scored, Score(PlainRequest(request), wanted));
      MarkSuccessors(wanted, scored, outcome);
    }
    outcome.version.memory = memory_->number;
    for (size_t owner = 0; owner < owners_.size(); ++owner) {
      outcome.version.parts.push_back({owners_[owner], snapshots_[owner].sequence});
    }
    outcome.coverage.shards_total = static_cast<uint32_t>(owners_.size());
    outcome.coverage.shards_answered = outcome.coverage.shards_total;
    return outcome;
  }

  // Scores entries on the shards that own them; one answer per shard.
  absl::StatusOr<std::vector<NeighbourColumns>> Score(const SearchRequest& request,
                                                      const std::vector<WantedEntry>& wanted) const {
    const CandidateContext context{*memory_, command_.lease.get(), command_.limits, *context_.routing};
    std::vector<NeighbourColumns> answers;
    for (const auto& [shard, of_shard] : SplitByOwner(*context_.routing, *memory_, wanted)) {
      ASSIGN_OR_RETURN(NeighbourColumns answer, ScoreOn(*context_.shards[shard], context, request, of_shard));
      answers.push_back(std::move(answer));
    }
    return answers;
  }

  static void AddWeighed(SearchStatistics& sum, SearchStatistics part, size_t rows) {
    part.rows_scanned *= rows;
    part.lists_probed *= rows;
    sum.Add(part);
  }
  void FinishStatistics(SearchStatistics& sum) const {
    // Every slice saw all rows, segments and tails.
    sum.rows_total /= slices();
    sum.segments /= slices();
    sum.tail_rows /= slices();
    sum.rows_scanned = (sum.rows_scanned + command_.count - 1) / command_.count;
    sum.lists_probed = (sum.lists_probed + command_.count - 1) / command_.count;
  }

  const QueryContext& context_;
  const MemoryHandle memory_;
  const QueryCommand command_;
  const std::function<void(absl::StatusOr<QueryOutcome>)> done_;
  const std::shared_ptr<std::atomic<double>> attended_bytes_;
  const std::vector<uint32_t> owners_;
  std::vector<uint64_t> affinities_;        // [owner]
  Mutex snapshot_mutex_;                    // one slice takes the snapshots, the others read what it took
  std::vector<Shard::Snapshot> snapshots_;  // [owner]
  std::vector<absl::Status> fits_;  // [owner]: whether a search for every entry may gather what its snapshot has
  std::vector<bool> taken_ ABSL_GUARDED_BY(snapshot_mutex_);  // [owner]
  std::vector<size_t> slice_begins_;
  std::vector<absl::StatusOr<SearchResult>> parts_;  // [owner][slice]; each written by one task
  std::atomic<size_t> pending_{0};
  std::atomic<bool> started_{false};
  Steady::time_point enqueued_;
  uint64_t queue_us_ = 0;
};

uint64_t QueryPart::affinity() const { return query_->affinity(number_); }

size_t QueryPart::rows() const { return query_->rows(number_); }

Steady::time_point QueryPart::deadline() const { return query_->deadline(); }

void QueryPart::Run(std::vector<std::unique_ptr<SearchTask>> joined) {
  std::vector<std::pair<QueryExecution*, size_t>> parts = {{query_.get(), number_}};
  for (const auto& task : joined) {
    const auto& other = static_cast<const QueryPart&>(*task);
    parts.emplace_back(other.query_.get(), other.number_);
  }
  // Different searches hardly ever have one affinity, and then must not get each other's answers.
  while (!parts.empty()) {
    const auto front = parts.front();
    const auto others = std::stable_partition(parts.begin() + 1, parts.end(), [&](const auto& part) {
      return front.first->Joins(front.second, *part.first, part.second);
    });
    QueryExecution::RunTogether({parts.begin(), others});
    parts.erase(parts.begin(), others);
  }
}

}  // namespace

void ExecuteQuery(const QueryContext& context, MemoryHandle memory, QueryCommand command,
                  std::function<void(absl::StatusOr<QueryOutcome>)> done) {
  std::make_shared<QueryExecution>(context, std::move(memory), std::move(command), std::move(done))->Start();
}

}  // namespace mneme
