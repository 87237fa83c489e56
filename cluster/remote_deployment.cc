#include "cluster/remote_deployment_state.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <optional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/status_macros.h"
#include "engine/catalogue_teller.h"
#include "engine/flat_commands.h"
#include "engine/log_record.h"
#include "engine/shard_log.h"

namespace mneme {
namespace {

using Async = ShardChannel::Async;

// At one of several, which may have to wait for what it promised to one that is dead; then the next is asked.
constexpr std::chrono::seconds kChangeAtOneWithin{9};
static_assert(kChangeAtOneWithin > kNamesPromise);
// Long enough for one that sleeps, for that at the next, and for a disk that is busy.
constexpr std::chrono::seconds kChangeWithin{25};
constexpr std::chrono::milliseconds kChangePause{100};
constexpr std::chrono::seconds kStatisticsWithin{5};

}  // namespace

void Join(const Version& part, Version& whole) {
  whole.memory = part.memory;
  whole.parts.insert(whole.parts.end(), part.parts.begin(), part.parts.end());
}

absl::Status ReplicasChanged(uint32_t shard) {
  return WithReason(absl::UnavailableError(absl::StrCat("the replicas of shard ", shard, " are others than when they "
                                                        "began to be asked; ask again")),
                    reason::kShardUnavailable);
}

RemoteDeployment::RemoteDeployment(std::unique_ptr<State> state) : state_(std::move(state)) {}

RemoteDeployment::~RemoteDeployment() {
  state_->watch->Forward(nullptr);
  state_->pool.Stop();
}

void RemoteDeployment::State::TakeReplicas(const ReplicaLists& lists) {
  for (const auto& [shard, list] : lists) {
    const bool any = std::any_of(list.addresses.begin(), list.addresses.end(),
                                 [](const std::string& each) { return !each.empty(); });
    if (!list.fixed || !any || shard >= shards.size()) continue;
    shards.SetReplicas(shard, list.addresses);
    if (shard != 0) continue;
    Tellers made = MakeTellers(list.addresses, TellersNow());
    MutexLock lock(&tellers_mutex);
    tellers.swap(made);
  }
}

absl::StatusOr<std::unique_ptr<RemoteDeployment>> RemoteDeployment::Open(RemoteDeploymentOptions options) {
  const CatalogueWatchOptions watch_options{options.shards.front(),
                                            static_cast<uint32_t>(options.shards.size()),
                                            options.events, options.security};
  ASSIGN_OR_RETURN(auto watch, CatalogueWatch::Start(watch_options, options.give_up));
  const size_t threads =
      options.search_threads != 0 ? options.search_threads : std::max(1U, std::thread::hardware_concurrency());
  auto state = std::make_unique<State>(std::move(watch), options, threads);
  // Before a change is acknowledged: a replica that is none any more is asked nothing from then on.
  state->watch->Forward([raw = state.get()](const CatalogueChanges& changes) {
    raw->TakeReplicas(changes.replicas);
    return absl::OkStatus();
  });
  return std::unique_ptr<RemoteDeployment>(new RemoteDeployment(std::move(state)));
}

void RemoteDeployment::GiveUp() {
  state_->shards.GiveUp();
  for (const auto& port : state_->ports) port->GiveUp();
}

uint32_t RemoteDeployment::shards() const { return state_->shards.size(); }

uint64_t RemoteDeployment::identity() const { return state_->watch->identity(); }

// --- Catalogue -----------------------------------------------------------------------------------------------------

absl::StatusOr<MemoryHandle> RemoteDeployment::FindMemory(std::string_view name) const {
  RETURN_IF_ERROR(state_->watch->Check());
  return state_->watch->names().Find(name);
}

absl::StatusOr<std::vector<MemoryHandle>> RemoteDeployment::ListMemories() const {
  RETURN_IF_ERROR(state_->watch->Check());
  return state_->watch->names().List();
}

absl::StatusOr<std::vector<Alias>> RemoteDeployment::ListAliases() const {
  RETURN_IF_ERROR(state_->watch->Check());
  return state_->watch->names().ListAliases();
}

absl::StatusOr<std::string> RemoteDeployment::Change(LoggedOperation change) const {
  RETURN_IF_ERROR(state_->watch->Check());
  const ShardChannel& names = state_->shards.shard(0);
  internal_wire::Call call;
  *call.mutable_target() = names.target();
  // The same record at each: it is done once.
  call.set_body(EncodeLogRecord({0, state_->clock.NowMs(), std::move(change)}));
  const CallLimits whole = CallLimits().Within(kChangeWithin);
  for (size_t at = state_->changed_at.load(std::memory_order_relaxed);; ++at) {
    // It may be a change of these.
    const State::Tellers tellers = state_->TellersNow();
    at %= tellers.size();
    const CallLimits limits = tellers.size() > 1 ? whole.Within(kChangeAtOneWithin) : whole;
    internal_wire::Answer answer;
    const auto context = MakeContext(limits);
    names.canceller().Watch(nullptr, context);
    const grpc::Status status = tellers[at]->stub->Change(context.get(), call, &answer);
    const absl::Status why = FromGrpcStatus(status, absl::StrCat("shard 0 at ", tellers[at]->address));
    const bool away = Unreached(why);
    // The next change goes to it at once: one that is cut off from the log may take all its time to say so.
    if (!away) state_->changed_at.store(at, std::memory_order_relaxed);
    if (why.ok()) return std::move(*answer.mutable_body());
    if (tellers.size() == 1 || !away || !whole.Check().ok()) return why;
    std::this_thread::sleep_for(kChangePause);
  }
}

absl::StatusOr<MemoryHandle> RemoteDeployment::CreateMemory(const MemorySpec& spec) {
  if (state_->watch->names().next_number() <= 1) {
    const std::string body = Flat(std::optional<MemoryNumber>());
    RETURN_IF_ERROR(state_->shards
                        .AskAndWait(
                            &Async::Statistics, state_->shards.all(), [&](uint32_t) { return body; },
                            CallLimits().Within(kStatisticsWithin))
                        .status());
  }
  ASSIGN_OR_RETURN(const std::string answer,
                   Change(CreateMemoryCommand{spec, NewChangeRequest()}));
  MemoryRecord record;
  RETURN_IF_ERROR(Unflat(answer, record));
  // It has been told; or its lease has run out, and what it finds next is new.
  if (MemoryHandle known = state_->watch->names().FindByNumber(record.number)) return known;
  return std::make_shared<const MemoryRecord>(std::move(record));
}

absl::Status RemoteDeployment::DropMemory(std::string_view name) {
  return Change(DropMemoryCommand{std::string(name), NewChangeRequest()}).status();
}

absl::StatusOr<MemoryHandle> RemoteDeployment::SetAlias(const AliasChange& change) {
  ASSIGN_OR_RETURN(const std::string answer, Change(SetAliasCommand{change, NewChangeRequest()}));
  MemoryHandle before;
  RETURN_IF_ERROR(Unflat(answer, before));
  return before;
}

absl::Status RemoteDeployment::DropAlias(std::string_view name) {
  return Change(DropAliasCommand{std::string(name), NewChangeRequest()}).status();
}

// --- Writes --------------------------------------------------------------------------------------------------------

void RemoteDeployment::Insert(MemoryHandle memory, InsertCommand command, std::function<void()> visible,
                              std::function<void(absl::StatusOr<InsertOutcome>)> done) {
  state_->fanout.Insert(std::move(memory), std::move(command), state_->clock.NowMs(), std::move(visible),
                        std::move(done));
}

void RemoteDeployment::Remember(const MemoryHandle& memory, RememberCommand command,
                                std::function<void(absl::StatusOr<RememberOutcome>)> done) {
  SubmitRemember(state_->port_pointers, state_->routing(), memory, std::move(command), state_->clock.NowMs(),
                 std::move(done));
}

void RemoteDeployment::Delete(MemoryHandle memory, DeleteCommand command,
                              std::function<void(absl::StatusOr<DeleteOutcome>)> done) {
  const int64_t now_ms = state_->clock.NowMs();
  if (!command.dry_run) return state_->fanout.Delete(std::move(memory), std::move(command), now_ms, std::move(done));
  auto outcome = DryRun(memory, command);
  if (outcome.ok()) outcome->deleted_at_ms = now_ms;
  done(std::move(outcome));
}

absl::StatusOr<DeleteOutcome> RemoteDeployment::DryRun(const MemoryHandle& memory, const DeleteCommand& command) const {
  // With ids every shard that owns a part is asked for all of them, as when they are deleted.
  const std::vector<uint32_t> owners = state_->routing().OwnersOf(*memory, command.partitions);
  const auto body = [&](uint32_t shard) { return Flat(memory->number, command, state_->shards.PartOf({}, shard)); };
  ASSIGN_OR_RETURN(const auto answers,
                   state_->shards.AskAndWait(&Async::DryDelete, owners, body, command.limits));
  DeleteOutcome outcome;
  outcome.version.memory = memory->number;
  for (const std::string& answer : answers) {
    uint64_t deleted = 0;
    RETURN_IF_ERROR(Unflat(answer, deleted));
    outcome.deleted += deleted;
  }
  if (command.ids.has_value()) {
    outcome.absent = command.ids->size() - std::min<uint64_t>(command.ids->size(), outcome.deleted);
  }
  return outcome;
}

// --- Leases and working memory -------------------------------------------------------------------------------------

absl::StatusOr<Leases::Granted> RemoteDeployment::AcquireLease(const MemoryHandle& memory, const VisitCommand& command,
                                                               int64_t lease_ms) {
  return state_->leases.Acquire(*memory, command, lease_ms);
}

Leases& RemoteDeployment::leases() const { return state_->leases; }

const WorkingMemory& RemoteDeployment::working_memory() const { return state_->working_memory; }

// --- Statistics ----------------------------------------------------------------------------------------------------

absl::StatusOr<MemoryStatistics> RemoteDeployment::Statistics(const MemoryHandle& memory) const {
  const std::string body = Flat(std::optional<MemoryNumber>(memory->number));
  const std::vector<uint32_t> all = state_->shards.all();
  ASSIGN_OR_RETURN(const auto answers, state_->shards.AskAndWait(
                                           &Async::Statistics, all, [&](uint32_t) { return body; },
                                           CallLimits().Within(kStatisticsWithin)));
  MemoryStatistics sum;
  for (const std::string& answer : answers) {
    MemoryStatistics part;
    RETURN_IF_ERROR(Unflat(answer, part));
    sum.Add(part);
  }
  state_->benefit.AddTo(sum, memory->number);
  return sum;
}

DeploymentStatistics RemoteDeployment::Statistics() const {
  DeploymentStatistics sum;
  const std::string body = Flat(std::optional<MemoryNumber>());
  std::vector<std::future<absl::StatusOr<std::string>>> asked;
  for (const uint32_t number : state_->shards.all()) {
    const ShardChannel& shard = state_->shards.shard(number);
    asked.push_back(shard.AskAhead(&Async::Statistics, body, CallLimits().Within(kStatisticsWithin)));
  }
  for (auto& each : asked) {
    const absl::StatusOr<std::string> answer = each.get();
    DeploymentStatistics part;
    const absl::Status read = answer.ok() ? Unflat(*answer, part) : answer.status();
    if (!read.ok()) part.write_status = read;
    sum.Add(part);
  }
  sum.memory_count = state_->watch->names().memory_count();
  sum.queued_searches += state_->pool.queued();
  state_->benefit.AddTo(sum.memories);
  return sum;
}

FrontEndStatistics RemoteDeployment::Own() const {
  FrontEndStatistics own;
  own.queued_merges = state_->pool.queued();
  own.queries = state_->admission.queries();
  own.query_bytes = state_->admission.bytes();
  for (const auto& port : state_->ports) own.write_bytes += port->bytes();
  for (const uint32_t number : state_->shards.all()) {
    own.hedged += state_->shards.shard(number).hedging().hedged();
    own.hedges_won += state_->shards.shard(number).hedging().won();
  }
  own.clock_ahead_ms = state_->watch->clock_ahead_ms();
  MemoryStatistics benefit;
  state_->benefit.AddTo(benefit);
  own.benefit_tokens = benefit.benefit_tokens;
  own.benefit_nats = benefit.benefit_nats;
  return own;
}

void RemoteDeployment::CountBenefit(const MemoryHandle& memory, uint64_t tokens, double nats) {
  state_->benefit.Count(memory->number, tokens, nats);
}

}  // namespace mneme
