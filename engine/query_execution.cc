#include "engine/query_execution.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <utility>

#include "common/error_reason.h"
#include "common/status_macros.h"
#include "engine/candidates.h"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;

// Rows of a slice at least: fewer would scan the same lists too many times.
constexpr size_t kSliceRows = 8;

uint64_t MicrosSince(Steady::time_point start) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Steady::now() - start).count());
}

class QueryExecution : public std::enable_shared_from_this<QueryExecution> {
 public:
  QueryExecution(const QueryContext& context, MemoryHandle memory, QueryCommand command,
                 std::function<void(absl::StatusOr<QueryOutcome>)> done)
      : context_(context), memory_(std::move(memory)), command_(std::move(command)), done_(std::move(done)),
        owners_(context_.routing->OwnersOf(*memory_, command_.partitions)) {
    const size_t busy = std::max<size_t>(1, 2 * context_.pool->threads() / std::max<size_t>(owners_.size(), 1));
    const size_t slices = std::clamp<size_t>(command_.count / kSliceRows, 1, std::min(busy, context_.pool->threads()));
    for (size_t i = 0; i <= slices; ++i) slice_begins_.push_back(command_.count * i / slices);
    parts_.resize(owners_.size() * slices);
  }

  void Start() {
    AwaitVersion(0);
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
    // One version of each shard for all rows of the batch (I3).
    for (const uint32_t owner : owners_) {
      snapshots_.push_back(context_.shards[owner]->TakeSnapshot(memory_->number, command_.partitions));
    }
    std::vector<std::function<void()>> tasks;
    for (size_t i = 0; i < parts_.size(); ++i) {
      tasks.push_back([self = shared_from_this(), i] { self->RunPart(i); });
    }
    const absl::Status queued = context_.pool->Submit(std::move(tasks));
    if (!queued.ok()) done_(queued);
  }

  // Step 2.
  void RunPart(size_t i) {
    if (!started_.exchange(true)) queue_us_ = MicrosSince(enqueued_);
    try {
      parts_[i] = SearchPart(i / slices(), i % slices());
    } catch (const std::bad_alloc&) {
      parts_[i] = WithReason(absl::ResourceExhaustedError("out of ram while searching"), reason::kMemoryLimit);
    }
    if (pending_.fetch_sub(1) == 1) Complete();
  }

  absl::StatusOr<SearchResult> SearchPart(size_t owner, size_t slice) {
    RETURN_IF_ERROR(command_.limits.Check());
    const size_t begin = slice_begins_[slice];
    const SearchRequest request = MakeRequest(begin, slice_begins_[slice + 1] - begin);
    if (request.k == 0) return EmptyAnswer(request.query_count);
    return Search(snapshots_[owner].versions, request);
  }

  SearchRequest MakeRequest(size_t begin, size_t count) const {
    SearchRequest request;
    request.spec = MakeIndexSpec(memory_->spec);
    request.queries = command_.queries.as<float>() + begin * memory_->spec.dimension;
    request.query_count = count;
    request.k = command_.k;
    request.exact = command_.exact;
    request.probes = command_.probes;
    request.recall_target = command_.recall_target;
    request.approximate_distances = command_.approximate_distances;
    request.filter = &command_.filter;
    if (!command_.exclude_ids.empty()) request.exclude_ids = absl::MakeSpan(command_.exclude_ids).subspan(begin, count);
    if (!command_.exclude_sources.empty()) {
      request.exclude_sources = absl::MakeSpan(command_.exclude_sources).subspan(begin, count);
    }
    request.with_keys = command_.with_keys;
    request.stop = [this] { return command_.limits.Check(); };
    return request;
  }

  static SearchResult EmptyAnswer(size_t queries) {
    SearchResult result;
    result.neighbours.offsets.assign(queries + 1, 0);
    return result;
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
    const CandidateContext candidates{context_.shards, *context_.routing, *memory_, command_};
    if (!command_.extra_offsets.empty()) {
      RETURN_IF_ERROR(AddExtraCandidates(candidates, MakeRequest(0, command_.count), outcome.neighbours));
    }
    if (command_.with_successors) {
      RETURN_IF_ERROR(FindSuccessors(candidates, MakeRequest(0, command_.count), outcome));
    }
    outcome.version.memory = memory_->number;
    for (size_t owner = 0; owner < owners_.size(); ++owner) {
      outcome.version.parts.push_back({owners_[owner], snapshots_[owner].sequence});
    }
    outcome.coverage.shards_total = static_cast<uint32_t>(owners_.size());
    outcome.coverage.shards_answered = outcome.coverage.shards_total;
    return outcome;
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
  const std::vector<uint32_t> owners_;
  std::vector<Shard::Snapshot> snapshots_;  // [owner]
  std::vector<size_t> slice_begins_;
  std::vector<absl::StatusOr<SearchResult>> parts_;  // [owner][slice]; each written by one task
  std::atomic<size_t> pending_{0};
  std::atomic<bool> started_{false};
  Steady::time_point enqueued_;
  uint64_t queue_us_ = 0;
};

}  // namespace

void ExecuteQuery(const QueryContext& context, MemoryHandle memory, QueryCommand command,
                  std::function<void(absl::StatusOr<QueryOutcome>)> done) {
  std::make_shared<QueryExecution>(context, std::move(memory), std::move(command), std::move(done))->Start();
}

}  // namespace mneme
