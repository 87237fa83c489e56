#include "engine/partition_index.h"

#include <algorithm>
#include <numeric>

#include "engine/drift.h"

namespace mneme {
namespace {

// Deaths between two looks at what is dead, so that deleting one by one does not ask each time.
constexpr uint64_t kLeastHintedDeaths = 1024;
constexpr uint64_t kHintsPerPartition = 16;

}  // namespace

PartitionIndex::PartitionIndex(const IndexSpec& spec, const PartitionHead& head, uint64_t generation)
    : spec_(spec),
      head_(head),
      generation_(generation),
      tail_(std::make_unique<Tail>(spec, Row{0})),
      history_(std::make_shared<const RowHistory>()) {}

void PartitionIndex::Append(const EntryColumns& columns, size_t begin, size_t end) {
  tail_->Append(columns, begin, end);
  for (size_t i = begin; i < end && !columns.expiries_ms.empty(); ++i) {
    const int64_t expiry = columns.expiries_ms[i];
    if (expiry != 0) fresh_expiry_ms_ = std::min(fresh_expiry_ms_, expiry);
  }
}

void PartitionIndex::Append(const EntryView& entry, size_t rows_to_come) {
  tail_->Append(entry, rows_to_come);
  const int64_t expiry = entry.attributes.expiry_ms;
  if (expiry != 0) fresh_expiry_ms_ = std::min(fresh_expiry_ms_, expiry);
}

void PartitionIndex::MarkDead(const std::vector<Row>& rows) {
  slots_.reset();  // it is of no use any more, and has keys of what died
  dead_ = dead_.With(rows);
  fresh_deaths_ += rows.size();
}

bool PartitionIndex::TakeCompactionHint() {
  uint64_t sealed = 0;
  for (const InstalledSegment& installed : segments_) sealed += installed.segment->rows();
  if (sealed == 0 || fresh_deaths_ < std::max(kLeastHintedDeaths, sealed / kHintsPerPartition)) return false;
  fresh_deaths_ = 0;
  return true;
}

bool PartitionIndex::TakeSortHint() {
  if (codebook_ == nullptr) return false;
  const Row end = tail_->end_row();
  if (end - std::max(std::min(sorted_to_, end), tail_from_) < kUnsortedRows) return false;
  sorted_to_ = end;
  return true;
}

void PartitionIndex::AppendGap(uint64_t count) {
  EntryColumns blank;
  blank.count = std::min<uint64_t>(count, Tail::kMaxChunkRows);
  blank.key_bytes = spec_.KeyBytes();
  blank.keys.Resize(blank.count * blank.key_bytes);
  std::fill_n(blank.keys.data(), blank.keys.size(), '\0');
  blank.ids.assign(blank.count, 0);
  blank.values.width = spec_.value_bytes;
  blank.values.bytes.assign(blank.count * spec_.value_bytes, '\0');
  if (spec_.value_bytes == 0) blank.values.offsets.assign(blank.count + 1, 0);
  while (count > 0) {
    const size_t rows = std::min<uint64_t>(count, blank.count);
    std::vector<Row> dead(rows);
    std::iota(dead.begin(), dead.end(), tail_->end_row());
    tail_->Append(blank, 0, rows);
    MarkDead(dead);
    count -= rows;
  }
}

void PartitionIndex::StartTailAt(Row row) {
  tail_ = std::make_unique<Tail>(spec_, row);
  tail_from_ = row;
}

void PartitionIndex::Clear() {
  ++generation_;
  slots_.reset();
  segments_.clear();
  codebook_.reset();
  drift_ = 0.0;
  StartTailAt(head_.next_row);
  dead_ = DeadRows();
  history_ = std::make_shared<const RowHistory>();
  oldest_.Forget(head_.next_row);
}

void PartitionIndex::Install(InstalledSegment added, std::shared_ptr<const Codebook> codebook) {
  const Row first = added.record.first_row;
  const Row end = added.record.end_row;
  std::erase_if(segments_, [&](const InstalledSegment& old) {
    return old.record.first_row >= first && old.record.end_row <= end;
  });
  const auto at = std::find_if(segments_.begin(), segments_.end(),
                               [&](const InstalledSegment& old) { return old.record.first_row > first; });
  const bool newest = at == segments_.end();
  if (newest) drift_ = MeasureDrift(*added.segment, *codebook, spec_);
  segments_.insert(at, std::move(added));
  if (codebook_ != codebook) sorted_to_ = 0;  // into the lists of another
  codebook_ = std::move(codebook);
  if (end > tail_from_) {
    tail_from_ = end;
    tail_->DropBelow(end);
  }
}

void PartitionIndex::DiscardSegments(Row first, Row end) {
  std::erase_if(segments_, [&](const InstalledSegment& old) {
    return old.record.first_row >= first && old.record.end_row <= end;
  });
}

bool PartitionIndex::DiscardTail(Row end) {
  if (end <= tail_from_ || dead_.CountIn(tail_from_, end) != end - tail_from_) return false;
  tail_from_ = end;
  tail_->DropBelow(end);
  return true;
}

std::shared_ptr<const IndexVersion> PartitionIndex::MakeVersion() const {
  auto version = std::make_shared<IndexVersion>();
  version->partition = head_.key.partition;
  version->segments.reserve(segments_.size());
  for (const InstalledSegment& installed : segments_) version->segments.push_back(installed.segment);
  version->codebook = codebook_;
  version->tail = tail_->TakeSnapshot();
  version->tail_from = tail_from_;
  version->dead = dead_;
  version->history = history_;
  return version;
}

}  // namespace mneme
