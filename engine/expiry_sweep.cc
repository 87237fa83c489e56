// 1. The queue says which partitions have an entry that expired kExpirySlackMs ago: so the entries of that long go in
//    one look.
// 2. Segments of which no living row is due are passed over; of the others, and of the tail, only the column of
//    expiries and the dead marks are read.
// 3. The rows found go to the writer in one operation. It kills those that are still alive: a row that was overwritten
//    meanwhile has its entry elsewhere, with another expiry. Where the shard has a log, a record of it names them, and
//    what is still there when that is applied is named again.
#include "engine/expiry_sweep.h"

#include <algorithm>
#include <future>
#include <memory>

#include "common/status_macros.h"

namespace mneme {
namespace {

// Partitions of one round, and rows that it removes from each.
constexpr size_t kPartitionsPerRound = 256;
constexpr size_t kRowsPerRemoval = 16'384;
// Segments whose least expiry is remembered.
constexpr size_t kMaxRemembered = 100'000;

// Adds what expired by `now_ms` to `expired` until that is full; returns the least expiry of the rest.
int64_t LookAtBlock(const RowBlock& block, const DeadRows& dead, int64_t now_ms, std::vector<StoredRow>& expired) {
  int64_t least = kNeverExpires;
  if (block.expiries_ms == nullptr) return least;
  for (size_t i = 0; i < block.count; ++i) {
    const int64_t expiry = block.expiries_ms[i];
    if (expiry == 0 || dead.Contains(block.RowAt(i))) continue;
    if (expiry <= now_ms && expired.size() < kRowsPerRemoval) {
      expired.push_back({block.RowAt(i), block.ids[i]});
    } else {
      least = std::min(least, expiry);
    }
  }
  return least;
}

}  // namespace

int64_t LeastExpiry(const RowBlock& block) {
  std::vector<StoredRow> none;
  return LookAtBlock(block, DeadRows(), 0, none);
}

absl::Status ExpirySweep::Run(Shard& shard) {
  if (log_ != nullptr && !log_->Settled()) return absl::OkStatus();
  absl::Status status;
  for (const PartitionKey& key : shard.expiries().Take(clock_->NowMs() - Slack(), kPartitionsPerRound)) {
    const int64_t now_ms = clock_->NowMs();  // of each: a round may take a while
    const absl::Status removed = Remove(shard, key, now_ms);
    if (removed.ok()) continue;
    least_of_segment_.clear();
    shard.expiries().PutOff(key, now_ms);  // again after the slack
    status.Update(removed);
  }
  return status;
}

ExpirySweep::Findings ExpirySweep::Look(const Shard& shard, const PublishedPartition& partition, int64_t now_ms) {
  const IndexVersion& version = *partition.version;
  Findings found{{}, kNeverExpires};
  if (least_of_segment_.size() > kMaxRemembered) least_of_segment_.clear();
  for (size_t i = 0; i < version.segments.size(); ++i) {
    const auto [at, unknown] =
        least_of_segment_.try_emplace({shard.number(), partition.segments[i].file_number}, int64_t{0});
    if (unknown || at->second <= now_ms) {
      at->second = LookAtBlock(version.segments[i]->All(), version.dead, now_ms, found.expired);
    }
    found.least_expiry_ms = std::min(found.least_expiry_ms, at->second);
  }
  for (const Tail::Snapshot::Part& part : version.tail.parts) {
    const int64_t least = LookAtBlock(BlockOf(part, version.tail_from), version.dead, now_ms, found.expired);
    found.least_expiry_ms = std::min(found.least_expiry_ms, least);
  }
  return found;
}

bool ExpirySweep::Append(const PartitionKey& key, std::vector<StoredRow> rows, int64_t now_ms) {
  std::sort(rows.begin(), rows.end(), [](const StoredRow& a, const StoredRow& b) { return a.row < b.row; });
  if (named_.size() > kMaxRemembered) named_.clear();
  const auto [at, unknown] = named_.try_emplace(key, rows.front().row);
  const bool again = !unknown && at->second == rows.front().row;
  at->second = rows.front().row;
  LogRecord record;
  record.memory = key.memory;
  record.stamp_ms = now_ms;
  record.operation = ExpireRowsCommand{key.partition, std::move(rows)};
  log_->Append(std::move(record));
  return again;
}

absl::Status ExpirySweep::Remove(Shard& shard, const PartitionKey& key, int64_t now_ms) {
  ASSIGN_OR_RETURN(const auto partition, shard.PublishedOf(key));
  const MemoryHandle memory = find_memory_(key.memory);
  if (partition == nullptr || memory == nullptr) return absl::OkStatus();
  Findings found = Look(shard, *partition, now_ms);
  if (!found.expired.empty() && log_ != nullptr) {
    const bool again = Append(key, std::move(found.expired), now_ms);
    least_of_segment_.clear();  // they are there until the record is applied
    // Looked at again once it is; what did not go by then may wait, so that it does not fill the log.
    shard.expiries().PutOff(key, again ? now_ms : now_ms - Slack());
    return absl::OkStatus();
  }
  if (!found.expired.empty()) {
    auto done = std::make_shared<std::promise<absl::Status>>();
    std::future<absl::Status> removed = done->get_future();
    RETURN_IF_ERROR(shard.Submit(ExpireOperation{.memory = memory,
                                                 .key = key,
                                                 .generation = partition->generation,
                                                 .rows = std::move(found.expired),
                                                 .done = [done](const absl::Status& status) {
                                                   done->set_value(status);
                                                 }}));
    RETURN_IF_ERROR(removed.get());
  }
  shard.expiries().Note(key, found.least_expiry_ms);
  return absl::OkStatus();
}

}  // namespace mneme
