// 1. Heads say which partitions there are; those of unknown memories go, small ones without index files stay asleep.
// 2. Segments open against their records. A damaged one is rebuilt from its rows with the same codebook; a damaged
//    codebook is trained anew, and all segments of the partition become one.
// 3. Rows above the last segment are read into the tail; gaps that deletions left are filled with dead rows.
#include "engine/shard_loader.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/crash_point.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/index_builder.h"

namespace mneme {
namespace {

// Puts rows of the store, ascending, into the tail of a partition, with the gaps that deletions left.
class TailLoader {
 public:
  // Rows from `from` on are to come.
  TailLoader(PartitionIndex& partition, Row from)
      : partition_(partition), to_come_(std::min(partition.head().live_rows, partition.head().next_row - from)) {}

  void Add(Row row, const EntryView& entry) {
    if (!started_) {
      partition_.StartTailAt(row);
      started_ = true;
    } else if (row != next_) {
      partition_.AppendGap(row - next_);
    }
    partition_.Append(entry, std::max<uint64_t>(1, to_come_));
    to_come_ -= std::min<uint64_t>(1, to_come_);
    next_ = row + 1;
  }
  // No more rows.
  void Finish() {
    const Row end = partition_.head().next_row;
    if (!started_) {
      partition_.StartTailAt(end);
    } else if (next_ < end) {
      partition_.AppendGap(end - next_);
    }
  }

 private:
  PartitionIndex& partition_;
  uint64_t to_come_;
  Row next_ = 0;
  bool started_ = false;
};

absl::Status LoadTail(const EntryStore& store, PartitionIndex& partition) {
  const PartitionHead& head = partition.head();
  const Row from = partition.segments().empty() ? 0 : partition.segments().back().record.end_row;
  TailLoader tail(partition, from);
  RETURN_IF_ERROR(store.ScanRows(head.key, from, head.next_row, [&](Row row, const EntryView& entry) {
    tail.Add(row, entry);
    return true;
  }));
  tail.Finish();
  return absl::OkStatus();
}

absl::Status NeverHad(MemoryNumber memory) {
  return absl::DataLossError(
      absl::StrCat("the store holds memory ", memory, ", which the catalogue never had; restore the catalogue"));
}

class Loader {
 public:
  Loader(EntryStore& store, IndexFiles& files, const EventSink& events)
      : store_(store), files_(files), events_(events) {}

  absl::StatusOr<LoadedPartitions> Run(const std::vector<MemoryHandle>& memories, MemoryNumber next_number,
                                       uint64_t asleep_below) {
    std::map<MemoryNumber, MemoryHandle> by_number;
    for (const MemoryHandle& memory : memories) by_number[memory->number] = memory;
    ASSIGN_OR_RETURN(const std::vector<SegmentRecord> records, store_.ReadSegments());
    std::map<PartitionKey, std::vector<SegmentRecord>> records_of;
    for (const SegmentRecord& record : records) {
      files_.ReserveThrough(std::max(record.file_number, record.codebook_number));
      records_of[record.key].push_back(record);
    }
    ASSIGN_OR_RETURN(const std::vector<PartitionHead> heads, store_.ReadHeads());
    LoadedPartitions loaded;
    std::set<MemoryNumber> unknown;
    for (const PartitionHead& head : heads) {
      const auto memory = by_number.find(head.key.memory);
      if (memory == by_number.end() && head.key.memory >= next_number) {
        return NeverHad(head.key.memory);
      }
      if (memory == by_number.end()) {
        unknown.insert(head.key.memory);
        continue;
      }
      const auto segments = records_of.find(head.key);
      if (segments == records_of.end() && head.live_rows < asleep_below) {
        loaded.asleep.emplace_back(head, MakeIndexSpec(memory->second->spec));
        continue;
      }
      auto partition = std::make_unique<PartitionIndex>(MakeIndexSpec(memory->second->spec), head);
      if (segments != records_of.end()) RETURN_IF_ERROR(LoadSegments(*partition, std::move(segments->second)));
      RETURN_IF_ERROR(LoadRows(store_, *partition));
      loaded.awake.emplace(head.key, std::move(partition));
    }
    ASSIGN_OR_RETURN(const std::vector<MemoryNumber> with_states, store_.ReadStates()->Memories());
    for (const MemoryNumber memory : with_states) {
      if (by_number.contains(memory)) continue;
      if (memory >= next_number) return NeverHad(memory);
      unknown.insert(memory);
    }
    for (const MemoryNumber memory : unknown) RETURN_IF_ERROR(store_.DropMemory(memory));
    RemoveOrphans(loaded.awake);
    return loaded;
  }

 private:
  void Tell(std::string_view event, const std::string& detail) const {
    if (events_ != nullptr) events_(event, detail);
  }

  absl::Status LoadSegments(PartitionIndex& partition, std::vector<SegmentRecord> records) {
    if (records.empty()) return absl::OkStatus();
    std::sort(records.begin(), records.end(),
              [](const SegmentRecord& a, const SegmentRecord& b) { return a.first_row < b.first_row; });
    const PartitionKey key = partition.head().key;
    auto codebook = files_.OpenCodebook(key, records.front().codebook_number, partition.spec());
    if (!codebook.ok()) {
      Tell("index_codebook_rebuilt", std::string(codebook.status().message()));
      return Rebuild(partition, records, records.front().first_row, records.back().end_row, nullptr);
    }
    for (const SegmentRecord& record : records) {
      auto segment = files_.OpenSegment(record, partition.spec());
      if (segment.ok()) {
        partition.Install({record, *std::move(segment)}, *codebook);
        continue;
      }
      Tell("index_segment_rebuilt", std::string(segment.status().message()));
      RETURN_IF_ERROR(Rebuild(partition, {record}, record.first_row, record.end_row, *codebook));
    }
    return absl::OkStatus();
  }

  // Builds [first, end) anew in the place of `damaged`. When there are too few rows left to train on, they are simply
  // unsealed: the tail takes them.
  absl::Status Rebuild(PartitionIndex& partition, const std::vector<SegmentRecord>& damaged, Row first, Row end,
                       std::shared_ptr<const Codebook> codebook) {
    StoreBatch batch;
    batch.sequence = store_.applied();
    batch.removed_segments = damaged;
    auto built = BuildSegment({.store = &store_,
                               .files = &files_,
                               .key = partition.head().key,
                               .spec = partition.spec(),
                               .first_row = first,
                               .end_row = end,
                               .live_rows = std::min(partition.head().live_rows, end - first),
                               .codebook = std::move(codebook),
                               .merged = {},
                               .progress = nullptr});
    RETURN_IF_ERROR(built.status());
    if (built->installed.segment == nullptr) return store_.Commit(batch);
    batch.added_segments.push_back(built->installed.record);
    CrashPoint("repair_built");
    RETURN_IF_ERROR(store_.Commit(batch));
    CrashPoint("repair_committed");
    partition.Install(std::move(built->installed), std::move(built->codebook));
    return absl::OkStatus();
  }

  void RemoveOrphans(const PartitionMap& partitions) const {
    std::set<uint64_t> referenced;
    for (const auto& [key, partition] : partitions) {
      for (const InstalledSegment& installed : partition->segments()) {
        referenced.insert(installed.record.file_number);
        referenced.insert(installed.record.codebook_number);
      }
    }
    files_.RemoveAllBut(referenced);
  }

  EntryStore& store_;
  IndexFiles& files_;
  const EventSink& events_;
};

}  // namespace

absl::StatusOr<LoadedPartitions> LoadPartitions(EntryStore& store, IndexFiles& files,
                                                const std::vector<MemoryHandle>& memories, MemoryNumber next_number,
                                                uint64_t asleep_below, const EventSink& events) {
  return Loader(store, files, events).Run(memories, next_number, asleep_below);
}

absl::Status LoadRows(const EntryStore& store, PartitionIndex& partition) {
  RETURN_IF_ERROR(LoadTail(store, partition));
  ASSIGN_OR_RETURN(const std::vector<Row> marks, store.ReadDeadMarks(partition.head().key));
  partition.MarkDead(marks);
  return absl::OkStatus();
}

absl::Status LoadUnsealed(const EntryStore& store, absl::Span<const std::unique_ptr<PartitionIndex>> partitions) {
  std::vector<RowRange> ranges;
  std::vector<TailLoader> tails;
  ranges.reserve(partitions.size());
  tails.reserve(partitions.size());
  for (const auto& partition : partitions) {
    ranges.push_back({partition->head().key, 0, partition->head().next_row});
    tails.emplace_back(*partition, 0);
  }
  RETURN_IF_ERROR(store.ScanRanges(ranges, [&](size_t range, Row row, const EntryView& entry) {
    tails[range].Add(row, entry);
    return true;
  }));
  for (TailLoader& tail : tails) tail.Finish();
  return absl::OkStatus();
}

}  // namespace mneme
