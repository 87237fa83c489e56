#include "engine/local_deployment.h"

#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/local_deployment_state.h"
#include "engine/log_record.h"

namespace mneme {
namespace {

// Shares of the process's RAM limit for RocksDB; the tails get what the limit says.
constexpr size_t kBlockCacheBytes = size_t{256} << 20;
constexpr size_t kWriteBufferBytes = size_t{256} << 20;

uint64_t HalfOfRam() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE)) / 2;
}

}  // namespace

absl::Status LocalDeployment::State::CheckRam() const { return CheckRamBeside(leases->counts().ram_bytes); }

absl::Status LocalDeployment::State::CheckRamBeside(uint64_t leased_bytes) const {
  uint64_t bytes = leased_bytes;
  for (const auto& shard : shards) bytes += shard->tail_ram_bytes() + shard->queued_bytes();
  if (bytes <= ram_limit_bytes) return absl::OkStatus();
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat("unsealed entries, leases and waiting writes hold ", bytes,
                                                " bytes of ram; the limit is ", ram_limit_bytes)),
      reason::kMemoryLimit);
}

absl::Status LocalDeployment::State::Await(const Version& version, const CallLimits& limits) const {
  for (const Version::Part& part : version.parts) {
    if (part.shard >= by_number.size() || by_number[part.shard] == nullptr) {
      return absl::InvalidArgumentError("at_least_version names a shard that does not exist");
    }
    RETURN_IF_ERROR(by_number[part.shard]->AwaitVisible(part.sequence, limits));
  }
  return absl::OkStatus();
}

// Every shard removes its part; the catalogue forgets the memory after the last of this process. A crash in between is
// made good when the deployment opens, as is what shards elsewhere have not removed yet: who opens a shard removes what
// the catalogue does not know.
void LocalDeployment::State::RemoveData(MemoryNumber number) {
  auto left = std::make_shared<std::atomic<size_t>>(shards.size());
  for (const auto& shard : shards) {
    DropMemoryOperation drop{number, [this, number, left](const absl::Status& status) {
                               if (!status.ok() || left->fetch_sub(1) != 1) return;
                               if (catalogue != nullptr) (void)catalogue->Forget(number);
                             }};
    (void)shard->Submit(std::move(drop));  // a shard that takes no writes is cleaned when it opens again
  }
}

LocalDeployment::LocalDeployment(std::unique_ptr<State> state) : state_(std::move(state)) {}

LocalDeployment::~LocalDeployment() {
  // Searches read shards, writers wake maintenance and searches, and the log is applied to shards: all of them stop
  // before the shards go, and go after them.
  state_->erasure->Cancel();  // maintenance may wait for what it builds
  state_->maintenance->Stop();
  state_->erasure->Stop();
  state_->pool->Stop();
  state_->applier.reset();
  state_->shards.clear();
  state_->maintenance.reset();
  state_->pool.reset();
}

absl::Status LocalDeployment::State::OpenCatalogue(const std::optional<HostedShard>& hosted) {
  if (hosted.has_value() && !hosted->OwnsCatalogue()) return told_names.Apply(hosted->catalogue).status();
  ASSIGN_OR_RETURN(auto store, OpenCatalogueStore(directory->CataloguePath(), resources.get()));
  ASSIGN_OR_RETURN(catalogue, Catalogue::Open(std::move(store)));
  return absl::OkStatus();
}

absl::Status LocalDeployment::State::OpenShards(const DeploymentOptions& options, size_t threads) {
  by_number.resize(routing.shards(), nullptr);
  ports.resize(routing.shards());
  const size_t hosted = options.hosted.has_value() ? 1 : routing.shards();
  for (uint32_t number = 0; number < routing.shards(); ++number) {
    if (!routing.Hosts(number)) continue;
    ShardOptions shard;
    shard.number = number;
    ASSIGN_OR_RETURN(shard.store, OpenRocksDbEntryStore({.path = directory->StorePath(number),
                                                         .resources = resources.get(),
                                                         .file_system = nullptr,
                                                         .accept_truncated_log = options.accept_truncated_log}));
    ASSIGN_OR_RETURN(shard.files, IndexFiles::Open(directory->IndexPath(number), directory->deployment()));
    // Maintenance counts the shards that it has.
    shard.due = [this, at = static_cast<uint32_t>(shards.size())](uint32_t, const PartitionKey& key, Urgency urgency) {
      if (Maintenance* waker = sealer.load()) waker->Wake(at, key, urgency);
    };
    shard.thresholds = options.thresholds;
    shard.wake_threads = static_cast<uint32_t>(threads / hosted);  // a search of all asks every shard at once
    shard.events = options.events;
    shard.logged = log != nullptr;
    ASSIGN_OR_RETURN(auto opened, Shard::Open(std::move(shard), names().List(), names().next_number()));
    if (opened->store().maps_server_ids()) routing = routing.WithMovedIds();
    by_number[number] = opened.get();
    ports[number] = std::make_unique<LocalShardPort>(opened.get(), disk.get());
    shards.push_back(std::move(opened));
  }
  return absl::OkStatus();
}

absl::Status LocalDeployment::State::StartMaintenance(const DeploymentOptions& options) {
  std::optional<SweepLogOptions> sweeps;
  if (log != nullptr) {
    const auto handled = [this] {
      const LogApplier* const running = running_applier.load();
      return running == nullptr ? Sequence{0} : running->handled();
    };
    sweeps = SweepLogOptions{log, directory->deployment(), handled, kExpirySlackMs * (1 + options.hosted->replica)};
  }
  maintenance = std::make_unique<Maintenance>(
      HostedShards(), [this](MemoryNumber number) { return names().FindByNumber(number); }, clock,
      ram_limit_bytes / 2, options.thresholds, disk.get(), options.events,
      [this] {
        leaving.RemoveUnread();
        leases->LetGo();
        if (checkpoints != nullptr) checkpoints->LetGo();
        if (shard_backups != nullptr) shard_backups->LetGoIdle();
        if (LogApplier* const running = running_applier.load()) running->TellWaiters();
      },
      sweeps);
  sealer = maintenance.get();
  for (uint32_t at = 0; at < shards.size(); ++at) {
    for (const PartitionKey& key : shards[at]->AwakeKeys()) {
      ASSIGN_OR_RETURN(const auto published, shards[at]->PublishedOf(key));
      const bool sealable = published->tail_rows >= options.thresholds.SealRows(*published->version);
      if (sealable || !published->segments.empty()) maintenance->Wake(at, key, Urgency::kSoon);
      if (!published->segments.empty()) maintenance->Wake(at, key, Urgency::kUnsorted);
    }
  }
  return absl::OkStatus();
}

void LocalDeployment::State::StartErasure(const DeploymentOptions& options) {
  erasure = std::make_unique<Erasure>(ErasureOptions{.shards = HostedShards(),
                                                     .maintenance = maintenance.get(),
                                                     .backups = backups.get(),
                                                     .clock = clock,
                                                     .after_ms = options.erase_after_ms,
                                                     .forget =
                                                         [this](MemoryNumber number) {
                                                           label_sums.Forget(number);
                                                           matches.Forget(number);
                                                         },
                                                     .events = options.events});
}

absl::StatusOr<MemoryHandle> LocalDeployment::State::FindOfRecord(MemoryNumber number) const {
  const MemoryNumber next = names().next_number();  // first: who knows it knew all below it
  if (MemoryHandle memory = names().FindByNumber(number)) return memory;
  if (number < next) return WithReason(absl::NotFoundError("the memory was dropped"), reason::kMemoryNotFound);
  return absl::UnavailableError(absl::StrCat("this process has not been told of memory ", number, " yet"));
}

void LocalDeployment::State::StartApplier(const DeploymentOptions& options) {
  if (log == nullptr) return;
  applier = LogApplier::Start({.shard = shards.front().get(),
                               .log = log.get(),
                               .deployment = directory->deployment(),
                               .find_memory = [this](MemoryNumber number) { return FindOfRecord(number); },
                               // Leases are left out: what holds them must not hold the log up.
                               .room = [this] { return CheckRamBeside(0); },
                               .disk = disk.get(),
                               .events = options.events});
  running_applier = applier.get();
}

absl::StatusOr<std::unique_ptr<LocalDeployment>> LocalDeployment::Open(DeploymentOptions options) {
  std::optional<HostedDirectory> hosted;
  if (options.hosted.has_value()) {
    const bool logged = options.hosted->log != nullptr;
    const bool had_memories = options.hosted->catalogue.next_number > 1;
    hosted = HostedDirectory{options.hosted->number, options.hosted->identity,
                             /*had_data=*/had_memories && !options.hosted->accept_empty && !logged, logged};
  }
  std::shared_ptr<DataDirectory> directory = options.hosted.has_value() ? options.hosted->directory : nullptr;
  if (directory == nullptr) {
    ASSIGN_OR_RETURN(directory, DataDirectory::Open(options.data_dir, options.shards, hosted));
  }
  const std::optional<uint32_t> only = hosted.has_value() ? std::optional(hosted->shard) : std::nullopt;
  auto owned = std::make_unique<State>(Routing(directory->shards(), only));
  State* state = owned.get();
  state->clock = options.clock != nullptr ? options.clock : &state->system_clock;
  state->ram_limit_bytes = options.ram_limit_bytes != 0 ? options.ram_limit_bytes : HalfOfRam();
  state->directory = std::move(directory);
  state->disk = std::make_unique<const DiskRoom>(state->directory->path(), options.disk_reserve_bytes,
                                                 std::move(options.free_disk));
  if (options.hosted.has_value() && options.hosted->prepare != nullptr) {
    RETURN_IF_ERROR(options.hosted->prepare(*state->directory, options.hosted->catalogue));
  }
  state->resources = std::make_unique<StoreResources>(kBlockCacheBytes, kWriteBufferBytes);
  if (options.hosted.has_value()) {
    state->log = options.hosted->log;
    state->address = options.hosted->address;
  }
  RETURN_IF_ERROR(state->OpenCatalogue(options.hosted));
  const uint32_t threads = options.search_threads != 0 ? options.search_threads
                                                       : std::max(1U, std::thread::hardware_concurrency());
  RETURN_IF_ERROR(state->OpenShards(options, threads));
  if (state->catalogue != nullptr) {
    // Shards remove the entries of memories that they do not know: those drops are finished now.
    for (const MemoryNumber number : state->catalogue->Dropped()) RETURN_IF_ERROR(state->catalogue->Forget(number));
  }
  state->pool = std::make_unique<SearchPool>(threads, options.max_batched_rows);
  state->fanout = std::make_unique<WriteFanout>(state->PortPointers(), &state->routing);
  state->working_memory = std::make_unique<WorkingMemory>(state->PortPointers(), &state->routing, state->clock);
  state->answers = std::make_unique<AnswerCache>(options.answer_cache_bytes);
  const Clock* const timer = options.clock != nullptr ? options.clock : &state->timer;
  state->leases = std::make_unique<HeldLeases>(LeaseOptions{
      state->by_number, &state->routing, state->clock, timer, state->ram_limit_bytes / limits::kLeaseRamParts});
  state->query_context = {state->by_number, &state->routing, state->pool.get(), state->answers.get(),
                          &state->label_sums, &state->matches};
  state->MakeBackups(options);
  state->MakeCheckpoints(options);
  RETURN_IF_ERROR(state->StartMaintenance(options));
  state->StartErasure(options);
  state->StartApplier(options);
  return std::unique_ptr<LocalDeployment>(new LocalDeployment(std::move(owned)));
}

uint32_t LocalDeployment::shards() const { return state_->routing.shards(); }

const WorkingMemory& LocalDeployment::working_memory() const { return *state_->working_memory; }

uint64_t LocalDeployment::identity() const { return state_->directory->deployment(); }

const CatalogueNames& LocalDeployment::names() const { return state_->names(); }

absl::Status LocalDeployment::State::OwnsCatalogue() const {
  if (catalogue != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError("this process does not own the catalogue; shard 0 does, or its log of names");
}

absl::StatusOr<MemoryHandle> LocalDeployment::CreateMemory(const MemorySpec& spec) {
  RETURN_IF_ERROR(state_->OwnsCatalogue());
  return state_->catalogue->Create(spec, state_->clock->NowMs());
}

absl::StatusOr<MemoryHandle> LocalDeployment::FindMemory(std::string_view name) const {
  return state_->names().Find(name);
}

absl::StatusOr<std::vector<MemoryHandle>> LocalDeployment::ListMemories() const { return state_->names().List(); }

absl::Status LocalDeployment::DropMemory(std::string_view name) {
  RETURN_IF_ERROR(state_->OwnsCatalogue());
  ASSIGN_OR_RETURN(MemoryHandle dropped, state_->catalogue->Drop(name));
  state_->Close(std::move(dropped));
  return absl::OkStatus();
}

absl::Status LocalDeployment::TakeCatalogue(const CatalogueChanges& changes) {
  ASSIGN_OR_RETURN(std::vector<MemoryHandle> gone, state_->told_names.Apply(changes));
  for (MemoryHandle& memory : gone) state_->Close(std::move(memory));
  return absl::OkStatus();
}

void LocalDeployment::State::Close(MemoryHandle dropped) {
  benefit.Forget(dropped->number);
  label_sums.Forget(dropped->number);
  matches.Forget(dropped->number);
  for (const auto& shard : shards) (void)shard->Submit(CloseMemoryOperation{dropped->number});
  leases->EndAllOf(dropped->number);
  leaving.Add(std::move(dropped));
}

absl::StatusOr<MemoryHandle> LocalDeployment::SetAlias(const AliasChange& change) {
  RETURN_IF_ERROR(state_->OwnsCatalogue());
  ASSIGN_OR_RETURN(const Catalogue::Swing swing, state_->catalogue->SetAlias(change));
  return swing.before;
}

absl::Status LocalDeployment::DropAlias(std::string_view name) {
  RETURN_IF_ERROR(state_->OwnsCatalogue());
  return state_->catalogue->DropAlias(name).status();
}

absl::StatusOr<std::vector<Alias>> LocalDeployment::ListAliases() const { return state_->names().ListAliases(); }

bool LocalDeployment::Owns(const MemoryRecord& memory, const PartitionSelection& selection) const {
  return !state_->routing.OwnersOf(memory, selection).empty();
}

absl::Status LocalDeployment::Append(WriteOperation operation) {
  if (state_->log != nullptr) return absl::FailedPreconditionError("writes of this shard go through its log");
  if (Grows(operation)) RETURN_IF_ERROR(state_->CheckRam());
  return state_->ports[state_->shards.front()->number()]->Submit(std::move(operation));
}

void LocalDeployment::AwaitOutcome(LogOffset offset, const RequestIdentity& request, const CallLimits& limits,
                                   std::function<void(absl::StatusOr<WriteResult>)> then) {
  if (state_->applier == nullptr) return then(absl::FailedPreconditionError("this shard has no log"));
  state_->applier->AwaitOutcome(offset, request, limits, std::move(then));
}

LogState LocalDeployment::log_state() const {
  const LogApplier* const applier = state_->applier.get();
  if (applier == nullptr) return {};
  return {true, applier->handled(), applier->seen_end(), applier->lost(), applier->refused(), applier->status()};
}

const ShardPort& LocalDeployment::port() const { return *state_->ports[state_->shards.front()->number()]; }

absl::Status LocalDeployment::Await(const Version& version, const CallLimits& limits) const {
  return state_->Await(version, limits);
}

void LocalDeployment::Insert(MemoryHandle memory, InsertCommand command, std::function<void()> visible,
                             std::function<void(absl::StatusOr<InsertOutcome>)> done) {
  if (absl::Status status = state_->CheckRam(); !status.ok()) return done(status);
  state_->fanout->Insert(std::move(memory), std::move(command), state_->clock->NowMs(), std::move(visible),
                         std::move(done));
}

void LocalDeployment::Remember(const MemoryHandle& memory, RememberCommand command,
                               std::function<void(absl::StatusOr<RememberOutcome>)> done) {
  if (absl::Status status = state_->CheckRam(); !status.ok()) return done(status);
  SubmitRemember(state_->PortPointers(), state_->routing, memory, std::move(command), state_->clock->NowMs(),
                 std::move(done));
}

void LocalDeployment::Delete(MemoryHandle memory, DeleteCommand command,
                             std::function<void(absl::StatusOr<DeleteOutcome>)> done) {
  const int64_t now_ms = state_->clock->NowMs();
  if (!command.dry_run) return state_->fanout->Delete(std::move(memory), std::move(command), now_ms, std::move(done));
  auto outcome = DryRun(memory, command);
  if (outcome.ok()) outcome->deleted_at_ms = now_ms;
  done(std::move(outcome));
}

absl::StatusOr<MemoryStatistics> LocalDeployment::Statistics(const MemoryHandle& memory) const {
  MemoryStatistics sum;
  for (const auto& shard : state_->shards) sum.Add(shard->Statistics(memory->number));
  state_->benefit.AddTo(sum, memory->number);
  return sum;
}

DeploymentStatistics LocalDeployment::Statistics() const {
  DeploymentStatistics sum;
  sum.memory_count = state_->names().memory_count();
  for (const auto& shard : state_->shards) {
    sum.memories.Add(shard->Statistics());
    const ExpiredStates expired = shard->state_expiries().counts();
    sum.expired_sessions += expired.sessions;
    sum.expired_states += expired.states;
    sum.store_bytes += shard->store().DiskBytes();
    sum.queued_write_bytes += shard->queued_bytes();
    if (sum.write_status.ok()) sum.write_status = shard->write_status();
  }
  if (sum.write_status.ok()) sum.write_status = state_->disk->Check();
  sum.queued_searches = state_->pool->queued();
  const AnswerCache::Counts answers = state_->answers->counts();
  sum.answers_asked = answers.asked;
  sum.answers_known = answers.answered;
  sum.answers_bytes = answers.ram_bytes;
  const HeldLeases::Counts held = state_->leases->counts();
  sum.leases = held.live;
  sum.leased_ram_bytes = held.ram_bytes;
  sum.label_sum_bytes = state_->label_sums.ram_bytes();
  sum.match_cache_bytes = state_->matches.ram_bytes();
  sum.maintenance_busy = state_->maintenance->busy();
  const Erasure::Counts erasure = state_->erasure->counts();
  sum.unerased_deletions = erasure.deletions;
  if (erasure.oldest_ms != 0) sum.unerased_ms = std::max<int64_t>(0, state_->clock->NowMs() - erasure.oldest_ms);
  sum.erasures = erasure.runs;
  state_->benefit.AddTo(sum.memories);
  return sum;
}

void LocalDeployment::CountBenefit(const MemoryHandle& memory, uint64_t tokens, double nats) {
  state_->benefit.Count(memory->number, tokens, nats);
}

}  // namespace mneme
