#include "engine/merge_entries.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/aligned_buffer.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/vector_codec.h"
#include "engine/routing.h"
#include "engine/visible_rows.h"
#include "index/search.h"

namespace mneme {

MergeEntries::MergeEntries(MemoryHandle memory, std::shared_ptr<const IndexVersion> version)
    : memory_(std::move(memory)), spec_(MakeIndexSpec(memory_->spec)), version_(std::move(version)) {}

absl::Status MergeEntries::Collect(const PruneCommand& command) {
  RowFilter visible;
  visible.stamp_ms = command.stamp_ms;
  RETURN_IF_ERROR(ForEachVisibleRow(*version_, visible, command.limits, [&](const RowBlock& block, size_t at) {
    if (blocks_.empty() || blocks_.back().ids != block.ids) blocks_.push_back(block);
    entries_.push_back({block.RowAt(at), static_cast<uint32_t>(blocks_.size() - 1), static_cast<uint32_t>(at)});
  }));
  std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.row < b.row; });
  place_of_.reserve(entries_.size());
  for (uint32_t place = 0; place < entries_.size(); ++place) {
    entries_[place].into = place;
    place_of_.emplace(IdOf(entries_[place]), place);
  }
  return absl::OkStatus();
}

bool MergeEntries::MayTake(const Entry& taker, const Entry& other) const {
  const RowBlock& mine = blocks_[taker.block];
  const RowBlock& its = blocks_[other.block];
  if (mine.ValueAt(taker.at, spec_.value_bytes) != its.ValueAt(other.at, spec_.value_bytes)) return false;
  const Attributes kept = AttributesOf(taker);
  const Attributes gone = AttributesOf(other);
  return gone.weight == 1.0F && gone.label == kept.label && gone.expiry_ms == kept.expiry_ms;
}

absl::Status MergeEntries::ChooseBatch(const PruneCommand& command, const std::vector<uint32_t>& places) {
  AlignedBuffer queries;
  queries.Resize(places.size() * spec_.dimension * sizeof(float));
  std::vector<EntryId> ids;
  for (size_t i = 0; i < places.size(); ++i) {
    const Entry& entry = entries_[places[i]];
    DecodeVector(spec_.key_dtype, blocks_[entry.block].keys + entry.at * spec_.KeyBytes(), spec_.dimension,
                 queries.as<float>() + i * spec_.dimension);
    ids.push_back(IdOf(entry));
  }
  RowFilter visible;
  visible.stamp_ms = command.stamp_ms;
  SearchRequest request;
  request.spec = spec_;
  request.queries = queries.as<float>();
  request.query_count = places.size();
  request.k = command.neighbours;
  request.exact = command.exact;
  request.probes = command.probes;
  request.recall_target = command.recall_target;
  request.filter = &visible;
  request.exclude_ids = ids;
  request.stop = [&] { return command.limits.Check(); };
  ASSIGN_OR_RETURN(const SearchResult found, Search(absl::MakeConstSpan(&version_, 1), request));
  for (size_t i = 0; i < places.size(); ++i) {
    Entry& taker = entries_[places[i]];
    if (taker.into != places[i]) continue;  // taken by one before it in this batch
    for (size_t at = found.neighbours.offsets[i]; at < found.neighbours.offsets[i + 1]; ++at) {
      const uint32_t place = place_of_.at(found.neighbours.ids[at]);
      Entry& other = entries_[place];
      if (other.into != place || other.taken != 0 || !MayTake(taker, other)) continue;
      other.into = places[i];
      taken_by_[places[i]].push_back(place);
      ++taker.taken;
      ++merged_;
    }
  }
  return absl::OkStatus();
}

absl::Status MergeEntries::Choose(const PruneCommand& command, const std::function<bool(uint64_t)>& told) {
  std::vector<uint32_t> places;
  for (uint32_t place = 0; place < entries_.size(); ++place) {
    if (entries_[place].into == place) places.push_back(place);
    const bool last = place + 1 == entries_.size();
    if (places.empty() || (places.size() < limits::kMaxBatchedRows && !last)) continue;
    RETURN_IF_ERROR(ChooseBatch(command, places));
    places.clear();
    if (!told(place + 1)) return absl::CancelledError("pruning was cancelled");
  }
  return absl::OkStatus();
}

std::shared_ptr<const IndexVersion> MergeEntries::VersionAfter() const {
  std::vector<Row> gone;
  for (uint32_t place = 0; place < entries_.size(); ++place) {
    if (entries_[place].into != place) gone.push_back(entries_[place].row);
  }
  auto after = std::make_shared<IndexVersion>(*version_);
  after->dead = version_->dead.With(gone);
  return after;
}

std::optional<float> MergeEntries::WeightAfter(EntryId id) const {
  const auto place = place_of_.find(id);
  if (place == place_of_.end()) return std::nullopt;
  const Entry& entry = entries_[place->second];
  return AttributesOf(entry).weight + static_cast<float>(entry.taken);
}

void MergeEntries::Append(uint32_t survivor, MergeOperation& operation) const {
  const Entry& entry = entries_[survivor];
  const RowBlock& block = blocks_[entry.block];
  EntryView view;
  view.id = IdOf(entry);
  view.key = {block.keys + entry.at * spec_.KeyBytes(), spec_.KeyBytes()};
  view.value = block.ValueAt(entry.at, spec_.value_bytes);
  view.attributes = AttributesOf(entry);
  operation.survivors.Append(view);
  operation.rows.push_back(entry.row);
  for (const uint32_t place : taken_by_.at(survivor)) {
    operation.merged.push_back({entries_[place].row, IdOf(entries_[place])});
  }
  operation.offsets.push_back(operation.merged.size());
}

std::optional<MergeOperation> MergeEntries::Next(Cursor& cursor, size_t rows, size_t bytes) const {
  MergeOperation operation{.memory = memory_, .key = {memory_->number, version_->partition}};
  operation.survivors.values.width = spec_.value_bytes;
  const EntryColumns& survivors = operation.survivors;
  while (operation.merged.size() < rows && survivors.keys.size() + survivors.values.bytes.size() < bytes) {
    if (cursor.next == entries_.size()) {
      if (cursor.server_ids || !operation.rows.empty()) break;
      cursor = {true, 0};
      continue;  // there may be no entry at all
    }
    const auto place = static_cast<uint32_t>(cursor.next++);
    const bool survivor = entries_[place].taken != 0;
    if (survivor && IsServerId(IdOf(entries_[place])) == cursor.server_ids) Append(place, operation);
  }
  if (operation.rows.empty()) return std::nullopt;
  return operation;
}

}  // namespace mneme
