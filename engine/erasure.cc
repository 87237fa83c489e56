#include "engine/erasure.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/crash_point.h"
#include "common/limits.h"
#include "common/nicer_thread.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// How often receipts are looked for, and what readers still hold.
constexpr std::chrono::milliseconds kTick(250);
// An index that could not be freed of everything at once, since its tail grew meanwhile, is tried again after this.
constexpr std::chrono::seconds kNextTry(2);
// A step that failed is not tried again before this, nor are so many partitions looked at again that something holds.
constexpr std::chrono::seconds kRetryDelay(10);
constexpr size_t kManyHeld = 4096;
constexpr size_t kReceiptsAtOnce = 4096;

absl::Status GivenUp() { return absl::CancelledError("the erasure was given up"); }

bool HasAny(const RowBlock& block, const DeadRows& dead, const RowSpans& rows) {
  for (size_t i = 0; i < block.count; ++i) {
    const Row row = block.RowAt(i);
    if (rows.Contains(row) && dead.Contains(row)) return true;
  }
  return false;
}

bool Learned(const Codebook& codebook, const RowSpans& rows) {
  const Row end = codebook.trained_rows().end_row;
  return end == 0 || (!rows.spans().empty() && rows.spans().begin()->first < end);  // 0: of an older release
}

bool IsOneOf(const std::shared_ptr<const void>& part, const std::vector<std::weak_ptr<const void>>& parts) {
  return part != nullptr && std::any_of(parts.begin(), parts.end(), [&](const std::weak_ptr<const void>& one) {
           return one.lock() == part;
         });
}

}  // namespace

void Erasure::Gone::Add(const DeletionReceipt& receipt) {
  if (receipt.many_partitions) memories.insert(receipt.memory);
  for (const DeletionReceipt::Rows& gone : receipt.rows) {
    rows[{receipt.memory, gone.partition}].Add(gone.first_row, gone.end_row);
  }
  if (receipts == 0) since = std::chrono::steady_clock::now();
  oldest_ms = receipts == 0 ? receipt.stamp_ms : std::min(oldest_ms, receipt.stamp_ms);
  ++receipts;
  ranges += receipt.rows.size();
  through = std::max(through, receipt.sequence);
}

bool Erasure::Gone::full() const {
  return receipts >= limits::kMaxWaitingDeletions || ranges >= limits::kMaxWaitingRanges;
}

std::vector<DeletionReceipt> Erasure::Gone::Receipts() const {
  std::vector<DeletionReceipt> all;
  for (const MemoryNumber memory : memories) {
    all.emplace_back();
    all.back().memory = memory;
    all.back().many_partitions = true;
  }
  for (const auto& [key, spans] : rows) {
    all.emplace_back();
    all.back().memory = key.memory;
    for (const auto& [first, end] : spans.spans()) all.back().rows.push_back({key.partition, first, end});
  }
  return all;
}

Erasure::Erasure(ErasureOptions options) : options_(std::move(options)), thread_([this] { Run(); }) {}

Erasure::~Erasure() { Stop(); }

void Erasure::Stop() {
  Cancel();
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  woken_.NotifyOne();
  if (thread_.joinable()) thread_.join();
}

Erasure::Counts Erasure::counts() const {
  MutexLock lock(&mutex_);
  return counts_;
}

void Erasure::Run() {
  MakeThreadNicer();
  std::vector<Work> works(options_.shards.size());
  for (size_t i = 0; i < works.size(); ++i) works[i].shard = options_.shards[i];
  while (true) {
    for (Work& work : works) {
      if (cancelled_ || std::chrono::steady_clock::now() < work.next_try) continue;
      const absl::Status status = Advance(work);
      if (status.ok() || absl::IsCancelled(status)) continue;
      work.next_try = std::chrono::steady_clock::now() + kRetryDelay;
      if (options_.events != nullptr) options_.events("erasure_failed", status.ToString());
    }
    Count(works);
    MutexLock lock(&mutex_);
    const auto stopping = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_; };
    if (woken_.AwaitFor(&mutex_, kTick, stopping)) return;
  }
}

void Erasure::Count(const std::vector<Work>& works) {
  Counts sum;
  for (const Work& work : works) {
    for (const Gone* gone : {&work.gone, &work.waiting}) {
      if (gone->receipts == 0) continue;
      sum.deletions += gone->receipts;
      sum.oldest_ms = sum.oldest_ms == 0 ? gone->oldest_ms : std::min(sum.oldest_ms, gone->oldest_ms);
    }
    sum.runs += work.runs;
  }
  MutexLock lock(&mutex_);
  counts_ = sum;
}

absl::Status Erasure::Advance(Work& work) {
  if (!work.loaded) RETURN_IF_ERROR(Load(work));
  RETURN_IF_ERROR(TakeReceipts(work));
  if (!work.run.has_value()) {
    if (!IsDue(work)) return absl::OkStatus();
    RETURN_IF_ERROR(Begin(work));  // 1
  }
  if (work.run->indexed_ms == 0) {
    ASSIGN_OR_RETURN(const bool done, EraseIndexes(work));  // 2
    if (!done) {
      if (work.in_index.size() > kManyHeld) work.next_try = std::chrono::steady_clock::now() + kRetryDelay;
      return absl::OkStatus();
    }
    ErasureRun indexed = *work.run;
    indexed.indexed_ms = options_.clock->NowMs();
    RETURN_IF_ERROR(work.shard->NoteErasure(indexed, 0));
    work.run = indexed;
    CrashPoint("erasure_indexed");
  }
  return EraseStore(work).status();  // 3, 4
}

absl::Status Erasure::Load(Work& work) {
  ASSIGN_OR_RETURN(const std::vector<ErasureRun> runs,
                   work.shard->store().ReadErasures(0, std::numeric_limits<size_t>::max()));
  for (const ErasureRun& run : runs) {
    if (run.erased_ms != 0) {
      work.finished = std::max(work.finished, run.through);
    } else {
      work.run = run;
    }
  }
  if (work.run.has_value()) {
    RETURN_IF_ERROR(TakeReceipts(work));  // what it goes on with is whole, or it does not go on
    Prepare(work);
  }
  work.loaded = true;
  return absl::OkStatus();
}

// Those of a log's records that are not applied whole yet may be written again.
absl::Status Erasure::TakeReceipts(Work& work) {
  const Sequence visible = work.shard->visible();
  while (!work.waiting.full()) {
    if (cancelled_) return GivenUp();
    ASSIGN_OR_RETURN(const std::vector<DeletionReceipt> read,
                     work.shard->store().ReadReceipts(work.seen + 1, kReceiptsAtOnce));
    for (const DeletionReceipt& receipt : read) {
      if (receipt.sequence > visible || work.waiting.full()) return absl::OkStatus();
      work.seen = receipt.sequence;
      ++work.kept;
      if (receipt.sequence <= work.finished) continue;
      const bool of_run = work.run.has_value() && receipt.sequence <= work.run->through;
      (of_run ? work.gone : work.waiting).Add(receipt);
    }
    if (read.size() < kReceiptsAtOnce) return absl::OkStatus();
  }
  return absl::OkStatus();
}

bool Erasure::IsDue(const Work& work) const {
  const Gone& waiting = work.waiting;
  if (waiting.receipts == 0) return false;
  const bool by_stamp = options_.clock->NowMs() - waiting.oldest_ms >= options_.after_ms;
  const auto waited = std::chrono::steady_clock::now() - waiting.since;
  return waiting.full() || by_stamp || waited >= std::chrono::milliseconds(options_.after_ms);
}

absl::Status Erasure::Begin(Work& work) {
  ErasureRun run;
  run.through = work.waiting.through;
  run.begun_ms = options_.clock->NowMs();
  RETURN_IF_ERROR(work.shard->NoteErasure(run, 0));
  work.run = run;
  work.gone = std::exchange(work.waiting, {});
  Prepare(work);
  CrashPoint("erasure_begun");
  return absl::OkStatus();
}

void Erasure::Prepare(Work& work) {
  work.stale_files = options_.maintenance->AwaitBuild(*work.shard);
  work.remove_stale = std::chrono::steady_clock::now() + kNextTry;
  work.rewritten = false;
  work.in_index.clear();
  for (const MemoryNumber memory : work.gone.memories) {
    std::vector<PartitionKey> keys = work.shard->AwakeKeysOf(memory);
    for (const PartitionKey& key : work.shard->KeysStillReadOf(memory)) keys.push_back(key);
    for (const PartitionKey& key : keys) work.in_index[key].rows.Add(0, std::numeric_limits<Row>::max() / 2);
  }
  for (const auto& [key, spans] : work.gone.rows) {
    for (const auto& [first, end] : spans.spans()) work.in_index[key].rows.Add(first, end);
  }
}

void Erasure::Forget(const Work& work) const {
  std::set<MemoryNumber> memories = work.gone.memories;
  for (const auto& [key, spans] : work.gone.rows) memories.insert(key.memory);
  for (const MemoryNumber memory : memories) options_.forget(memory);
}

absl::StatusOr<bool> Erasure::EraseIndexes(Work& work) {
  for (auto at = work.in_index.begin(); at != work.in_index.end();) {
    if (cancelled_) return false;
    ASSIGN_OR_RETURN(const bool done, EraseIndex(*work.shard, at->first, at->second));
    at = done ? work.in_index.erase(at) : std::next(at);
  }
  if (cancelled_ || !work.in_index.empty() || !StaleFilesAreGone(work)) return false;
  Forget(work);  // now that no reader of a version from before can fill them again
  return true;
}

bool Erasure::StaleFilesAreGone(Work& work) {
  std::error_code error;
  // Whoever replaced one removes it as soon as that is synced: what is there still was left.
  const bool removes = std::chrono::steady_clock::now() >= work.remove_stale;
  std::erase_if(work.stale_files, [&](const std::string& file) {
    if (removes) std::filesystem::remove(file, error);
    return !std::filesystem::exists(file, error) && !error;
  });
  return work.stale_files.empty();
}

void Erasure::Look(const Shard& shard, const PartitionKey& key, const PublishedPartition* partition, Looked& looked) {
  std::set<const void*> published;
  if (partition != nullptr) {
    const IndexVersion& version = *partition->version;
    for (size_t i = 0; i < version.segments.size(); ++i) {
      const auto& segment = version.segments[i];
      published.insert(segment.get());
      if (version.dead.CountIn(segment->first_row(), segment->end_row()) == 0) continue;
      if (!HasAny(segment->All(), version.dead, looked.rows)) continue;
      looked.parts.push_back(segment);
      looked.files.push_back(shard.files().SegmentPath(partition->segments[i].file_number));
    }
    for (const Tail::Snapshot::Part& part : version.tail.parts) {
      published.insert(part.chunk.get());
      // Rows that were sealed since lie in the chunk still.
      if (HasAny(BlockOf(part, Row{0}), version.dead, looked.rows)) looked.parts.push_back(part.chunk);
    }
    if (version.codebook != nullptr && Learned(*version.codebook, looked.rows)) {
      looked.parts.push_back(version.codebook);
      looked.files.push_back(shard.files().CodebookPath(version.codebook->number()));
    }
    published.insert(version.codebook.get());
  }
  // What readers have of versions from before may be gone from the one that is published, and say of no row that it is
  // dead: all of it counts that is about those rows.
  const auto add = [&](const std::shared_ptr<const void>& part) {
    if (published.insert(part.get()).second) looked.parts.push_back(part);
  };
  for (const auto& version : shard.StillRead(key)) {
    for (const auto& segment : version->segments) {
      if (looked.rows.HasAnyOf(segment->first_row(), segment->end_row())) add(segment);
    }
    for (const Tail::Snapshot::Part& part : version->tail.parts) {
      const Row first = FirstRowOf(part);
      if (looked.rows.HasAnyOf(first, first + part.count)) add(part.chunk);
    }
    if (version->codebook != nullptr && Learned(*version->codebook, looked.rows)) add(version->codebook);
  }
}

absl::StatusOr<bool> Erasure::EraseIndex(Shard& shard, const PartitionKey& key, Looked& looked) {
  auto partition = shard.AwakePartition(key);
  if (!looked.looked) Look(shard, key, partition.get(), looked);
  looked.looked = true;
  if (partition != nullptr && std::chrono::steady_clock::now() >= looked.next_try) {
    const IndexVersion& version = *partition->version;
    const bool retrains = IsOneOf(version.codebook, looked.parts);
    bool holds = retrains;
    for (const auto& segment : version.segments) holds = holds || IsOneOf(segment, looked.parts);
    for (const Tail::Snapshot::Part& part : version.tail.parts) holds = holds || IsOneOf(part.chunk, looked.parts);
    partition.reset();  // it is a reader, too
    if (holds) {
      looked.next_try = std::chrono::steady_clock::now() + kNextTry;
      const absl::Status erased = options_.maintenance->Erase(
          shard, key, retrains, [this](const BuildProgress&) { return !cancelled_.load(); });
      if (!erased.ok() && !absl::IsAborted(erased)) return erased;
    }
  }
  partition.reset();
  const bool in_ram = std::any_of(looked.parts.begin(), looked.parts.end(),
                                  [](const std::weak_ptr<const void>& part) { return !part.expired(); });
  std::error_code error;
  const bool on_disk = std::any_of(looked.files.begin(), looked.files.end(), [&](const std::string& file) {
    return std::filesystem::exists(file, error) || error;
  });
  return !in_ram && !on_disk;
}

absl::StatusOr<bool> Erasure::EraseStore(Work& work) {
  const EntryStore& store = work.shard->store();
  if (!work.rewritten) {
    RETURN_IF_ERROR(store.Erase(work.gone.Receipts(), cancelled_));
    work.rewritten = true;
    CrashPoint("erasure_rewritten");
  }
  ASSIGN_OR_RETURN(const bool gone, store.OldFilesAreGone());
  if (!gone) return false;
  uint64_t last_backup = ErasureRun::kAnyBackup;
  if (options_.backups != nullptr && options_.backups->has_directory()) {
    const absl::StatusOr<uint64_t> last = options_.backups->LastNumber();
    if (absl::IsUnavailable(last.status())) return false;  // one is being written
    RETURN_IF_ERROR(last.status());
    last_backup = *last;
  }
  RETURN_IF_ERROR(Finish(work, last_backup));
  return true;
}

absl::Status Erasure::Finish(Work& work, uint64_t last_backup) {
  ErasureRun finished = *work.run;
  finished.erased_ms = options_.clock->NowMs();
  finished.last_backup = last_backup;
  ASSIGN_OR_RETURN(const Sequence keep_from, KeepFrom(work));
  RETURN_IF_ERROR(work.shard->NoteErasure(finished, keep_from));
  CrashPoint("erasure_finished");
  if (options_.events != nullptr) {
    options_.events("deletions_erased",
                    absl::StrCat("shard=", work.shard->number(), " deletions=", work.gone.receipts,
                                 " through=", finished.through));
  }
  work.finished = finished.through;
  work.run.reset();
  work.gone = {};
  ++work.runs;
  return absl::OkStatus();
}

absl::StatusOr<Sequence> Erasure::KeepFrom(Work& work) const {
  if (work.kept <= limits::kMaxReceipts) return Sequence{0};
  const uint64_t excess = work.kept - limits::kMaxReceipts;
  ASSIGN_OR_RETURN(const std::vector<DeletionReceipt> oldest, work.shard->store().ReadReceipts(0, excess + 1));
  if (oldest.size() <= excess || oldest.back().sequence > work.run->through) return Sequence{0};
  work.kept -= excess;
  return oldest.back().sequence;
}

}  // namespace mneme
