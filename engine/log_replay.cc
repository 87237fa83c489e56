// 1. Where a shard is to stand is looked for in its log, where a time is given.
// 2. Its store is moved into a data directory of one replica, which is opened with a log that ends there, and applies
//    it. Whatever that writes by itself, expiries, it cannot append.
// 3. The store is moved back, and the rest of that directory, its index among it, goes.
#include "engine/log_replay.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <limits>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/local_deployment.h"
#include "engine/log_record.h"
#include "storage/backup_sets.h"
#include "storage/catalogue_store.h"
#include "storage/files.h"
#include "storage/rocksdb_entry_store.h"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;

// Once a record is stamped so much later, none that was stamped at the time follows it: each of their two clocks may be
// wrong by a minute, and the one that is older waited to be appended.
constexpr int64_t kStampSlackMs = limits::kMaxAheadMs + limits::kMaxBehindMs;
static_assert(2 * limits::kMaxAheadMs + limits::kLogAppendMs <= kStampSlackMs);
// A log that cannot be read is asked again for so long.
constexpr std::chrono::seconds kPatience{30};
constexpr std::chrono::milliseconds kReadWait{200};
constexpr std::chrono::milliseconds kLook{20};
constexpr std::chrono::seconds kAsk{5};
// Of the catalogue, which is read once, and of a store whose log is written out.
constexpr size_t kOpenedBytes = size_t{8} << 20;

absl::Status GivenUp() { return absl::CancelledError("the restore was given up"); }

// Whether another try may go better.
bool Passes(const absl::Status& status) {
  return Unreached(status) || absl::IsNotFound(status) || absl::IsPermissionDenied(status);
}

// Asks until there is an answer, or what stands in its way lasts.
template <typename Result>
absl::StatusOr<Result> AskPatiently(const BackupProgressSink& progress, const BackupProgress& step,
                                    const std::function<absl::StatusOr<Result>()>& ask) {
  const auto late = Steady::now() + kPatience;
  while (true) {
    absl::StatusOr<Result> answer = ask();
    if (answer.ok() || !Passes(answer.status()) || Steady::now() >= late) return answer;
    if (!progress(step)) return GivenUp();
    std::this_thread::sleep_for(kReadWait);
  }
}

// A log that ends at an offset, whatever follows there. It counts the records of memories that are not known, among
// those that are applied.
class CutLog final : public ShardLog {
 public:
  CutLog(std::shared_ptr<ShardLog> log, LogOffset from, LogOffset end, MemoryNumber unknown_from)
      : log_(std::move(log)), from_(from), end_(end), unknown_from_(unknown_from) {}

  size_t most_record_bytes() const override { return log_->most_record_bytes(); }
  void Append(std::string, Appended appended) override {
    appended(absl::FailedPreconditionError("a log that is replayed takes no records"));
  }
  absl::StatusOr<LogOffset> End(const CallLimits&) const override { return end_; }
  absl::StatusOr<LogOffset> Begin(const CallLimits& limits) const override { return log_->Begin(limits); }
  absl::StatusOr<std::unique_ptr<LogReader>> Read(LogOffset from) override {
    ASSIGN_OR_RETURN(auto reader, log_->Read(from));
    return std::make_unique<Reader>(this, std::move(reader));
  }
  uint64_t left_out() const { return left_out_.load(); }

 private:
  class Reader final : public LogReader {
   public:
    Reader(CutLog* log, std::unique_ptr<LogReader> reader) : log_(log), reader_(std::move(reader)) {}

    absl::Status Next(std::chrono::milliseconds wait, size_t most_bytes, std::vector<LoggedBytes>& records) override {
      if (reader_->next() >= log_->end_) {
        std::this_thread::sleep_for(wait);
        return absl::OkStatus();
      }
      const size_t before = records.size();
      const absl::Status read = reader_->Next(wait, most_bytes, records);
      std::erase_if(records, [this](const LoggedBytes& record) { return record.offset >= log_->end_; });
      for (size_t i = before; i < records.size(); ++i) log_->Count(records[i]);
      return read;
    }
    LogOffset next() const override { return std::min(reader_->next(), log_->end_); }
    LogOffset seen_end() const override { return std::min(reader_->seen_end(), log_->end_); }

   private:
    CutLog* const log_;
    const std::unique_ptr<LogReader> reader_;
  };

  void Count(const LoggedBytes& record) {
    if (record.offset < from_) return;  // an applier looks at what it has applied, too
    const absl::StatusOr<LogRecordHead> head = DecodeLogRecordHead(record.bytes);
    if (head.ok() && head->memory >= unknown_from_) ++left_out_;
  }

  const std::shared_ptr<ShardLog> log_;
  const LogOffset from_;
  const LogOffset end_;
  const MemoryNumber unknown_from_;
  std::atomic<uint64_t> left_out_{0};
};

struct Names {
  CatalogueChanges told;
  MemoryNumber next_number = 0;  // no memory of the backup has this number or a higher one
};

absl::StatusOr<Names> ReadNames(const DataDirectory& made) {
  StoreResources resources(kOpenedBytes, kOpenedBytes);
  ASSIGN_OR_RETURN(const auto catalogue, OpenCatalogueStore(made.CataloguePath(), &resources));
  ASSIGN_OR_RETURN(CatalogueRecords records, catalogue->Read());
  Names names;
  ASSIGN_OR_RETURN(names.next_number, catalogue->NextNumber());
  for (MemoryRecord& memory : records.memories) {
    if (!memory.dropped) names.told.memories.push_back(std::move(memory));
  }
  names.told.aliases = std::move(records.aliases);
  names.told.whole = true;
  // What it does not know is not waited for.
  names.told.next_number = std::numeric_limits<MemoryNumber>::max();
  return names;
}

// What was applied lasts from now on: a store that is closed does not say whether it was synced.
absl::Status Settle(const std::string& path) {
  StoreResources resources(kOpenedBytes, kOpenedBytes);
  ASSIGN_OR_RETURN(const auto store,
                   OpenRocksDbEntryStore({.path = path, .resources = &resources, .file_system = nullptr}));
  return store->Flush();
}

absl::Status OfShard(uint32_t shard, const absl::Status& status) {
  if (status.ok() || absl::IsCancelled(status)) return status;
  return absl::Status(status.code(), absl::StrCat("the log of shard ", shard, ": ", status.message()));
}

// 2. and 3. of one shard.
class ShardReplay {
 public:
  ShardReplay(const DataDirectory& made, const BackupManifest& backup, const Names& names,
              const LogReplayOptions& options, uint32_t shard)
      : made_(made), backup_(backup), names_(names), options_(options), shard_(shard),
        folder_(made.path() + "/replay") {}

  absl::Status Run(const std::shared_ptr<CutLog>& log, LogOffset from, LogOffset end) {
    const HostedDirectory hosted{shard_, backup_.deployment, false, true};
    RETURN_IF_ERROR(DataDirectory::Make(
        folder_, backup_.shards,
        [this](const DataDirectory& replica) { return MovePath(made_.StorePath(shard_), replica.StorePath(shard_)); },
        hosted));
    RETURN_IF_ERROR(Apply(log, from, end));
    {
      ASSIGN_OR_RETURN(const auto replica, DataDirectory::Open(folder_, backup_.shards, hosted));
      RETURN_IF_ERROR(Settle(replica->StorePath(shard_)));
      RETURN_IF_ERROR(MovePath(replica->StorePath(shard_), made_.StorePath(shard_)));
    }
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
    return absl::OkStatus();
  }

 private:
  absl::Status Apply(const std::shared_ptr<CutLog>& log, LogOffset from, LogOffset end) {
    DeploymentOptions open;
    open.data_dir = folder_;
    open.shards = backup_.shards;
    open.ram_limit_bytes = options_.ram_limit_bytes;
    open.erase_after_ms = static_cast<int64_t>(limits::kMaxEraseAfterSeconds) * 1000;  // whoever serves it erases
    open.events = options_.events;
    HostedShard& hosted = open.hosted.emplace();
    hosted.number = shard_;
    hosted.replica = 1;  // one that is told names
    hosted.identity = backup_.deployment;
    hosted.catalogue = names_.told;
    hosted.log = log;
    if (!options_.progress({"indexing", 0, 0, true})) return GivenUp();  // what the store wants, before it opens
    ASSIGN_OR_RETURN(const auto replica, LocalDeployment::Open(std::move(open)));
    std::optional<Steady::time_point> lost;
    while (true) {
      const LogState state = replica->log_state();
      RETURN_IF_ERROR(state.status);
      if (state.handled >= end) return absl::OkStatus();
      if (!options_.progress({"replaying", state.handled - std::min(state.handled, from), end - from, true})) {
        return GivenUp();
      }
      if (!state.lost) {
        lost.reset();
      } else if (!lost.has_value()) {
        lost = Steady::now();
      } else if (Steady::now() >= *lost + kPatience) {
        return absl::UnavailableError(absl::StrCat("it cannot be read at offset ", OffsetAfter(state.handled)));
      }
      std::this_thread::sleep_for(kLook);
    }
  }

  const DataDirectory& made_;
  const BackupManifest& backup_;
  const Names& names_;
  const LogReplayOptions& options_;
  const uint32_t shard_;
  const std::string folder_;
};

// That it has what is to be applied.
absl::Status CheckReaches(ShardLog& log, LogOffset from, LogOffset end, const BackupProgressSink& progress) {
  const BackupProgress step{"looking", 0, 0, true};
  ASSIGN_OR_RETURN(const LogOffset begin,
                   AskPatiently<LogOffset>(progress, step, [&] { return log.Begin(CallLimits().Within(kAsk)); }));
  if (begin > from) {
    return absl::OutOfRangeError(absl::StrCat("it keeps nothing before offset ", begin, ", and the backup stands at ",
                                              from, ": take a backup that was made later"));
  }
  ASSIGN_OR_RETURN(const LogOffset last,
                   AskPatiently<LogOffset>(progress, step, [&] { return log.End(CallLimits().Within(kAsk)); }));
  if (last >= end) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("it ends at offset ", last, ", before ", end));
}

}  // namespace

absl::StatusOr<uint64_t> FindReplayedBackup(const std::string& directory, uint64_t number,
                                            const ReplayPoint& point) {
  ASSIGN_OR_RETURN(const BackupsInDirectory in, ReadBackups(directory));
  const auto serves = [&](const BackupSet& set) {
    if (!set.whole() || !set.any().part->logged || (number != 0 && set.number() != number)) return false;
    if (point.offsets.empty()) return set.any().created_ms <= point.until_ms;
    const BackupManifest joined = set.Joined();
    if (joined.shards != point.offsets.size()) return false;
    for (uint32_t shard = 0; shard < joined.shards; ++shard) {
      if (OffsetAfter(joined.stores[shard + 1].applied) > point.offsets[shard]) return false;
    }
    return true;
  };
  const auto found = std::find_if(in.sets.rbegin(), in.sets.rend(), serves);
  if (found != in.sets.rend()) return found->number();
  const std::string which = number == 0 ? "no whole backup" : absl::StrCat("no whole backup ", number);
  return absl::NotFoundError(absl::StrCat(directory, " has ", which, " of shards with a replicated log that was made "
                                          "at the time or before it, or stands at the offsets or before them"));
}

absl::StatusOr<LogOffset> FindOffset(ShardLog& log, LogOffset from, int64_t until_ms,
                                     const BackupProgressSink& progress) {
  const BackupProgress step{"looking", 0, 0, true};
  ASSIGN_OR_RETURN(const LogOffset end,
                   AskPatiently<LogOffset>(progress, step, [&] { return log.End(CallLimits().Within(kAsk)); }));
  LogOffset found = from;
  if (from >= end) return found;
  using ReaderHandle = std::unique_ptr<LogReader>;
  ASSIGN_OR_RETURN(const ReaderHandle reader,
                   AskPatiently<ReaderHandle>(progress, step, [&] { return log.Read(from); }));
  while (reader->next() < end) {
    std::vector<LoggedBytes> records;
    const auto next = [&]() -> absl::StatusOr<LogOffset> {
      RETURN_IF_ERROR(reader->Next(kReadWait, limits::kMaxAppliedAheadBytes, records));
      return reader->next();
    };
    RETURN_IF_ERROR(AskPatiently<LogOffset>(progress, step, next).status());
    for (const LoggedBytes& record : records) {
      if (record.offset >= end) return found;
      ASSIGN_OR_RETURN(const LogRecordHead head, DecodeLogRecordHead(record.bytes));
      if (head.stamp_ms <= until_ms) found = record.offset + 1;
      if (head.stamp_ms > until_ms + kStampSlackMs) return found;
    }
    if (!progress({"looking", std::min(reader->next(), end) - from, end - from, true})) return GivenUp();
  }
  return found;
}

absl::StatusOr<std::vector<ReplayedShard>> ReplayLogs(const DataDirectory& made, const BackupManifest& backup,
                                                      const LogReplayOptions& options) {
  const ReplayPoint& point = options.point;
  if (!point.offsets.empty() && point.offsets.size() != backup.shards) {
    return absl::InvalidArgumentError(absl::StrCat("there are ", point.offsets.size(), " offsets; must be one of each "
                                                   "of the ", backup.shards, " shards"));
  }
  ASSIGN_OR_RETURN(const Names names, ReadNames(made));
  std::vector<ReplayedShard> replayed;
  for (uint32_t shard = 0; shard < backup.shards; ++shard) {
    ASSIGN_OR_RETURN(const std::shared_ptr<ShardLog> log, options.open_log(shard));
    ReplayedShard& told = replayed.emplace_back();
    told.from = told.end = OffsetAfter(backup.stores[shard + 1].applied);
    LogOffset end = 0;
    if (point.offsets.empty()) {
      const auto found = FindOffset(*log, told.from, point.until_ms, options.progress);
      RETURN_IF_ERROR(OfShard(shard, found.status()));
      end = *found;
    } else {
      end = point.offsets[shard];
    }
    if (end <= told.from) continue;
    RETURN_IF_ERROR(OfShard(shard, CheckReaches(*log, told.from, end, options.progress)));
    const auto cut = std::make_shared<CutLog>(log, told.from, end, names.next_number);
    RETURN_IF_ERROR(OfShard(shard, ShardReplay(made, backup, names, options, shard).Run(cut, told.from, end)));
    told.end = end;
    told.left_out = cut->left_out();
  }
  return replayed;
}

}  // namespace mneme
