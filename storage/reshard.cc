#include "storage/reshard.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "storage/format.h"

namespace mneme {
namespace {

// What all targets hold together before it is written, and what one holds at most: from there on a larger batch writes
// no faster.
constexpr size_t kHeldBytes = size_t{64} << 20;
constexpr size_t kMaxBatchBytes = size_t{4} << 20;
// Bytes read between two looks at whether it goes on.
constexpr uint64_t kBytesBetweenLooks = uint64_t{1} << 18;
// What all cursors that go in order read ahead together, and one at most: from there on a disk is read no faster.
constexpr size_t kReadAheadBytes = size_t{64} << 20;
constexpr size_t kMaxReadAheadBytes = size_t{512} << 10;
constexpr size_t kCursorsAtOnce = 3;  // of a shard

}  // namespace

absl::StatusOr<std::optional<std::string>> Reshard::LeastKey(const std::vector<DbCursor>& cursors,
                                                             std::string_view prefix) {
  std::optional<std::string_view> least;
  for (const DbCursor& cursor : cursors) {
    if (!cursor.Valid()) RETURN_IF_ERROR(cursor.status());
    if (cursor.At(prefix) && (!least.has_value() || cursor.key() < *least)) least = cursor.key();
  }
  if (!least.has_value()) return std::optional<std::string>();
  return std::optional<std::string>(*least);
}

Reshard::Reshard(const ReshardOptions& options) : options_(options) {
  for (const MemoryRecord& memory : options.names->memories) {
    if (!memory.dropped) memories_[memory.number] = &memory;
  }
  for (const ReshardSource& source : options.from) {
    sequences_before_.push_back(sequence_);
    sequence_ += source.applied;
  }
  const size_t batch_bytes = std::min(kHeldBytes / options.to.size(), kMaxBatchBytes);
  targets_.reserve(options.to.size());
  for (EntryStore* store : options.to) targets_.emplace_back(store, sequence_, batch_bytes);
}

absl::Status Reshard::Move() {
  RETURN_IF_ERROR(MoveEntries());
  RETURN_IF_ERROR(MoveRequests());
  RETURN_IF_ERROR(MoveStates());
  for (ReshardTarget& target : targets_) {
    RETURN_IF_ERROR(Moved(kBytesBetweenLooks));
    RETURN_IF_ERROR(target.Finish());
  }
  return absl::OkStatus();
}

absl::Status Reshard::Moved(uint64_t bytes) {
  untold_ += bytes;
  if (untold_ < kBytesBetweenLooks) return absl::OkStatus();
  return options_.moved(std::exchange(untold_, 0)) ? absl::OkStatus()
                                                   : absl::CancelledError("the restore was given up");
}

absl::StatusOr<const MemoryRecord*> Reshard::FindMemory(MemoryNumber number) const {
  const auto found = memories_.find(number);
  if (found != memories_.end()) return found->second;
  if (number < options_.next_number) return nullptr;
  return absl::DataLossError(
      absl::StrCat("a shard of the backup holds memory ", number, ", which its catalogue never had"));
}

std::vector<DbCursor> Reshard::CursorsOver(std::string_view family) const {
  std::vector<DbCursor> cursors;
  const size_t read_ahead = std::min(kReadAheadBytes / (kCursorsAtOnce * options_.from.size()), kMaxReadAheadBytes);
  for (const ReshardSource& source : options_.from) cursors.emplace_back(*source.db, family, read_ahead);
  return cursors;
}

absl::Status Reshard::MoveEntries() {
  std::vector<DbCursor> heads = CursorsOver(format::kHeadsFamily);
  std::vector<DbCursor> rows = CursorsOver(format::kRowsFamily);
  std::vector<DbCursor> segments = CursorsOver(format::kSegmentsFamily);
  for (DbCursor& cursor : heads) cursor.Seek("");
  while (true) {
    ASSIGN_OR_RETURN(std::optional<std::string> least, LeastKey(heads, ""));
    if (!least.has_value()) return absl::OkStatus();
    Rows moved;
    moved.prefix = *std::move(least);
    ASSIGN_OR_RETURN(moved.key, format::ParsePartitionKey(moved.prefix));
    ASSIGN_OR_RETURN(moved.memory, FindMemory(moved.key.memory));
    for (size_t i = 0; i < heads.size(); ++i) {
      if (!heads[i].Valid() || heads[i].key() != moved.prefix) continue;
      ASSIGN_OR_RETURN(const PartitionHead head, format::DecodeHead(moved.key, heads[i].value()));
      heads[i].Next();
      if (moved.memory == nullptr) continue;
      moved.first_row = std::max(moved.first_row, head.next_row);
      moved.live_rows += head.live_rows;
      segments[i].SeekOn(moved.prefix);
      moved.indexed = moved.indexed || segments[i].At(moved.prefix);
      rows[i].SeekOn(moved.prefix);
      moved.cursors.push_back(&rows[i]);
      if (!segments[i].Valid()) RETURN_IF_ERROR(segments[i].status());
    }
    if (moved.memory != nullptr) RETURN_IF_ERROR(MovePartition(moved));
  }
}

absl::Status Reshard::MovePartition(const Rows& rows) {
  const Placement& placement = *options_.placement;
  const std::optional<uint32_t> owner = placement.of_partition(*rows.memory, rows.key.partition);
  const auto for_each_owner = [&](const auto& work) -> absl::Status {
    if (owner.has_value()) return work(targets_[*owner]);
    for (ReshardTarget& target : targets_) RETURN_IF_ERROR(work(target));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(for_each_owner([&](ReshardTarget& target) {
    target.BeginPartition(rows.key, rows.memory->spec.ValueBytes(), rows.first_row);
    return absl::OkStatus();
  }));
  struct Next {
    DbCursor* cursor;
    EntryView entry;  // at which it is
  };
  std::vector<Next> next;
  const auto read = [&](DbCursor* cursor, EntryView& entry) -> absl::StatusOr<bool> {
    if (!cursor->Valid()) RETURN_IF_ERROR(cursor->status());
    if (!cursor->At(rows.prefix)) return false;
    ASSIGN_OR_RETURN(const format::ParsedKey key, format::ParseNumberedKey(cursor->key()));
    ASSIGN_OR_RETURN(entry, format::DecodeRow(cursor->value()));
    const MemorySpec& spec = rows.memory->spec;
    const size_t value_bytes = spec.ValueBytes() != 0 ? spec.ValueBytes() : entry.value.size();
    const bool fits = entry.key.size() == spec.KeyBytes() && entry.value.size() == value_bytes;
    if (key.number < rows.first_row && fits) return true;
    return absl::DataLossError(absl::StrCat("row ", key.number, " of a shard is none of memory ", spec.name));
  };
  for (DbCursor* cursor : rows.cursors) {
    Next first{cursor, {}};
    ASSIGN_OR_RETURN(const bool any, read(cursor, first.entry));
    if (any) next.push_back(first);
  }
  uint64_t moved = 0;
  for (; !next.empty(); ++moved) {
    const auto least = std::min_element(next.begin(), next.end(), [](const Next& a, const Next& b) {
      return a.entry.attributes.created_ms < b.entry.attributes.created_ms;
    });
    const uint64_t bytes = least->cursor->key().size() + least->cursor->value().size();
    RETURN_IF_ERROR(targets_[owner.has_value() ? *owner : placement.of_id(least->entry.id)].Add(least->entry));
    RETURN_IF_ERROR(Moved(bytes));
    least->cursor->Next();
    ASSIGN_OR_RETURN(const bool more, read(least->cursor, least->entry));
    if (!more) next.erase(least);
  }
  if (moved != rows.live_rows) {
    return absl::DataLossError(absl::StrCat("partition ", rows.key.partition, " of memory ", rows.memory->spec.name,
                                            " has ", moved, " entries in the backup; its shards counted ",
                                            rows.live_rows));
  }
  return for_each_owner([&](ReshardTarget& target) { return target.EndPartition(rows.indexed); });
}

}  // namespace mneme
