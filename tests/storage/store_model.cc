#include "tests/storage/store_model.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

constexpr uint64_t kIds = 96;
constexpr uint64_t kRequests = 24;

// Neighbours in key order, both ends of every range.
const std::vector<PartitionKey>& Universe() {
  static const auto& keys = *new std::vector<PartitionKey>{
      {1, 0}, {1, 1}, {1, UINT64_MAX}, {2, 0}, {255, 3}, {256, 3}, {UINT32_MAX, UINT64_MAX}};
  return keys;
}

Hash128 RequestId(uint64_t number) { return {.low = ~number, .high = number}; }

std::string RowText(const EntryView& entry) {
  const Attributes& a = entry.attributes;
  return absl::StrCat(entry.id, " ", absl::BytesToHexString(std::string(entry.key)), " ",
                      absl::BytesToHexString(std::string(entry.value)), " ", std::bit_cast<uint32_t>(a.weight), " ",
                      std::bit_cast<uint64_t>(a.score), " ", a.label, " ", a.source, " ", a.position, " ", a.expiry_ms,
                      " ", a.created_ms);
}

std::string SegmentText(const SegmentRecord& s) {
  return absl::StrCat("segment ", s.key.memory, "/", s.key.partition, " ", s.file_number, " ", s.codebook_number, " ",
                      s.first_row, " ", s.end_row, "\n");
}

std::string HeadText(const PartitionHead& head) {
  return absl::StrCat("head ", head.key.memory, "/", head.key.partition, " ", head.next_row, " ", head.live_rows, " ",
                      head.id_bound, "\n");
}

std::string RequestText(const RememberedRequest& r, bool with_result) {
  return absl::StrCat("request ", r.id.high, " ", r.id.low, " ", r.content, " ", r.sequence, " ", r.stamp_ms, " ",
                      with_result ? absl::BytesToHexString(r.result) : "", "\n");
}

uint64_t Below(std::mt19937_64& random, uint64_t bound) { return random() % bound; }
bool OneIn(std::mt19937_64& random, uint64_t n) { return Below(random, n) == 0; }

std::string RandomBytes(std::mt19937_64& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

Attributes RandomAttributes(std::mt19937_64& random) {
  Attributes a;
  a.created_ms = 1'717'000'000'000 + static_cast<int64_t>(Below(random, 1'000'000));
  if (OneIn(random, 3)) a.weight = static_cast<float>(1 + Below(random, 100)) / 7.0F;
  if (OneIn(random, 3)) a.score = std::bit_cast<double>(random() & 0x7FEFFFFFFFFFFFFFULL);
  if (OneIn(random, 3)) a.label = static_cast<int64_t>(random());
  if (OneIn(random, 3)) a.source = random() >> Below(random, 64);
  if (OneIn(random, 3)) a.position = random() >> Below(random, 64);
  if (OneIn(random, 5)) a.expiry_ms = std::numeric_limits<int64_t>::max() - static_cast<int64_t>(Below(random, 9));
  return a;
}

absl::StatusOr<std::string> DumpPartition(const EntryStore& store, const PartitionKey& key) {
  std::string text;
  RETURN_IF_ERROR(store.ScanRows(key, 0, UINT64_MAX, [&](Row row, const EntryView& entry) {
    absl::StrAppend(&text, "row ", row, " ", RowText(entry), "\n");
    return true;
  }));
  std::vector<EntryId> ids(kIds);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = i;
  ASSIGN_OR_RETURN(const std::vector<std::optional<Row>> rows, store.FindRows(key, ids));
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSIGN_OR_RETURN(const std::optional<Row> alone, store.FindRow(key, i));
    if (alone != rows.at(i)) return absl::InternalError(absl::StrCat("FindRow and FindRows differ on id ", i));
    if (alone.has_value()) absl::StrAppend(&text, "id ", i, " ", *alone, "\n");
  }
  ASSIGN_OR_RETURN(const std::vector<Row> dead, store.ReadDeadMarks(key));
  for (const Row row : dead) absl::StrAppend(&text, "dead ", row, "\n");
  if (text.empty()) return text;
  return absl::StrCat("partition ", key.memory, "/", key.partition, "\n", text);
}

}  // namespace

const StoreModel::Partition& StoreModel::At(const PartitionKey& key) const {
  static const auto& empty = *new Partition;
  const auto it = partitions_.find(key);
  return it == partitions_.end() ? empty : it->second;
}

void StoreModel::Apply(const StoreBatch& batch) {
  applied_ = batch.sequence;
  for (const PartitionKey& key : batch.dropped_partitions) partitions_.erase(key);
  for (const StoreBatch::Run& run : batch.runs) {
    Partition& partition = partitions_[run.key];
    for (size_t i = run.begin; i < run.end; ++i) {
      const EntryView entry = run.columns->At(i);
      const Row row = run.first_row + (i - run.begin);
      partition.rows[row] = RowText(entry);
      if (!run.map_ids) continue;
      partition.ids[entry.id] = row;
      partition.next_new_id = std::max(partition.next_new_id, entry.id + 1);
    }
  }
  for (const StoreBatch::Death& death : batch.deaths) {
    Partition& partition = partitions_[death.key];
    partition.rows.erase(death.row);
    partition.dead.insert(death.row);
    if (death.unmap_id) partition.ids.erase(death.id);
  }
  for (const PartitionHead& head : batch.heads) {
    Partition& partition = partitions_[head.key];
    partition.has_head = true;
    partition.next_row = head.next_row;
    partition.live_rows = head.live_rows;
    partition.id_bound = head.id_bound;
  }
  for (const RememberedRequest& request : batch.forgotten_requests) {
    const auto it = requests_.find(request.id.high);
    if (it != requests_.end() && it->second.sequence == request.sequence) requests_.erase(it);
  }
  for (const RememberedRequest& request : batch.requests) requests_[request.id.high] = request;
  for (const SegmentRecord& segment : batch.removed_segments) {
    partitions_[segment.key].segments.erase(segment.file_number);
  }
  for (const SegmentRecord& segment : batch.added_segments) {
    partitions_[segment.key].segments[segment.file_number] = segment;
  }
  for (const StoreBatch::Death& mark : batch.cleared_marks) partitions_[mark.key].dead.erase(mark.row);
}

void StoreModel::DropMemory(MemoryNumber memory) {
  std::erase_if(partitions_, [&](const auto& item) { return item.first.memory == memory; });
}

void StoreModel::AddRun(std::mt19937_64& random, const PartitionKey& key, size_t entries, size_t value_bytes,
                        OwnedBatch& out) const {
  const bool dropped = std::find(out.batch.dropped_partitions.begin(), out.batch.dropped_partitions.end(), key) !=
                       out.batch.dropped_partitions.end();
  const Partition partition = dropped ? Partition() : At(key);
  auto columns = std::make_unique<EntryColumns>();
  const size_t padding = Below(random, 3);  // entries before and behind the run, which must not be stored
  const size_t count = 1 + Below(random, entries);
  std::map<EntryId, Row> ids = partition.ids;
  std::set<Row> live;
  for (const auto& [row, text] : partition.rows) live.insert(row);
  const bool map_ids = !OneIn(random, 4);
  // Every other run of ids that can be new is: dense, or with a gap in it.
  const bool new_ids = map_ids && partition.next_new_id + count < kIds && OneIn(random, 2);
  const size_t gap_at = Below(random, 2 * count);
  for (size_t i = 0; i < count + 2 * padding; ++i) {
    const EntryId id = new_ids && i >= padding ? partition.next_new_id + (i - padding) + (i - padding >= gap_at ? 1 : 0)
                                               : Below(random, new_ids ? kIds : kIds / 2);
    const std::string key_bytes = RandomBytes(random, 8);
    const std::string value = RandomBytes(random, Below(random, value_bytes + 1));
    columns->Append({id, key_bytes, value, RandomAttributes(random)});
  }
  for (size_t i = 0; i < count; ++i) {
    const Row row = partition.next_row + i;
    live.insert(row);
    if (!map_ids) continue;
    const EntryId id = columns->ids[padding + i];
    if (const auto old = ids.find(id); old != ids.end()) {
      out.batch.deaths.push_back({key, old->second, id, false});
      live.erase(old->second);
    }
    ids[id] = row;
  }
  if (OneIn(random, 3) && !ids.empty()) {
    const auto [id, row] = *std::next(ids.begin(), static_cast<ptrdiff_t>(Below(random, ids.size())));
    out.batch.deaths.push_back({key, row, id, true});
    live.erase(row);
  }
  out.batch.runs.push_back({key, partition.next_row, columns.get(), padding, padding + count, map_ids, new_ids});
  out.batch.heads.push_back({key, partition.next_row + count, live.size(), random() >> Below(random, 64)});
  out.columns.push_back(std::move(columns));
}

OwnedBatch StoreModel::RandomBatch(std::mt19937_64& random, size_t entries, size_t value_bytes) const {
  OwnedBatch out;
  out.batch.sequence = applied_ + 1;
  std::vector<PartitionKey> keys = Universe();
  std::shuffle(keys.begin(), keys.end(), random);
  if (OneIn(random, 12)) out.batch.dropped_partitions.push_back(keys[0]);
  const size_t runs = Below(random, 3);
  for (size_t i = 0; i < runs; ++i) AddRun(random, keys[i], entries, value_bytes, out);
  for (const auto& [number, segment] : At(keys[3]).segments) {
    if (OneIn(random, 2)) out.batch.removed_segments.push_back(segment);
  }
  if (OneIn(random, 3)) {
    const Row first = Below(random, 1000);
    out.batch.added_segments.push_back({keys[4], Below(random, 5), random(), first, first + Below(random, 1000)});
  }
  for (const Row row : At(keys[5]).dead) {
    if (OneIn(random, 2)) out.batch.cleared_marks.push_back({keys[5], row, 0, false});
  }
  for (const auto& [number, request] : requests_) {
    if (!OneIn(random, 8)) continue;
    out.batch.forgotten_requests.push_back(request);
    if (OneIn(random, 4)) ++out.batch.forgotten_requests.back().sequence;  // a stale wish: nothing may happen
  }
  for (uint64_t i = Below(random, 3); i > 0; --i) {
    out.batch.requests.push_back({RequestId(Below(random, kRequests)), random(), out.batch.sequence,
                                  static_cast<int64_t>(Below(random, 1'000'000)),
                                  RandomBytes(random, Below(random, 40))});
  }
  return out;
}

std::string StoreModel::Dump() const {
  std::string text = absl::StrCat("applied ", applied_, "\n");
  for (const auto& [key, partition] : partitions_) {
    if (!partition.has_head) continue;
    absl::StrAppend(&text, HeadText({key, partition.next_row, partition.live_rows, partition.id_bound}));
  }
  for (const auto& [key, partition] : partitions_) {
    for (const auto& [number, segment] : partition.segments) absl::StrAppend(&text, SegmentText(segment));
  }
  for (const PartitionKey& key : Universe()) {
    const Partition& partition = At(key);
    if (partition.rows.empty() && partition.ids.empty() && partition.dead.empty()) continue;
    absl::StrAppend(&text, "partition ", key.memory, "/", key.partition, "\n");
    for (const auto& [row, entry] : partition.rows) absl::StrAppend(&text, "row ", row, " ", entry, "\n");
    for (const auto& [id, row] : partition.ids) absl::StrAppend(&text, "id ", id, " ", row, "\n");
    for (const Row row : partition.dead) absl::StrAppend(&text, "dead ", row, "\n");
  }
  absl::StrAppend(&text, "requests ", requests_.size(), "\n");
  for (const auto& [number, request] : requests_) absl::StrAppend(&text, RequestText(request, true));
  std::map<std::pair<Sequence, uint64_t>, const RememberedRequest*> by_age;
  for (const auto& [number, request] : requests_) by_age[{request.sequence, number}] = &request;
  for (const auto& [age, request] : by_age) absl::StrAppend(&text, "old ", RequestText(*request, false));
  return text;
}

absl::StatusOr<std::string> DumpStore(const EntryStore& store) {
  std::string text = absl::StrCat("applied ", store.applied(), "\n");
  ASSIGN_OR_RETURN(const std::vector<PartitionHead> heads, store.ReadHeads());
  for (const PartitionHead& head : heads) absl::StrAppend(&text, HeadText(head));
  ASSIGN_OR_RETURN(const std::vector<SegmentRecord> segments, store.ReadSegments());
  for (const SegmentRecord& segment : segments) absl::StrAppend(&text, SegmentText(segment));
  for (const PartitionKey& key : Universe()) {
    ASSIGN_OR_RETURN(const std::string partition, DumpPartition(store, key));
    absl::StrAppend(&text, partition);
  }
  ASSIGN_OR_RETURN(const uint64_t requests, store.CountRequests());
  absl::StrAppend(&text, "requests ", requests, "\n");
  for (uint64_t i = 0; i < kRequests; ++i) {
    ASSIGN_OR_RETURN(const std::optional<RememberedRequest> request, store.FindRequest(RequestId(i)));
    if (request.has_value()) absl::StrAppend(&text, RequestText(*request, true));
  }
  ASSIGN_OR_RETURN(const std::vector<RememberedRequest> oldest, store.OldestRequests(kRequests + 1));
  for (const RememberedRequest& request : oldest) absl::StrAppend(&text, "old ", RequestText(request, false));
  return text;
}

}  // namespace mneme
