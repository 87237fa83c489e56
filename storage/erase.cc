// 1. Ranges of keys: of `rows` those that the receipts name, of the maps by id and of dead marks whole partitions,
//    which are a few bytes an entry.
// 2. Ranges that share a table below level 0 are joined, so that no table is written twice.
// 3. Each range is compacted down to the last level that has a key of it, which is written anew though nothing above it
//    asks for that: there a tombstone and what it hides go together.
// 4. Meanwhile a compaction of RocksDB's own may have moved what is hidden below that level, so that its tombstone did
//    not meet it. Each time that happens it is a level deeper: rows are compacted once for each level there is, after
//    the first time only where they are in more than one, which is next to never.
// 5. Tables and logs that were replaced are removed by RocksDB once no read is in them.
#include "storage/erase.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

struct KeyRange {
  std::string begin;
  std::string end;
};

// Ascending, and without overlaps.
std::vector<KeyRange> Joined(std::vector<KeyRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const KeyRange& a, const KeyRange& b) { return a.begin < b.begin; });
  std::vector<KeyRange> joined;
  for (KeyRange& range : ranges) {
    if (joined.empty() || joined.back().end < range.begin) {
      joined.push_back(std::move(range));
    } else {
      joined.back().end = std::max(joined.back().end, std::move(range.end));
    }
  }
  return joined;
}

// 2
std::vector<KeyRange> JoinedByTables(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family,
                                     const std::vector<KeyRange>& ranges) {
  std::vector<bool> joins_previous(ranges.size(), false);
  rocksdb::ColumnFamilyMetaData tables;
  db.GetColumnFamilyMetaData(family, &tables);
  for (const rocksdb::LevelMetaData& level : tables.levels) {
    if (level.level == 0) continue;  // each of its tables may have any key, and goes with the first range
    for (const rocksdb::SstFileMetaData& table : level.files) {
      auto at = std::lower_bound(ranges.begin(), ranges.end(), table.smallestkey,
                                 [](const KeyRange& range, const std::string& key) { return range.end < key; });
      if (at == ranges.end()) continue;
      for (++at; at != ranges.end() && at->begin <= table.largestkey; ++at) {
        joins_previous[static_cast<size_t>(at - ranges.begin())] = true;
      }
    }
  }
  std::vector<KeyRange> joined;
  for (size_t i = 0; i < ranges.size(); ++i) {
    if (joins_previous[i]) {
      joined.back().end = ranges[i].end;
    } else {
      joined.push_back(ranges[i]);
    }
  }
  return joined;
}

// Compacts ranges of one family, `times` times.
absl::Status Compact(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family, std::vector<KeyRange> ranges, int times,
                     std::atomic<bool>& cancelled) {
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  options.canceled = &cancelled;
  ranges = JoinedByTables(db, family, Joined(std::move(ranges)));
  for (int time = 0; time < times; ++time) {
    for (const KeyRange& range : ranges) {
      const rocksdb::Slice begin(range.begin);
      const rocksdb::Slice end(range.end);
      const rocksdb::Status status = db.CompactRange(options, family, &begin, &end);
      if (cancelled.load()) return absl::CancelledError("the erasure was given up");
      RETURN_IF_ERROR(FromRocksDb(status, "erase"));
    }
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kSkip;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OldFiles> EraseRows(rocksdb::DB& db, const EntryFamilies& families,
                                   absl::Span<const DeletionReceipt> receipts, std::atomic<bool>& cancelled) {
  OldFiles old;
  std::unique_ptr<rocksdb::LogFile> log;
  RETURN_IF_ERROR(FromRocksDb(db.GetCurrentWalFile(&log), "find its log"));
  old.first_log = log->LogNumber();
  std::vector<KeyRange> rows;
  std::vector<KeyRange> partitions;
  for (const DeletionReceipt& receipt : receipts) {
    if (receipt.many_partitions) {
      const std::string prefix = format::MemoryPrefix(receipt.memory);
      rows.push_back({prefix, format::PrefixEnd(prefix)});
      partitions.push_back(rows.back());
    }
    for (const DeletionReceipt::Rows& gone : receipt.rows) {
      const PartitionKey key{receipt.memory, gone.partition};
      rows.push_back({format::NumberedKey(key, gone.first_row), format::NumberedKey(key, gone.end_row)});
      const std::string prefix = format::PartitionPrefix(key);
      partitions.push_back({prefix, format::PrefixEnd(prefix)});
    }
  }
  RETURN_IF_ERROR(Compact(db, families.rows, std::move(rows), db.NumberLevels(families.rows), cancelled));  // 3, 4
  for (rocksdb::ColumnFamilyHandle* family : {families.ids, families.id_runs, families.dead}) {
    RETURN_IF_ERROR(Compact(db, family, partitions, /*times=*/1, cancelled));  // neither keys nor values are in them
  }
  std::vector<rocksdb::LiveFileMetaData> live;
  db.GetLiveFilesMetaData(&live);
  for (const rocksdb::LiveFileMetaData& table : live) old.last_table = std::max(old.last_table, table.file_number);
  return old;
}

absl::StatusOr<bool> AreGone(rocksdb::DB& db, const std::string& path, const OldFiles& files) {
  // First what there is, then what of it is in use: what comes in between is new.
  std::vector<uint64_t> tables;
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(path, error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    uint64_t number = 0;
    if (!absl::SimpleAtoi(it->path().stem().string(), &number)) continue;
    const std::string kind = it->path().extension().string();
    // An empty one has nothing of anybody: RocksDB keeps those of starts after which nothing was written.
    if (kind == ".log" && number < files.first_log && it->file_size(error) != 0 && !error) return false;
    if (kind == ".sst" && number <= files.last_table) tables.push_back(number);
  }
  if (error) return absl::UnavailableError(absl::StrCat("could not read ", path, ": ", error.message()));
  std::vector<rocksdb::LiveFileMetaData> live;
  db.GetLiveFilesMetaData(&live);
  std::set<uint64_t> in_use;
  for (const rocksdb::LiveFileMetaData& table : live) in_use.insert(table.file_number);
  return std::all_of(tables.begin(), tables.end(), [&](uint64_t number) { return in_use.count(number) != 0; });
}

}  // namespace mneme
