#include "engine/deployment.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/catalogue.h"
#include "engine/label_sum_cache.h"
#include "engine/leaving_memories.h"
#include "engine/maintenance.h"
#include "engine/match_entries.h"
#include "engine/prune.h"
#include "engine/query_execution.h"
#include "engine/routing.h"
#include "engine/scan.h"
#include "engine/search_pool.h"
#include "engine/shard.h"
#include "engine/version.h"
#include "engine/visible_rows.h"
#include "engine/visit.h"
#include "engine/write_fanout.h"
#include "storage/data_directory.h"
#include "storage/rocksdb_entry_store.h"

namespace mneme {
namespace {

// Shares of the process's RAM limit for RocksDB; the tails get what the limit says.
constexpr size_t kBlockCacheBytes = size_t{256} << 20;
constexpr size_t kWriteBufferBytes = size_t{256} << 20;

uint64_t HalfOfRam() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE)) / 2;
}

// Appends the entry of `id`; false when there is none.
absl::StatusOr<bool> ReadEntry(const EntryStore& store, const PartitionKey& key, EntryId id, EntryColumns& out) {
  if (IsServerId(id)) {
    ASSIGN_OR_RETURN(const bool there, store.ReadRow(key, RowOfServerId(id), out));
    return there && out.ids[0] == id;
  }
  // Between the look-ups an upsert may move the id to another row; a deletion unmaps it, so this ends.
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<Row> row, store.FindRow(key, id));
    if (!row.has_value()) return false;
    ASSIGN_OR_RETURN(const bool there, store.ReadRow(key, *row, out));
    if (there) return true;
  }
}

}  // namespace

struct Deployment::State {
  explicit State(uint32_t shard_count) : routing(shard_count) {}

  SystemClock system_clock;
  const Clock* clock = nullptr;
  uint64_t ram_limit_bytes = 0;
  Routing routing;
  std::unique_ptr<DataDirectory> directory;
  std::unique_ptr<StoreResources> resources;
  std::unique_ptr<Catalogue> catalogue;
  LeavingMemories leaving{[this](MemoryNumber number) { RemoveData(number); }};
  std::vector<std::unique_ptr<Shard>> shards;
  std::unique_ptr<WriteFanout> fanout;
  std::unique_ptr<WorkingMemory> working_memory;
  std::unique_ptr<Maintenance> maintenance;  // before the shards in destruction
  std::unique_ptr<SearchPool> pool;
  std::unique_ptr<AnswerCache> answers;
  std::unique_ptr<Leases> leases;
  LabelSumCache label_sums;
  MatchCache matches;
  QueryContext query_context;

  mutable Mutex benefit_mutex;
  std::map<MemoryNumber, std::pair<uint64_t, double>> benefit ABSL_GUARDED_BY(benefit_mutex);

  // Set once the shards are open; until then nothing is sealable.
  std::atomic<Maintenance*> sealer{nullptr};

  std::vector<Shard*> ShardPointers() const {
    std::vector<Shard*> pointers;
    for (const auto& shard : shards) pointers.push_back(shard.get());
    return pointers;
  }
  absl::Status CheckRam() const;
  absl::Status Await(const Version& version, const CallLimits& limits) const;
  void RemoveData(MemoryNumber number);
};

absl::Status Deployment::State::CheckRam() const {
  uint64_t bytes = 0;
  for (const auto& shard : shards) bytes += shard->tail_ram_bytes() + shard->queued_bytes();
  bytes += leases->counts().ram_bytes;
  if (bytes <= ram_limit_bytes) return absl::OkStatus();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat("unsealed entries, leases and waiting writes hold ", bytes,
                                                " bytes of ram; the limit is ", ram_limit_bytes)),
      reason::kMemoryLimit);
}

absl::Status Deployment::State::Await(const Version& version, const CallLimits& limits) const {
  for (const Version::Part& part : version.parts) {
    if (part.shard >= shards.size()) {
      return absl::InvalidArgumentError("at_least_version names a shard that does not exist");
    }
    RETURN_IF_ERROR(shards[part.shard]->AwaitVisible(part.sequence, limits));
  }
  return absl::OkStatus();
}

// Every shard removes its part; the catalogue forgets the memory after the last. A crash in between is made good when
// the deployment opens.
void Deployment::State::RemoveData(MemoryNumber number) {
  auto left = std::make_shared<std::atomic<size_t>>(shards.size());
  for (const auto& shard : shards) {
    DropMemoryOperation drop{number, [this, number, left](const absl::Status& status) {
                               if (status.ok() && left->fetch_sub(1) == 1) (void)catalogue->Forget(number);
                             }};
    (void)shard->Submit(std::move(drop));  // a shard that takes no writes is cleaned when it opens again
  }
}

Deployment::Deployment(std::unique_ptr<State> state) : state_(std::move(state)) {}

Deployment::~Deployment() {
  // Searches read shards, and writers wake maintenance and searches: both stop before the shards go, and go after them.
  state_->maintenance->Stop();
  state_->pool->Stop();
  state_->shards.clear();
  state_->maintenance.reset();
  state_->pool.reset();
}

absl::StatusOr<std::unique_ptr<Deployment>> Deployment::Open(DeploymentOptions options) {
  ASSIGN_OR_RETURN(auto directory, DataDirectory::Open(options.data_dir, options.shards));
  auto owned = std::make_unique<State>(directory->shards());
  State* state = owned.get();
  state->clock = options.clock != nullptr ? options.clock : &state->system_clock;
  state->ram_limit_bytes = options.ram_limit_bytes != 0 ? options.ram_limit_bytes : HalfOfRam();
  state->directory = std::move(directory);
  state->resources = std::make_unique<StoreResources>(kBlockCacheBytes, kWriteBufferBytes);
  ASSIGN_OR_RETURN(auto catalogue_store,
                   OpenCatalogueStore(state->directory->CataloguePath(), state->resources.get()));
  ASSIGN_OR_RETURN(state->catalogue, Catalogue::Open(std::move(catalogue_store)));
  ASSIGN_OR_RETURN(const MemoryNumber next_number, state->catalogue->NextNumber());
  const uint32_t threads = options.search_threads != 0 ? options.search_threads
                                                       : std::max(1U, std::thread::hardware_concurrency());
  for (uint32_t number = 0; number < state->directory->shards(); ++number) {
    ShardOptions shard;
    shard.number = number;
    ASSIGN_OR_RETURN(shard.store, OpenRocksDbEntryStore({.path = state->directory->StorePath(number),
                                                         .resources = state->resources.get(),
                                                         .file_system = nullptr,
                                                         .accept_truncated_log = options.accept_truncated_log}));
    ASSIGN_OR_RETURN(shard.files,
                     IndexFiles::Open(state->directory->IndexPath(number), state->directory->deployment()));
    shard.due = [state](uint32_t which, const PartitionKey& key, Urgency urgency) {
      if (Maintenance* sealer = state->sealer.load()) sealer->Wake(which, key, urgency);
    };
    shard.thresholds = options.thresholds;
    shard.wake_threads = threads / state->directory->shards();  // a search of all asks every shard at once
    shard.events = options.events;
    ASSIGN_OR_RETURN(auto opened, Shard::Open(std::move(shard), state->catalogue->List(), next_number));
    state->shards.push_back(std::move(opened));
  }
  // Shards remove the entries of memories that they do not know: those drops are finished now.
  for (const MemoryNumber number : state->catalogue->Dropped()) RETURN_IF_ERROR(state->catalogue->Forget(number));

  state->pool = std::make_unique<SearchPool>(threads, options.max_batched_rows);
  state->fanout = std::make_unique<WriteFanout>(state->ShardPointers(), &state->routing);
  state->working_memory = std::make_unique<WorkingMemory>(state->ShardPointers(), &state->routing, state->clock);
  state->answers = std::make_unique<AnswerCache>(options.answer_cache_bytes);
  state->leases = std::make_unique<Leases>(LeaseOptions{state->ShardPointers(), &state->routing, state->clock,
                                                        state->ram_limit_bytes / limits::kLeaseRamParts});
  state->query_context = {state->ShardPointers(), &state->routing, state->pool.get(), state->answers.get(),
                          &state->label_sums, &state->matches};
  state->maintenance = std::make_unique<Maintenance>(
      state->ShardPointers(), [state](MemoryNumber number) { return state->catalogue->FindByNumber(number); },
      state->clock, state->ram_limit_bytes / 2, options.thresholds, options.events,
      [state] {
        state->leaving.RemoveUnread();
        state->leases->LetGo();
      });
  state->sealer = state->maintenance.get();
  for (const auto& shard : state->shards) {
    for (const PartitionKey& key : shard->AwakeKeys()) {
      ASSIGN_OR_RETURN(const auto published, shard->PublishedOf(key));
      const bool sealable = published->tail_rows >= options.thresholds.SealRows(*published->version);
      if (sealable || !published->segments.empty()) state->maintenance->Wake(shard->number(), key, Urgency::kSoon);
      if (!published->segments.empty()) state->maintenance->Wake(shard->number(), key, Urgency::kUnsorted);
    }
  }
  return std::unique_ptr<Deployment>(new Deployment(std::move(owned)));
}

uint32_t Deployment::shards() const { return state_->routing.shards(); }

const WorkingMemory& Deployment::working_memory() const { return *state_->working_memory; }

absl::StatusOr<MemoryHandle> Deployment::CreateMemory(const MemorySpec& spec) {
  return state_->catalogue->Create(spec, state_->clock->NowMs());
}

absl::StatusOr<MemoryHandle> Deployment::FindMemory(std::string_view name) const {
  return state_->catalogue->Find(name);
}

std::vector<MemoryHandle> Deployment::ListMemories() const { return state_->catalogue->List(); }

absl::Status Deployment::DropMemory(std::string_view name) {
  ASSIGN_OR_RETURN(MemoryHandle dropped, state_->catalogue->Drop(name));
  {
    MutexLock lock(&state_->benefit_mutex);
    state_->benefit.erase(dropped->number);
  }
  state_->label_sums.Forget(dropped->number);
  state_->matches.Forget(dropped->number);
  for (const auto& shard : state_->shards) (void)shard->Submit(CloseMemoryOperation{dropped->number});
  state_->leases->EndAllOf(dropped->number);
  state_->leaving.Add(std::move(dropped));
  return absl::OkStatus();
}

absl::StatusOr<MemoryHandle> Deployment::SetAlias(const AliasChange& change) {
  return state_->catalogue->SetAlias(change);
}

absl::Status Deployment::DropAlias(std::string_view name) { return state_->catalogue->DropAlias(name); }

std::vector<Alias> Deployment::ListAliases() const { return state_->catalogue->ListAliases(); }

void Deployment::Insert(MemoryHandle memory, InsertCommand command, std::function<void()> visible,
                        std::function<void(absl::StatusOr<InsertOutcome>)> done) {
  if (absl::Status status = state_->CheckRam(); !status.ok()) return done(status);
  state_->fanout->Insert(std::move(memory), std::move(command), state_->clock->NowMs(), std::move(visible),
                         std::move(done));
}

void Deployment::Remember(const MemoryHandle& memory, RememberCommand command,
                          std::function<void(absl::StatusOr<RememberOutcome>)> done) {
  if (absl::Status status = state_->CheckRam(); !status.ok()) return done(status);
  SubmitRemember(state_->query_context.shards, state_->routing, memory, std::move(command), state_->clock->NowMs(),
                 std::move(done));
}

void Deployment::Delete(MemoryHandle memory, DeleteCommand command,
                        std::function<void(absl::StatusOr<DeleteOutcome>)> done) {
  const int64_t now_ms = state_->clock->NowMs();
  if (!command.dry_run) return state_->fanout->Delete(std::move(memory), std::move(command), now_ms, std::move(done));
  auto outcome = DryRun(memory, command);
  if (outcome.ok()) outcome->deleted_at_ms = now_ms;
  done(std::move(outcome));
}

absl::StatusOr<DeleteOutcome> Deployment::DryRun(const MemoryHandle& memory, const DeleteCommand& command) const {
  DeleteOutcome outcome;
  outcome.version.memory = memory->number;
  if (!command.ids.has_value()) {
    // Expired entries are deleted too: nothing is hidden.
    ASSIGN_OR_RETURN(outcome.deleted,
                     CountMatching(memory, {.partitions = command.partitions,
                                            .filter = command.filter.value_or(RowFilter{}),
                                            .limits = command.limits}));
    return outcome;
  }
  const std::vector<PartitionId> defaults = {0};
  std::vector<PartitionId> partitions =
      command.partitions.partitions.empty() ? defaults : command.partitions.partitions;
  if (command.partitions.all) {
    partitions.clear();
    for (const auto& shard : state_->shards) {
      for (const PartitionKey& key : shard->KeysOf(memory->number)) partitions.push_back(key.partition);
    }
    std::sort(partitions.begin(), partitions.end());
    partitions.erase(std::unique(partitions.begin(), partitions.end()), partitions.end());
  }
  for (const PartitionId partition : partitions) {
    std::vector<bool> found;
    RETURN_IF_ERROR(Get(memory, partition, *command.ids, /*with_keys=*/false, {}, command.limits, found).status());
    outcome.deleted += static_cast<uint64_t>(std::count(found.begin(), found.end(), true));
  }
  outcome.absent = command.ids->size() - std::min<uint64_t>(command.ids->size(), outcome.deleted);
  return outcome;
}

void Deployment::Query(MemoryHandle memory, QueryCommand command,
                       std::function<void(absl::StatusOr<QueryOutcome>)> done) {
  command.filter.stamp_ms = StampOf(command.lease, state_->clock->NowMs());
  ExecuteQuery(state_->query_context, std::move(memory), std::move(command), std::move(done));
}

absl::StatusOr<EntryColumns> Deployment::Get(const MemoryHandle& memory, PartitionId partition,
                                             const std::vector<EntryId>& ids, bool with_keys, const Version& at_least,
                                             const CallLimits& limits, std::vector<bool>& found) const {
  RETURN_IF_ERROR(state_->Await(at_least, limits));
  RowFilter visible;
  visible.stamp_ms = state_->clock->NowMs();
  const PartitionKey key{memory->number, partition};
  EntryColumns entries;
  entries.values.width = memory->spec.ValueBytes();
  found.assign(ids.size(), false);
  for (size_t i = 0; i < ids.size(); ++i) {
    const uint32_t owner = state_->routing.OwnerOfEntry(*memory, partition, ids[i]);
    if (IsServerId(ids[i]) && ShardOfServerId(ids[i]) != owner) continue;
    const EntryStore& store = state_->shards[owner]->store();
    EntryColumns one;
    one.values.width = entries.values.width;
    ASSIGN_OR_RETURN(const bool there, ReadEntry(store, key, ids[i], one));
    if (!there || !visible.Accepts(one.ids[0], one.At(0).attributes)) continue;
    EntryView entry = one.At(0);
    if (!with_keys) entry.key = {};
    entries.Append(entry);
    found[i] = true;
    if (entries.keys.size() + entries.values.bytes.size() > limits::kMaxMessageBytes) {
      return absl::ResourceExhaustedError(absl::StrCat("the entries asked for exceed ", limits::kMaxMessageBytes,
                                                       " bytes; ask for fewer ids"));
    }
    RETURN_IF_ERROR(limits.Check());
  }
  return entries;
}

absl::StatusOr<Version> Deployment::Visit(
    const MemoryHandle& memory, VisitCommand command,
    const std::function<absl::Status(PartitionId, const EntryView&)>& visit) const {
  RETURN_IF_ERROR(state_->Await(command.at_least, command.limits));
  command.filter.stamp_ms = StampOf(command.lease, state_->clock->NowMs());
  return VisitEntries(state_->query_context.shards, state_->routing, *memory, command, visit);
}

absl::StatusOr<Version> Deployment::SumByLabel(const MemoryHandle& memory, VisitCommand command,
                                               LabelSums& sums) const {
  RETURN_IF_ERROR(state_->Await(command.at_least, command.limits));
  command.filter.stamp_ms = StampOf(command.lease, state_->clock->NowMs());
  return mneme::SumByLabel(state_->query_context, *memory, command, sums);
}

absl::StatusOr<MatchOutcome> Deployment::Match(MatchCommand command) const {
  for (MatchSide* side : {&command.source, &command.target}) {
    RETURN_IF_ERROR(state_->Await(side->selection.at_least, side->selection.limits));
  }
  const int64_t now_ms = state_->clock->NowMs();
  for (MatchSide* side : {&command.source, &command.target}) {
    side->selection.filter.stamp_ms = StampOf(side->selection.lease, now_ms);
  }
  return MatchEntries(state_->query_context, command);
}

absl::StatusOr<ScanPage> Deployment::Scan(const MemoryHandle& memory, const ScanCommand& command) const {
  RETURN_IF_ERROR(state_->Await(command.at_least, command.limits));
  ScanCommand stamped = command;
  stamped.filter.stamp_ms = state_->clock->NowMs();
  return ScanEntries(state_->query_context.shards, state_->routing, *memory, stamped);
}

absl::StatusOr<uint64_t> Deployment::Count(const MemoryHandle& memory, VisitCommand command) const {
  RETURN_IF_ERROR(state_->Await(command.at_least, command.limits));
  command.filter.stamp_ms = StampOf(command.lease, state_->clock->NowMs());
  return CountMatching(memory, command);
}

absl::StatusOr<uint64_t> Deployment::CountMatching(const MemoryHandle& memory, const VisitCommand& command) const {
  uint64_t count = 0;
  for (const uint32_t owner : state_->routing.OwnersOf(*memory, command.partitions)) {
    ASSIGN_OR_RETURN(const Shard::Snapshot snapshot,
                     TakeSnapshot(*state_->shards[owner],
                                  {memory->number, command.partitions, command.lease.get(), command.limits}));
    for (const auto& version : snapshot.versions) {
      RETURN_IF_ERROR(
          ForEachVisibleRow(*version, command.filter, command.limits, [&](const RowBlock&, size_t) { ++count; }));
    }
  }
  return count;
}

absl::StatusOr<Leases::Granted> Deployment::AcquireLease(const MemoryHandle& memory, const VisitCommand& command,
                                                         int64_t lease_ms) {
  RETURN_IF_ERROR(state_->Await(command.at_least, command.limits));
  ASSIGN_OR_RETURN(Leases::Granted granted, state_->leases->Acquire(*memory, command, lease_ms));
  // Dropped meanwhile: that ended the leases that there were.
  const auto found = state_->catalogue->Find(memory->spec.name);
  if (!found.ok() || (*found)->number != memory->number) {
    (void)state_->leases->Release(granted.id);
    return WithReason(absl::NotFoundError("the memory was dropped"), reason::kMemoryNotFound);
  }
  return granted;
}

Leases& Deployment::leases() const { return *state_->leases; }

absl::Status Deployment::BuildIndex(const MemoryHandle& memory, bool retrain,
                                    std::function<bool(const BuildProgress&)> progress) {
  for (const auto& shard : state_->shards) {
    for (const PartitionKey& key : shard->AwakeKeysOf(memory->number)) {
      const absl::Status status = state_->maintenance->Build(*shard, key, retrain, progress);
      // Emptied while it was built: there is nothing to index.
      if (!status.ok() && !absl::IsAborted(status)) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Deployment::BuildIndexOn(const MemoryHandle& memory, const GivenParts& given,
                                      std::function<bool(const BuildProgress&)> progress) {
  bool taken = false;
  for (const auto& shard : state_->shards) {
    for (const PartitionKey& key : shard->AwakeKeysOf(memory->number)) {
      const absl::StatusOr<bool> built = state_->maintenance->BuildOn(*shard, key, given, progress);
      if (!built.ok() && !absl::IsAborted(built.status())) return built.status();
      taken |= built.ok() && *built;
    }
  }
  if (taken) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("no partition has the ", limits::kMinIndexedRows,
                                                    " entries that an index needs, so nothing takes the centroids"));
}

absl::StatusOr<PruneOutcome> Deployment::Prune(const MemoryHandle& memory, PruneCommand command) {
  command.stamp_ms = state_->clock->NowMs();
  std::vector<Shard*> owners;
  PartitionSelection partition;
  partition.partitions = {command.partition};
  for (const uint32_t owner : state_->routing.OwnersOf(*memory, partition)) {
    owners.push_back(state_->shards[owner].get());
  }
  return mneme::Prune(owners, memory, command);
}

absl::StatusOr<MemoryStatistics> Deployment::Statistics(const MemoryHandle& memory) const {
  MemoryStatistics sum;
  for (const auto& shard : state_->shards) sum.Add(shard->Statistics(memory->number));
  MutexLock lock(&state_->benefit_mutex);
  const auto benefit = state_->benefit.find(memory->number);
  if (benefit != state_->benefit.end()) std::tie(sum.benefit_tokens, sum.benefit_nats) = benefit->second;
  return sum;
}

DeploymentStatistics Deployment::Statistics() const {
  DeploymentStatistics sum;
  sum.memory_count = state_->catalogue->List().size();
  for (const auto& shard : state_->shards) {
    sum.memories.Add(shard->Statistics());
    const ExpiredStates expired = shard->state_expiries().counts();
    sum.expired_sessions += expired.sessions;
    sum.expired_states += expired.states;
    sum.store_bytes += shard->store().DiskBytes();
    sum.queued_write_bytes += shard->queued_bytes();
    if (sum.write_status.ok()) sum.write_status = shard->write_status();
  }
  sum.queued_searches = state_->pool->queued();
  const AnswerCache::Counts answers = state_->answers->counts();
  sum.answers_asked = answers.asked;
  sum.answers_known = answers.answered;
  sum.answers_bytes = answers.ram_bytes;
  const Leases::Counts leases = state_->leases->counts();
  sum.leases = leases.live;
  sum.leased_ram_bytes = leases.ram_bytes;
  sum.label_sum_bytes = state_->label_sums.ram_bytes();
  sum.match_cache_bytes = state_->matches.ram_bytes();
  sum.maintenance_busy = state_->maintenance->busy();
  MutexLock lock(&state_->benefit_mutex);
  for (const auto& [number, benefit] : state_->benefit) {
    sum.memories.benefit_tokens += benefit.first;
    sum.memories.benefit_nats += benefit.second;
  }
  return sum;
}

void Deployment::CountBenefit(const MemoryHandle& memory, uint64_t tokens, double nats) {
  MutexLock lock(&state_->benefit_mutex);
  auto& [sum_tokens, sum_nats] = state_->benefit[memory->number];
  sum_tokens += tokens;
  sum_nats += nats;
}

std::string Deployment::EncodeVersion(const Version& version) const {
  return mneme::EncodeVersion(state_->directory->deployment(), version);
}

absl::StatusOr<Version> Deployment::DecodeVersion(const MemoryHandle& memory, std::string_view bytes) const {
  return mneme::DecodeVersion(state_->directory->deployment(), memory->number, bytes);
}

std::string Deployment::EncodeScanPosition(const ScanPosition& position) const {
  return mneme::EncodeScanPosition(state_->directory->deployment(), position);
}

absl::StatusOr<ScanPosition> Deployment::DecodeScanPosition(const MemoryHandle& memory, std::string_view bytes) const {
  return mneme::DecodeScanPosition(state_->directory->deployment(), memory->number, bytes);
}

}  // namespace mneme
