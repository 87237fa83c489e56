#include "engine/write_fanout.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "engine/content_hash.h"
#include "engine/write_join.h"

namespace mneme {
namespace {

// Sums the answers into result and version; the error of the first shard that failed.
absl::StatusOr<WriteResult> Sum(const MemoryRecord& memory, std::vector<WriteJoin::Answer>& answers, Version& version) {
  WriteResult sum;
  sum.replayed = true;
  version.memory = memory.number;
  std::shared_ptr<const EarlierOutcome> earlier;  // every answer that has one has the same
  for (WriteJoin::Answer& answer : answers) {
    RETURN_IF_ERROR(answer.result.status());
    sum.count += answer.result->count;
    sum.other += answer.result->other;
    sum.replayed = sum.replayed && answer.result->replayed;
    if (answer.result->earlier != nullptr) earlier = answer.result->earlier;
    if (sum.given_ids.empty()) sum.given_ids = std::move(answer.result->given_ids);
    version.parts.push_back({answer.shard, answer.result->sequence});
  }
  if (earlier != nullptr) {
    sum.count += earlier->count;
    sum.other += earlier->other;
  }
  return sum;
}

uint64_t ContentOf(PartitionId partition, const EntryColumns& entries) {
  ContentHash hash;
  hash.Add(partition);
  hash.Add(entries.keys.view());
  hash.Add(std::string_view(entries.values.bytes.data(), entries.values.bytes.size()));
  hash.Add(entries.values.offsets);
  hash.Add(entries.ids);
  hash.Add(entries.weights);
  hash.Add(entries.scores);
  hash.Add(entries.labels);
  hash.Add(entries.sources);
  hash.Add(entries.positions);
  hash.Add(entries.expiries_ms);
  return hash.value();
}

uint64_t ContentOf(const DeleteCommand& command) {
  ContentHash hash;
  hash.Add(command.partitions.partitions);
  hash.Add(static_cast<uint64_t>(command.partitions.all) * 2 + static_cast<uint64_t>(command.everything));
  if (command.ids.has_value()) hash.Add(*command.ids);
  if (command.filter.has_value()) {
    const RowFilter& filter = *command.filter;
    hash.Add(filter.ids.value_or(std::vector<EntryId>{}));
    hash.Add(filter.labels.value_or(std::vector<int64_t>{}));
    hash.Add(filter.sources.value_or(std::vector<uint64_t>{}));
    hash.Add(static_cast<uint64_t>(filter.created_from_ms.value_or(0)));
    hash.Add(static_cast<uint64_t>(filter.created_to_ms.value_or(0)));
  }
  return hash.value();
}

}  // namespace

void WriteFanout::Insert(MemoryHandle memory, InsertCommand command, int64_t stamp_ms, std::function<void()> visible,
                         std::function<void(absl::StatusOr<InsertOutcome>)> done) const {
  const uint64_t content = command.request_id.empty() ? 0 : ContentOf(command.partition, command.entries);
  std::map<uint32_t, EntryColumns> by_shard;
  const auto owner = routing_->OwnerOfPartition(*memory, command.partition);
  if (command.entries.ids.empty()) {
    const std::string spread_by =
        command.request_id.empty() ? absl::StrCat("#", batches_.fetch_add(1)) : command.request_id;
    by_shard.emplace(routing_->OwnerOfBatch(*memory, command.partition, spread_by), std::move(command.entries));
  } else if (owner.has_value()) {
    by_shard.emplace(*owner, std::move(command.entries));
  } else {
    for (size_t i = 0; i < command.entries.count; ++i) {
      const EntryView entry = command.entries.At(i);
      EntryColumns& part = by_shard[routing_->OwnerOfEntry(*memory, command.partition, entry.id)];
      part.values.width = command.entries.values.width;
      part.Append(entry);
    }
  }
  const bool wants_visible = visible != nullptr;
  auto join = std::make_shared<WriteJoin>(by_shard.size(), std::move(visible),
                                     [memory, done = std::move(done)](std::vector<WriteJoin::Answer> answers) {
                                       InsertOutcome outcome;
                                       auto sum = Sum(*memory, answers, outcome.version);
                                       if (!sum.ok()) return done(sum.status());
                                       outcome.inserted = sum->count;
                                       outcome.replaced = sum->other;
                                       outcome.given_ids = std::move(sum->given_ids);
                                       outcome.replayed = sum->replayed;
                                       done(std::move(outcome));
                                     });
  for (auto& [shard, entries] : by_shard) {
    InsertOperation operation;
    operation.ticket = MakeTicket(memory, {RequestScope(command.partition), command.request_id}, content,
                                  command.durability, stamp_ms);
    operation.partition = command.partition;
    operation.entries = std::move(entries);
    operation.bulk = command.bulk;
    SubmitTo(*shards_[shard], std::move(operation), join, wants_visible);
  }
}

void WriteFanout::Delete(MemoryHandle memory, DeleteCommand command, int64_t stamp_ms,
                         std::function<void(absl::StatusOr<DeleteOutcome>)> done) const {
  const uint64_t content = command.request_id.empty() ? 0 : ContentOf(command);
  const std::vector<uint32_t> owners = routing_->OwnersOf(*memory, command.partitions);
  const uint64_t distinct = [&] {
    if (!command.ids.has_value()) return uint64_t{0};
    std::sort(command.ids->begin(), command.ids->end());
    command.ids->erase(std::unique(command.ids->begin(), command.ids->end()), command.ids->end());
    return uint64_t{command.ids->size()};
  }();
  auto join = std::make_shared<WriteJoin>(
      owners.size(), nullptr,
      [memory, stamp_ms, distinct, done = std::move(done)](std::vector<WriteJoin::Answer> answers) {
        DeleteOutcome outcome;
        auto sum = Sum(*memory, answers, outcome.version);
        if (!sum.ok()) return done(sum.status());
        outcome.deleted = sum->count;
        // Every shard was asked for every id; an id in two partitions may be deleted twice.
        outcome.absent = distinct - std::min(distinct, sum->count);
        outcome.deleted_at_ms = stamp_ms;
        outcome.replayed = sum->replayed;
        done(std::move(outcome));
      });
  for (const uint32_t owner : owners) {
    DeleteOperation operation;
    operation.ticket = MakeTicket(memory, {RequestScope(command.partitions), command.request_id}, content,
                                  command.durability, stamp_ms);
    operation.partitions = command.partitions.partitions;
    if (operation.partitions.empty()) operation.partitions = {0};
    operation.all_partitions = command.partitions.all;
    operation.ids = command.ids;
    operation.filter = command.filter;
    operation.everything = command.everything;
    SubmitTo(*shards_[owner], std::move(operation), join, /*wants_visible=*/false);
  }
}

}  // namespace mneme
