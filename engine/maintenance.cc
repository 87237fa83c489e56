#include "engine/maintenance.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <future>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/index_builder.h"

namespace mneme {
namespace {

// The background thread yields to searches and writes.
constexpr int kNice = 10;
// How often waiting reads are checked for their deadline.
constexpr std::chrono::milliseconds kTick(50);
// A merge takes an older segment in when it is at most this many times what is written with it.
constexpr uint64_t kMergeRatio = 2;

// What is to be built: rows [first, end), with `codebook` or a new one.
struct Plan {
  Row first = 0;
  Row end = 0;
  std::shared_ptr<const Codebook> codebook;
};

Plan MakePlan(const PublishedPartition& partition, bool retrain) {
  const IndexVersion& version = *partition.version;
  Plan plan;
  plan.end = version.tail.end_row;
  const bool grown = version.codebook != nullptr && ListsFor(partition.live_rows) >= 2 * version.codebook->lists();
  if (version.codebook == nullptr || retrain || grown) {
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
                         EventSink events)
    : shards_(std::move(shards)), find_memory_(std::move(find_memory)), events_(std::move(events)),
      thread_([this] { Run(); }) {}

Maintenance::~Maintenance() {
  cancelled_ = true;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  woken_.NotifyOne();
  thread_.join();
}

void Maintenance::Wake(uint32_t shard, const PartitionKey& key) {
  {
    MutexLock lock(&mutex_);
    due_.emplace(shard, key);
  }
  woken_.NotifyOne();
}

void Maintenance::Run() {
  // Per-thread on Linux: only this thread becomes nicer.
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice);
  while (true) {
    std::set<std::pair<uint32_t, PartitionKey>> due;
    {
      MutexLock lock(&mutex_);
      woken_.AwaitFor(&mutex_, kTick, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !due_.empty(); });
      if (stopping_) return;
      due.swap(due_);
    }
    for (Shard* shard : shards_) shard->ExpireWaiters();
    for (const auto& [shard, key] : due) {
      if (!cancelled_) BuildIfDue(*shards_[shard], key);
    }
  }
}

void Maintenance::BuildIfDue(Shard& shard, const PartitionKey& key) {
  const auto partition = shard.PublishedOf(key);
  if (partition == nullptr || partition->tail_rows < limits::kSealRows) return;
  const bool flat = partition->version->codebook == nullptr && partition->live_rows < limits::kFlatRows &&
                    partition->tail_rows < 4 * limits::kFlatRows;
  if (flat) return;
  busy_ = true;
  const absl::Status status = Build(shard, key, /*retrain=*/false, [this](const BuildProgress&) {
    for (Shard* each : shards_) each->ExpireWaiters();
    return !cancelled_.load();
  });
  busy_ = false;
  if (!status.ok() && !absl::IsCancelled(status) && !absl::IsAborted(status) && events_ != nullptr) {
    events_("index_build_failed", status.ToString());
  }
}

absl::Status Maintenance::Build(Shard& shard, const PartitionKey& key, bool retrain,
                                const std::function<bool(const BuildProgress&)>& progress) {
  MutexLock lock(&build_mutex_);
  const auto partition = shard.PublishedOf(key);
  const MemoryHandle memory = find_memory_(key.memory);
  if (partition == nullptr || memory == nullptr) return absl::OkStatus();
  const bool worth_it = partition->tail_rows > 0 || retrain;
  if (!worth_it || partition->live_rows < limits::kMinIndexedRows) return absl::OkStatus();

  const Plan plan = MakePlan(*partition, retrain);
  // Marks are read before the rows: a row that dies in between is in both, and stays marked.
  ASSIGN_OR_RETURN(std::vector<Row> marks, shard.store().ReadDeadMarks(key));
  std::erase_if(marks, [&](Row row) { return row < plan.first || row >= plan.end; });
  ASSIGN_OR_RETURN(BuiltSegment built,
                   BuildSegment({.store = &shard.store(),
                                 .files = &shard.files(),
                                 .key = key,
                                 .spec = MakeIndexSpec(memory->spec),
                                 .first_row = plan.first,
                                 .end_row = plan.end,
                                 .live_rows = std::min<uint64_t>(partition->live_rows, plan.end - plan.first),
                                 .codebook = plan.codebook,
                                 .progress = progress}));
  const SegmentRecord record = built.installed.record;
  auto done = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> installed = done->get_future();
  InstallOperation install{.memory = key.memory,
                           .added = std::move(built.installed),
                           .codebook = std::move(built.codebook),
                           .generation = partition->generation,
                           .cleared_marks = std::move(marks),
                           .done = [done](const absl::Status& status) { done->set_value(status); }};
  absl::Status status = shard.Submit(std::move(install));
  if (status.ok()) status = installed.get();
  if (!status.ok()) {
    shard.files().RemoveSegment(record.file_number);
    if (plan.codebook == nullptr) shard.files().RemoveCodebook(record.codebook_number);
    return status;
  }
  if (events_ != nullptr) {
    events_("index_segment_installed", absl::StrCat("shard=", shard.number(), " memory=", key.memory, " partition=",
                                                    key.partition, " rows=[", record.first_row, ",", record.end_row,
                                                    ") trained=", plan.codebook == nullptr ? "yes" : "no"));
  }
  return absl::OkStatus();
}

}  // namespace mneme
