// The writer's round:
// 1. Take everything that waits (bounded), in order.
// 2. Plan it into groups; operations that must read the published index (filters, whole partitions, installed segments)
//    close the group before them.
// 3. Commit the group to the store (I7), apply it to tails and dead sets, publish the new versions under a mutex held
//    for the swap of pointers (I3).
// 4. Tell who waits: `visible` now, WRITTEN now, SYNC after the syncer's next sync (I1).
#include "engine/shard.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/expiry_sweep.h"
#include "engine/shard_loader.h"
#include "engine/visible_rows.h"

namespace mneme {
namespace {

// States of sessions that one group writes at most, and one operation: a small one may write large states.
constexpr uint64_t kGroupStateBytes = 32 * 1024 * 1024;

absl::Status DroppedError() {
  return WithReason(absl::NotFoundError("the memory was dropped"), reason::kMemoryNotFound);
}

}  // namespace

Shard::Shard(ShardOptions options)
    : number_(options.number), store_(std::move(options.store)), files_(std::move(options.files)),
      due_(std::move(options.due)), thresholds_(options.thresholds),
      wake_threads_(std::max<uint32_t>(1, options.wake_threads)), logged_(options.logged),
      delete_group_rows_(options.delete_group_rows), table_(options.thresholds.min_indexed_rows) {}

absl::StatusOr<std::unique_ptr<Shard>> Shard::Open(ShardOptions options, const std::vector<MemoryHandle>& memories,
                                                   MemoryNumber next_number) {
  const EventSink events = options.events;
  std::unique_ptr<Shard> shard(new Shard(std::move(options)));
  RETURN_IF_ERROR(shard->Load(memories, next_number, events));
  shard->writer_ = std::thread([raw = shard.get()] { raw->RunWriter(); });
  shard->syncer_ = std::thread([raw = shard.get()] { raw->RunSyncer(); });
  return shard;
}

absl::Status Shard::Load(const std::vector<MemoryHandle>& memories, MemoryNumber next_number,
                         const EventSink& events) {
  ASSIGN_OR_RETURN(LoadedPartitions loaded, LoadPartitions(*store_, *files_, memories, next_number,
                                                           thresholds_.min_indexed_rows, events));
  partitions_ = std::move(loaded.awake);
  {
    MutexLock lock(&versions_mutex_);
    for (const auto& [head, spec] : loaded.asleep) {
      if (head.least_expiry_ms != 0) expiries_.Note(head.key, head.least_expiry_ms);
      table_.LaySleeping({.head = head, .spec = spec, .removed = {}});
    }
  }
  ASSIGN_OR_RETURN(remembered_, store_->CountRequests());
  sequence_ = store_->applied();
  std::vector<PartitionKey> keys;
  for (const auto& [key, partition] : partitions_) {
    keys.push_back(key);
    for (const InstalledSegment& installed : partition->segments()) {
      expiries_.Note(key, LeastExpiry(installed.segment->All()));
    }
  }
  Publish(keys, sequence_);
  return absl::OkStatus();
}

Shard::~Shard() {
  {
    MutexLock lock(&queue_mutex_);
    stopping_ = true;
  }
  queued_.NotifyOne();
  if (writer_.joinable()) writer_.join();
  {
    MutexLock lock(&sync_mutex_);
    writer_done_ = true;
  }
  sync_wanted_.NotifyOne();
  if (syncer_.joinable()) syncer_.join();
  MutexLock lock(&versions_mutex_);
  for (auto& [sequence, waiter] : waiters_) waiter.then(absl::UnavailableError("the server is shutting down"));
}

void Shard::Apply(std::deque<WriteOperation>& operations) {
  Round round;
  NewGroup(round);
  AdoptWoken();
  for (WriteOperation& operation : operations) {
    if (!TakePlace(round, operation)) continue;
    if (auto* insert = std::get_if<InsertOperation>(&operation)) {
      const PartitionKey key{insert->ticket.memory->number, insert->partition};
      absl::Status status =
          dropped_.contains(key.memory) ? DroppedError() : WakeForWrite(key.memory, {&insert->partition, 1});
      auto result = status.ok() ? round.group->PlanInsert(*insert) : std::move(status);
      Plan(round, insert->ticket, std::move(result));
    } else if (auto* remember = std::get_if<RememberOperation>(&operation)) {
      Close(round);
      Remember(round, *remember);
    } else if (auto* erase = std::get_if<DeleteOperation>(&operation)) {
      ApplyDelete(round, *erase);
    } else if (auto* install = std::get_if<InstallOperation>(&operation)) {
      Close(round);
      install->done(Install(*install));
    } else if (auto* expire = std::get_if<ExpireOperation>(&operation)) {
      Close(round);
      expire->done(Expire(round, *expire));
    } else if (auto* states_due = std::get_if<ExpireStatesOperation>(&operation)) {
      Close(round);
      states_due->done(ExpireStates(round, *states_due));
    } else if (auto* merge = std::get_if<MergeOperation>(&operation)) {
      Close(round);
      Merge(round, *merge);
    } else if (auto* rows = std::get_if<MergeRowsOperation>(&operation)) {
      Close(round);
      MergeRows(round, *rows);
    } else if (auto* close = std::get_if<CloseMemoryOperation>(&operation)) {
      dropped_.insert(close->memory);
    } else if (auto* drop = std::get_if<DropMemoryOperation>(&operation)) {
      Close(round);
      drop->done(DropMemory(drop->memory));
    } else if (auto* sleep = std::get_if<SleepOperation>(&operation)) {
      Close(round);
      LayToSleep(*sleep);
    } else if (auto* pass = std::get_if<PassOperation>(&operation)) {
      WriteResult result;
      result.sequence = pass->ticket.position;
      Plan(round, pass->ticket, pass->refusal.ok() ? absl::StatusOr<WriteResult>(result) : pass->refusal);
    } else if (auto* states = std::get_if<StateOperation>(&operation)) {
      const bool dropped = dropped_.contains(states->ticket.memory->number);
      Plan(round, states->ticket, dropped ? DroppedError() : round.group->PlanStates(*states));
      if (round.group->state_bytes() >= kGroupStateBytes) Close(round);
    }
  }
  Close(round);
}

void Shard::NewGroup(Round& round) {
  round.group = std::make_unique<WriteGroup>(*store_, partitions_, number_, sequence_ + 1);
  round.group->Forget(round.old_requests);
  round.planned.clear();
}

void Shard::Remember(Round& round, RememberOperation& operation) {
  const PartitionKey key{operation.ticket.memory->number, operation.partition};
  absl::Status status =
      dropped_.contains(key.memory) ? DroppedError() : WakeForWrite(key.memory, {&operation.partition, 1});
  auto result = status.ok() ? round.group->PlanRemember(operation) : std::move(status);
  const bool planned = result.ok() && operation.table != nullptr;
  Plan(round, operation.ticket, std::move(result));
  Close(round);
  const auto partition = partitions_.find(key);
  if (!planned || partition == partitions_.end() || !write_status().ok()) return;
  operation.table->Note(partition->second->head());
  partition->second->slots() = std::move(operation.table);
}

void Shard::ApplyDelete(Round& round, DeleteOperation& operation) {
  if (dropped_.contains(operation.ticket.memory->number)) {
    Plan(round, operation.ticket, DroppedError());
    return;
  }
  if (operation.all_partitions) {
    operation.partitions.clear();
    Close(round);
    for (const PartitionKey& key : KeysOf(operation.ticket.memory->number)) {
      operation.partitions.push_back(key.partition);
    }
  }
  if (operation.ids.has_value()) {
    absl::Status woken = WakeForWrite(operation.ticket.memory->number, operation.partitions);
    auto result = woken.ok() ? round.group->PlanDeleteById(operation) : std::move(woken);
    Plan(round, operation.ticket, std::move(result));
    return;
  }
  Close(round);
  auto result = PlanWide(round, operation);
  Plan(round, operation.ticket, std::move(result));
  Close(round);
}

absl::StatusOr<WriteResult> Shard::PlanWide(Round& round, const DeleteOperation& operation) {
  // First: what is woken empty below must be emptied.
  ASSIGN_OR_RETURN(auto replay, round.group->FindReplay(operation));
  if (replay.has_value()) return *std::move(replay);
  if (!operation.everything) RETURN_IF_ERROR(WakeForWrite(operation.ticket.memory->number, operation.partitions));
  std::vector<PartitionKey> keys;
  for (const PartitionId partition : operation.partitions) {
    const PartitionKey key{operation.ticket.memory->number, partition};
    if (operation.everything) WakeEmpty(key);
    if (partitions_.contains(key)) keys.push_back(key);
  }
  if (operation.everything) return round.group->PlanDropPartitions(operation, keys);
  ASSIGN_OR_RETURN(uint64_t gone, round.group->DeletedBefore(operation.ticket));
  std::vector<WriteGroup::FoundRow> rows;
  for (const PartitionKey& key : keys) {
    const CallLimits none;  // a delete that was accepted is finished
    const auto version = partitions_.at(key)->MakeVersion();  // as published: the group is empty
    RETURN_IF_ERROR(ForEachVisibleRow(*version, *operation.filter, none,
                                      [&](const RowBlock& block, size_t i) {
                                        rows.push_back({key, block.RowAt(i), block.ids[i]});
                                      }));
  }
  // Groups of bounded size; the request is remembered with the last, so that a retry completes what a crash cut short.
  absl::Span<const WriteGroup::FoundRow> left = rows;
  for (; left.size() > delete_group_rows_; left.remove_prefix(delete_group_rows_)) {
    gone += delete_group_rows_;
    RETURN_IF_ERROR(round.group->PlanDeletePart(operation, left.first(delete_group_rows_), gone));
    Close(round);
    RETURN_IF_ERROR(write_status());
  }
  return round.group->PlanDeleteRows(operation, left, gone + left.size());
}

void Shard::Close(Round& round) {
  absl::Status committed;
  const bool changes = !round.group->empty();
  std::vector<SegmentRecord> orphaned;
  if (changes) {
    ForgetOldRequests(round);
    std::vector<PartitionKey> changed;
    committed = write_status();
    if (committed.ok()) {
      committed = round.group->Commit(changed, orphaned);
      if (committed.ok()) {
        // A part of a deletion takes no place yet.
        if (sequence_ != round.group->last_sequence()) round.old_requests.clear();
        sequence_ = round.group->last_sequence();
        Publish(changed, sequence_);
        const int64_t expiry_ms = round.group->least_state_expiry_ms();
        if (expiry_ms != kNeverExpires) state_expiries_.Note(expiry_ms);
      } else {
        Refuse(committed);
        committed = write_status();
      }
    }
  }
  for (const SegmentRecord& record : orphaned) RemoveFiles(record);
  std::vector<std::function<void(absl::Status)>> unsynced;
  for (Round::Planned& planned : round.planned) {
    Finish(*planned.ticket, committed.ok() ? std::move(planned.result) : absl::StatusOr<WriteResult>(committed),
           unsynced);
  }
  if (!unsynced.empty()) {
    {
      MutexLock lock(&sync_mutex_);
      for (auto& done : unsynced) unsynced_.push_back(std::move(done));
    }
    sync_wanted_.NotifyOne();
  }
  NewGroup(round);
}

void Shard::Finish(WriteTicket& ticket, absl::StatusOr<WriteResult> result,
                   std::vector<std::function<void(absl::Status)>>& unsynced) {
  if (result.ok() && ticket.visible != nullptr) ticket.visible();
  if (!result.ok() || ticket.durability == Durability::kWritten) {
    ticket.done(std::move(result));
    return;
  }
  unsynced.push_back([done = std::move(ticket.done), result = *std::move(result)](const absl::Status& synced) {
    synced.ok() ? done(result) : done(synced);
  });
}

void Shard::Merge(Round& round, MergeOperation& operation) {
  const auto partition = partitions_.find(operation.key);
  if (dropped_.contains(operation.key.memory) || partition == partitions_.end() ||
      partition->second->generation() != operation.generation) {
    return operation.done(MergeResult{0, operation.merged.size()});  // emptied meanwhile: those rows are gone
  }
  const auto result = round.group->PlanMerge(operation);
  if (!result.ok()) {
    NewGroup(round);
    return operation.done(result.status());
  }
  Close(round);
  if (const absl::Status committed = write_status(); !committed.ok()) return operation.done(committed);
  AfterSync([done = std::move(operation.done), result = *result](const absl::Status& synced) {
    synced.ok() ? done(result) : done(synced);
  });
}

void Shard::MergeRows(Round& round, MergeRowsOperation& operation) {
  const MemoryNumber memory = operation.ticket.memory->number;
  absl::Status status = dropped_.contains(memory) ? DroppedError() : WakeForWrite(memory, {&operation.partition, 1});
  auto result = status.ok() ? round.group->PlanMergeRows(operation) : std::move(status);
  if (!result.ok()) NewGroup(round);  // without what it had planned by then
  Plan(round, operation.ticket, std::move(result));
  Close(round);
}

absl::Status Shard::DropMemory(MemoryNumber memory) {
  dropped_.insert(memory);
  {
    MutexLock lock(&versions_mutex_);
    table_.DropMemory(memory);
    tail_ram_bytes_ = table_.tail_ram_bytes();
  }
  AdoptWoken();  // nothing of it sleeps any more, so nothing more of it wakes
  std::vector<SegmentRecord> records;
  for (auto at = partitions_.lower_bound({memory, 0}); at != partitions_.end() && at->first.memory == memory;) {
    for (const InstalledSegment& installed : at->second->segments()) records.push_back(installed.record);
    at = partitions_.erase(at);
  }
  RETURN_IF_ERROR(store_->DropMemory(memory));
  for (const SegmentRecord& record : records) RemoveFiles(record);
  return absl::OkStatus();
}

void Shard::Publish(const std::vector<PartitionKey>& changed, Sequence sequence) {
  std::vector<std::shared_ptr<const PublishedPartition>> published;
  published.reserve(changed.size());
  for (const PartitionKey& key : changed) published.push_back(MakePublished(*partitions_.at(key)));
  std::vector<Waiter> ready;
  {
    MutexLock lock(&versions_mutex_);
    for (size_t i = 0; i < changed.size(); ++i) table_.Publish(changed[i], published[i]);
    tail_ram_bytes_ = table_.tail_ram_bytes();
    visible_ = sequence;
    const auto end = waiters_.upper_bound(sequence);
    for (auto at = waiters_.begin(); at != end; ++at) ready.push_back(std::move(at->second));
    waiters_.erase(waiters_.begin(), end);
  }
  published_more_.NotifyAll();
  for (Waiter& waiter : ready) waiter.then(absl::OkStatus());
  for (size_t i = 0; i < changed.size(); ++i) {
    PartitionIndex& partition = *partitions_.at(changed[i]);
    expiries_.Note(changed[i], partition.TakeLeastExpiry());
    const bool sealable = published[i]->tail_rows >= thresholds_.SealRows(*published[i]->version);
    const bool due = partition.TakeCompactionHint() || sealable;
    const Urgency urgency = partition.TakeLoad() ? Urgency::kAfterLoad : Urgency::kSoon;
    if (due_ == nullptr) continue;
    if (due) due_(number_, changed[i], urgency);
    if (partition.TakeSortHint()) due_(number_, changed[i], Urgency::kUnsorted);
  }
}

}  // namespace mneme
