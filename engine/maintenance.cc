#include "engine/maintenance.h"

#include <algorithm>
#include <chrono>
#include <future>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/nicer_thread.h"
#include "common/status_macros.h"
#include "engine/index_builder.h"

namespace mneme {
namespace {

// How often waiting reads are checked for their deadline.
constexpr std::chrono::milliseconds kTick(50);
// A load of which nothing came for so long is over, or its client is gone: what came is sealed.
constexpr std::chrono::seconds kLoadPause(3);
// A build that failed is not tried again before this.
constexpr std::chrono::seconds kRetryDelay(10);
// A merge takes an older segment in when it is at most this many times what is written with it.
constexpr uint64_t kMergeRatio = 2;

// A segment is compacted when more than one part in so many of its rows is dead: three rows are then written anew for
// each dead one that goes.
constexpr uint64_t kDeadParts = 4;

using Segments = std::vector<std::shared_ptr<const Segment>>;

// A codebook that drifted is trained anew once so many parts in one of what it was trained on came since: each row is
// then trained on a bounded number of times, even where what comes is like nothing that was.
constexpr uint64_t kDriftParts = 4;

// What is to be built: rows [first, end), with `codebook` or a new one.
struct Plan {
  Row first = 0;
  Row end = 0;
  std::shared_ptr<const Codebook> codebook;
};

bool HasDrifted(const PublishedPartition& partition) {
  const IndexVersion& version = *partition.version;
  if (partition.drift <= limits::kMaxDrift || version.codebook == nullptr) return false;
  // Of the codebook, not of the first segment: that one grows when it is merged, and goes when none of its rows lives.
  const Codebook::TrainedRows trained_on = version.codebook->trained_rows();
  const Row since = version.tail.end_row - std::min(version.tail.end_row, trained_on.end_row);
  return since * kDriftParts >= trained_on.count;
}

Plan MakePlan(const PublishedPartition& partition, const IndexSpec& spec, bool retrain) {
  const IndexVersion& version = *partition.version;
  Plan plan;
  plan.end = version.tail.end_row;
  const bool grown =
      version.codebook != nullptr && WantedLists(spec, partition.live_rows) >= 2 * version.codebook->lists();
  if (version.codebook == nullptr || retrain || grown || HasDrifted(partition)) {
    plan.first = version.segments.empty() ? version.tail_from : version.segments.front()->first_row();
    return plan;
  }
  plan.codebook = version.codebook;
  plan.first = version.tail_from;
  uint64_t rows = plan.end - plan.first;
  for (size_t i = version.segments.size(); i-- > 0;) {
    const Segment& older = *version.segments[i];
    const bool merge = older.rows() <= kMergeRatio * rows || i + 1 >= limits::kMaxSegments;
    if (!merge) break;
    plan.first = older.first_row();
    rows += older.rows();
  }
  return plan;
}

}  // namespace

Maintenance::Maintenance(std::vector<Shard*> shards, std::function<MemoryHandle(MemoryNumber)> find_memory,
                         const Clock* clock, uint64_t tail_ram_bytes, const IndexThresholds& thresholds,
                         const DiskRoom* disk, EventSink events, std::function<void()> tidy,
                         const std::optional<SweepLogOptions>& log)
    : shards_(std::move(shards)), find_memory_(std::move(find_memory)), clock_(clock),
      tail_ram_bytes_(tail_ram_bytes), thresholds_(thresholds), disk_(disk), events_(std::move(events)),
      tidy_(std::move(tidy)), row_log_(log.has_value() ? std::make_unique<SweepLog>(*log) : nullptr),
      state_log_(log.has_value() ? std::make_unique<SweepLog>(*log) : nullptr),
      sweep_(clock_, find_memory_, row_log_.get()), state_sweep_(clock_, state_log_.get()),
      sorter_(shards_, find_memory_),
      thread_([this] { Run(); }) {}

Maintenance::~Maintenance() { Stop(); }

void Maintenance::Stop() {
  cancelled_ = true;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  woken_.NotifyOne();
  if (thread_.joinable()) thread_.join();
  sorter_.Stop();
}

void Maintenance::Wake(uint32_t shard, const PartitionKey& key, Urgency urgency) {
  if (urgency == Urgency::kUnsorted) return sorter_.Wake(shard, key);
  {
    MutexLock lock(&mutex_);
    if (urgency == Urgency::kAfterLoad) {
      loading_[{shard, key}] = std::chrono::steady_clock::now() + kLoadPause;
      return;
    }
    due_.emplace(shard, key);
  }
  woken_.NotifyOne();
}

void Maintenance::Run() {
  MakeThreadNicer();
  while (true) {
    std::set<std::pair<uint32_t, PartitionKey>> due;
    {
      MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !due_.empty(); };
      woken_.AwaitFor(&mutex_, kTick, ready);
      if (stopping_) return;
      due.swap(due_);
      const auto now = std::chrono::steady_clock::now();
      std::erase_if(loading_, [&](const auto& load) {
        const bool over = load.second <= now;
        if (over) due.insert(load.first);
        return over;
      });
    }
    ExpireWaiters();
    tidy_();
    for (const auto& [shard, key] : due) {
      if (!cancelled_) WorkIfDue(*shards_[shard], key);
    }
    if (!cancelled_) RelievePressure();
    if (!cancelled_) Sweep();
  }
}

void Maintenance::ExpireWaiters() const {
  for (Shard* shard : shards_) shard->ExpireWaiters();
}

void Maintenance::WorkIfDue(Shard& shard, const PartitionKey& key) {
  const auto published = shard.PublishedOf(key);
  if (!published.ok() || *published == nullptr) return;
  const auto& partition = *published;
  const bool flat = partition->version->codebook == nullptr && partition->live_rows < thresholds_.flat_rows &&
                    partition->tail_rows < thresholds_.LongTailRows();
  if (partition->tail_rows >= thresholds_.SealRows(*partition->version) && !flat) {
    InBackground(shard, key, [&](const Progress& progress) { return Build(shard, key, /*retrain=*/false, progress); });
  } else if (!partition->segments.empty()) {
    InBackground(shard, key, [&](const Progress& progress) {
      MutexLock lock(&build_mutex_);
      return Compact(shard, key, progress);
    });
  }
}

void Maintenance::InBackground(Shard& shard, const PartitionKey& key,
                               const std::function<absl::Status(const Progress&)>& work) {
  const auto now = std::chrono::steady_clock::now();
  const auto failed = failed_.find({shard.number(), key});
  if (failed != failed_.end() && now < failed->second) return;
  busy_ = true;
  const absl::Status status = work([this](const BuildProgress&) { return !cancelled_.load(); });
  busy_ = false;
  if (status.ok() || absl::IsCancelled(status) || absl::IsAborted(status)) {
    failed_.erase({shard.number(), key});
    return;
  }
  failed_[{shard.number(), key}] = now + kRetryDelay;
  if (events_ != nullptr) events_("index_build_failed", status.ToString());
}

void Maintenance::Sweep() {
  for (Shard* shard : shards_) {
    absl::Status swept = sweep_.Run(*shard);
    swept.Update(state_sweep_.Run(*shard));
    if (!swept.ok() && events_ != nullptr) events_("expiry_failed", swept.ToString());
  }
}

void Maintenance::RelievePressure() {
  uint64_t bytes = 0;
  for (const Shard* shard : shards_) bytes += shard->tail_ram_bytes();
  if (bytes <= tail_ram_bytes_) return;
  Shard* largest_shard = nullptr;
  PartitionKey largest_key;
  uint64_t largest_bytes = 0;
  for (Shard* shard : shards_) {
    for (const PartitionKey& key : shard->KeysWithLongTails()) {
      const auto published = shard->PublishedOf(key);
      if (!published.ok() || *published == nullptr) continue;
      const auto& partition = *published;
      const auto failed = failed_.find({shard->number(), key});
      const bool too_soon = failed != failed_.end() && std::chrono::steady_clock::now() < failed->second;
      if (too_soon || partition->tail_ram_bytes <= largest_bytes) continue;
      largest_shard = shard;
      largest_key = key;
      largest_bytes = partition->tail_ram_bytes;
    }
  }
  // Half way from there to where writes are refused, what is in use goes, too.
  const SleepersAre sleepers = bytes > tail_ram_bytes_ + tail_ram_bytes_ / 2 ? SleepersAre::kAny : SleepersAre::kUnused;
  for (Shard* shard : shards_) shard->LaySomeToSleep(sleepers);
  if (largest_shard == nullptr) return;
  InBackground(*largest_shard, largest_key, [&](const Progress& progress) {
    return Build(*largest_shard, largest_key, /*retrain=*/false, progress);
  });
}

absl::Status Maintenance::Build(Shard& shard, const PartitionKey& key, bool retrain, const Progress& progress) {
  MutexLock lock(&build_mutex_);
  const absl::Status sealed = Seal(shard, key, {.anew = retrain}, progress).status();
  // What is put off for want of disk does not hold up what makes room.
  if (!sealed.ok() && ReasonOf(sealed) != reason::kStorageLow) return sealed;
  RETURN_IF_ERROR(Compact(shard, key, progress));
  return sealed;
}

absl::StatusOr<bool> Maintenance::BuildOn(Shard& shard, const PartitionKey& key, const GivenParts& given,
                                          const Progress& progress) {
  MutexLock lock(&build_mutex_);
  return Seal(shard, key, {.anew = true, .given = given}, progress);
}

absl::StatusOr<bool> Maintenance::Seal(Shard& shard, const PartitionKey& key, const Training& training,
                                       const Progress& progress) {
  ASSIGN_OR_RETURN(const auto partition, shard.PublishedOf(key));
  const MemoryHandle memory = find_memory_(key.memory);
  if (partition == nullptr || memory == nullptr) return false;
  const bool worth_it = partition->tail_rows > 0 || training.anew;
  const bool long_tail = partition->tail_rows >= thresholds_.LongTailRows() && partition->live_rows > 0;
  const bool enough = partition->live_rows >= thresholds_.min_indexed_rows || long_tail ||
                      (training.erases && partition->live_rows > 0);
  if (!worth_it || !enough) return false;

  const Plan plan = MakePlan(*partition, MakeIndexSpec(memory->spec), training.anew);
  // Marks are read before the rows: a row that dies in between is in both, and stays marked.
  ASSIGN_OR_RETURN(std::vector<Row> marks, shard.store().ReadDeadMarks(key));
  std::erase_if(marks, [&](Row row) { return row < plan.first || row >= plan.end; });
  ASSIGN_OR_RETURN(
      BuiltSegment built,
      BuildSegment({.store = &shard.store(),
                    .files = &shard.files(),
                    .key = key,
                    .spec = MakeIndexSpec(memory->spec),
                    .first_row = plan.first,
                    .end_row = plan.end,
                    .live_rows = std::min<uint64_t>(partition->live_rows, plan.end - plan.first),
                    .codebook = plan.codebook,
                    .given = training.given,
                    .merged = plan.codebook == nullptr ? Segments() : partition->version->segments,
                    .sorted = plan.codebook == nullptr ? nullptr : CurrentListsOf(*partition->version),
                    // What takes out bytes is not put off: in the end there are fewer.
                    .disk = training.erases ? nullptr : disk_,
                    // Reads that wait for a version keep their deadlines while this takes its time.
                    .progress = [&](const BuildProgress& done) {
                      ExpireWaiters();
                      return progress(done);
                    }}));
  // Without a segment everything was overwritten or deleted: there is nothing to index, only ram to give back.
  RETURN_IF_ERROR(
      InstallAndWait(shard, std::move(built), partition->generation, std::move(marks), plan.codebook == nullptr));
  return true;
}

std::vector<std::string> Maintenance::AwaitBuild(const Shard& shard) {
  MutexLock lock(&build_mutex_);
  std::set<uint64_t> referenced;
  for (const PartitionKey& key : shard.AwakeKeys()) {
    const auto partition = shard.AwakePartition(key);
    if (partition == nullptr) continue;
    for (const SegmentRecord& record : partition->segments) referenced.insert(record.file_number);
    if (partition->version->codebook != nullptr) referenced.insert(partition->version->codebook->number());
  }
  return shard.files().AllBut(referenced);
}

absl::Status Maintenance::Erase(Shard& shard, const PartitionKey& key, bool retrains, const Progress& progress) {
  MutexLock lock(&build_mutex_);
  const auto partition = shard.AwakePartition(key);
  if (partition == nullptr) return absl::OkStatus();
  if (partition->segments.empty() && partition->tail_rows < thresholds_.LongTailRows()) {
    return shard.Submit(SleepOperation{.keys = {key}, .whatever_size = true});
  }
  const IndexVersion& version = *partition->version;
  // A chunk of the tail that was sealed in part still has all of its rows.
  const bool seals = retrains || version.dead.CountIn(version.tail.first_row, version.end_row()) > 0;
  if (seals) RETURN_IF_ERROR(Seal(shard, key, {.anew = retrains, .erases = true}, progress).status());
  return Compact(shard, key, progress, Rewritten::kWithAny);
}

absl::Status Maintenance::Compact(Shard& shard, const PartitionKey& key, const Progress& progress,
                                  Rewritten rewritten) {
  ASSIGN_OR_RETURN(const auto partition, shard.PublishedOf(key));
  if (partition == nullptr) return absl::OkStatus();
  const IndexVersion& version = *partition->version;
  const uint64_t dead_rows = version.rows() - std::min(version.rows(), partition->live_rows);
  for (size_t i = 0; i < version.segments.size(); ++i) {
    const Segment& segment = *version.segments[i];
    const auto many = [&](uint64_t dead) {
      return rewritten == Rewritten::kWithAny ? dead > 0 : dead * kDeadParts > segment.rows();
    };
    // Marks may stand for rows that the segment left out when it was written: bounds first, then the count.
    const uint64_t marked = version.dead.CountIn(segment.first_row(), segment.end_row());
    if (!many(std::min(marked, dead_rows))) continue;
    uint64_t dead = 0;
    const RowBlock all = segment.All();
    for (size_t at = 0; at < all.count; ++at) dead += version.dead.Contains(all.RowAt(at)) ? 1 : 0;
    if (many(dead)) RETURN_IF_ERROR(CompactSegment(shard, *partition, i, dead, progress));
  }
  return absl::OkStatus();
}

absl::Status Maintenance::CompactSegment(Shard& shard, const PublishedPartition& partition, size_t segment,
                                         uint64_t dead, const Progress& progress) {
  const SegmentRecord& record = partition.segments[segment];
  const uint64_t rows = partition.version->segments[segment]->rows();
  const MemoryHandle memory = find_memory_(record.key.memory);
  if (memory == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<Row> marks, shard.store().ReadDeadMarks(record.key));
  std::erase_if(marks, [&](Row row) { return row < record.first_row || row >= record.end_row; });
  BuiltSegment built;
  built.installed.record = {.key = record.key, .first_row = record.first_row, .end_row = record.end_row};
  if (dead < rows) {
    ASSIGN_OR_RETURN(built, BuildSegment({.store = &shard.store(),
                                          .files = &shard.files(),
                                          .key = record.key,
                                          .spec = MakeIndexSpec(memory->spec),
                                          .first_row = record.first_row,
                                          .end_row = record.end_row,
                                          .live_rows = rows - dead,
                                          .codebook = partition.version->codebook,
                                          .merged = {partition.version->segments[segment]},
                                          .progress = [&](const BuildProgress& done) {
                                            ExpireWaiters();
                                            return progress(done);
                                          }}));
  }
  return InstallAndWait(shard, std::move(built), partition.generation, std::move(marks), /*trained=*/false);
}

absl::Status Maintenance::InstallAndWait(Shard& shard, BuiltSegment built, uint64_t generation, std::vector<Row> marks,
                                         bool trained) {
  const SegmentRecord record = built.installed.record;
  auto done = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> installed = done->get_future();
  InstallOperation install{.memory = record.key.memory,
                           .added = std::move(built.installed),
                           .codebook = std::move(built.codebook),
                           .generation = generation,
                           .cleared_marks = std::move(marks),
                           .done = [done](const absl::Status& status) { done->set_value(status); }};
  absl::Status status = shard.Submit(std::move(install));
  if (status.ok()) status = installed.get();
  if (!status.ok()) {
    shard.files().RemoveSegment(record.file_number);
    if (trained) shard.files().RemoveCodebook(record.codebook_number);
    return status;
  }
  if (events_ != nullptr) {
    events_("index_segment_installed",
            absl::StrCat("shard=", shard.number(), " memory=", record.key.memory, " partition=", record.key.partition,
                         " rows=[", record.first_row, ",", record.end_row, ") trained=", trained ? "yes" : "no"));
  }
  return absl::OkStatus();
}

}  // namespace mneme
