#include "engine/catalogue.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

absl::Status NoSuchAlias(std::string_view name) {
  return WithReason(absl::NotFoundError(absl::StrCat("alias \"", std::string(name), "\" does not exist")),
                    reason::kAliasNotFound);
}

absl::Status MemoryExists(const std::string& name) {
  return WithReason(absl::AlreadyExistsError(absl::StrCat("memory \"", name, "\" exists already")),
                    reason::kMemoryExists);
}

// ABORTED unless `now` (null: there is no such alias) is what was expected.
absl::Status CheckExpected(const AliasChange& change, const MemoryRecord* now) {
  if (!change.expected.has_value() || *change.expected == (now == nullptr ? "" : now->spec.name)) {
    return absl::OkStatus();
  }
  const std::string points = now == nullptr ? "does not exist" : absl::StrCat("points to \"", now->spec.name, "\"");
  const std::string wanted =
      change.expected->empty() ? "must not exist" : absl::StrCat("must point to \"", *change.expected, "\"");
  return WithReason(
      absl::AbortedError(absl::StrCat("alias \"", change.name, "\" ", points, "; expected_memory says it ", wanted)),
      reason::kAliasMoved);
}

absl::StatusOr<MemoryHandle> OutcomeOfChange(const RememberedChange& change) {
  RETURN_IF_ERROR(change.status);
  if (!change.memory.has_value()) return MemoryHandle();
  return std::make_shared<const MemoryRecord>(*change.memory);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Catalogue>> Catalogue::Open(std::unique_ptr<CatalogueStore> store) {
  ASSIGN_OR_RETURN(CatalogueRecords records, store->Read());
  std::unique_ptr<Catalogue> catalogue(new Catalogue(std::move(store)));
  CatalogueChanges stored;
  {
    MutexLock lock(&catalogue->mutex_);
    for (MemoryRecord& record : records.memories) {
      if (record.dropped) {
        catalogue->dropped_.push_back(record.number);
      } else {
        stored.memories.push_back(std::move(record));
      }
    }
  }
  stored.aliases = std::move(records.aliases);
  MutexLock order(&catalogue->store_mutex_);
  RETURN_IF_ERROR(catalogue->Publish(std::move(stored)));
  return catalogue;
}

absl::StatusOr<std::unique_ptr<Catalogue>> Catalogue::OpenLogged(std::unique_ptr<CatalogueStore> store,
                                                                 size_t most_remembered) {
  ASSIGN_OR_RETURN(CatalogueRecords records, store->Read());
  std::unique_ptr<Catalogue> catalogue(new Catalogue(std::move(store)));
  catalogue->most_remembered_ = most_remembered;
  {
    MutexLock lock(&catalogue->mutex_);
    for (RememberedChange& change : records.changes) catalogue->Remember(std::move(change));
  }
  CatalogueChanges stored;
  stored.whole = true;
  stored.memories = std::move(records.memories);
  stored.aliases = std::move(records.aliases);
  stored.replicas = std::move(records.replicas);
  MutexLock order(&catalogue->store_mutex_);
  RETURN_IF_ERROR(catalogue->PublishAt(catalogue->store_->applied(), stored));
  return catalogue;
}

absl::Status Catalogue::Publish(CatalogueChanges changes) {
  ASSIGN_OR_RETURN(changes.next_number, store_->NextNumber());
  return names_.Apply(changes).status();
}

absl::Status Catalogue::PublishAt(Sequence sequence, CatalogueChanges& changes) {
  ASSIGN_OR_RETURN(changes.next_number, store_->NextNumber());
  changes.revision = sequence;
  return names_.ApplyAt(sequence, changes).status();
}

absl::Status Catalogue::Make(const Plan& plan) {
  RETURN_IF_ERROR(store_->Write(plan.batch));
  return Publish(plan.changes);
}

absl::StatusOr<Catalogue::Plan> Catalogue::PlanCreate(const MemorySpec& spec, int64_t now_ms) const {
  if (names_.HasMemory(spec.name)) return MemoryExists(spec.name);
  if (const auto alias = names_.FindAlias(spec.name); alias.has_value()) {
    return WithReason(absl::AlreadyExistsError(absl::StrCat("\"", spec.name, "\" is an alias of memory \"",
                                                            alias->memory->spec.name, "\"")),
                      reason::kAliasExists);
  }
  if (names_.memory_count() >= limits::kMaxMemories) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", names_.memory_count(), " memories; the bound is ", limits::kMaxMemories));
  }
  MemoryRecord record;
  ASSIGN_OR_RETURN(record.number, store_->NextNumber());
  record.spec = spec;
  record.created_ms = now_ms;
  Plan plan;
  plan.number = record.number;
  plan.batch.memories.push_back(record);
  plan.changes.memories.push_back(std::move(record));
  return plan;
}

absl::StatusOr<MemoryHandle> Catalogue::Create(const MemorySpec& spec, int64_t now_ms) {
  MutexLock order(&store_mutex_);
  ASSIGN_OR_RETURN(const Plan plan, PlanCreate(spec, now_ms));
  RETURN_IF_ERROR(Make(plan));
  return names_.FindByNumber(plan.number);
}

absl::StatusOr<MemoryNumber> Catalogue::NextNumber() const {
  MutexLock order(&store_mutex_);
  return store_->NextNumber();
}

absl::StatusOr<Catalogue::Plan> Catalogue::PlanDrop(std::string_view name, bool keeps_number) const {
  Plan plan;
  ASSIGN_OR_RETURN(plan.memory, names_.Find(name));
  const MemoryRecord& dropped = *plan.memory;
  if (const std::string alias = names_.AnyAliasOf(dropped.number); !alias.empty()) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat("alias \"", alias, "\" points to memory \"", dropped.spec.name,
                                                   "\"; drop it or point it elsewhere first")),
        reason::kMemoryAliased);
  }
  plan.number = dropped.number;
  if (keeps_number) {
    plan.batch.memories.push_back(dropped);
    plan.batch.memories.back().dropped = true;
  } else {
    plan.batch.removed.push_back(dropped.number);
  }
  plan.changes.removed.push_back(dropped.number);
  return plan;
}

absl::StatusOr<MemoryHandle> Catalogue::Drop(std::string_view name) {
  MutexLock order(&store_mutex_);
  ASSIGN_OR_RETURN(const Plan plan, PlanDrop(name, /*keeps_number=*/true));
  RETURN_IF_ERROR(Make(plan));
  MutexLock lock(&mutex_);
  dropped_.push_back(plan.number);
  return plan.memory;
}

absl::StatusOr<Catalogue::Plan> Catalogue::PlanAlias(const AliasChange& change) const {
  ASSIGN_OR_RETURN(const MemoryNumber next, store_->NextNumber());
  ASSIGN_OR_RETURN(const MemoryHandle memory, names_.Find(change.memory));
  if (names_.HasMemory(change.name)) return MemoryExists(change.name);
  const auto found = names_.FindAlias(change.name);
  Plan plan;
  plan.memory = found.has_value() ? found->memory : nullptr;
  RETURN_IF_ERROR(CheckExpected(change, plan.memory.get()));
  if (!found.has_value() && names_.alias_count() >= limits::kMaxAliases) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", names_.alias_count(), " aliases; the bound is ", limits::kMaxAliases));
  }
  plan.number = found.has_value() ? found->number : next;
  plan.batch.aliases.push_back({plan.number, change.name, memory->number});
  plan.changes.aliases = plan.batch.aliases;
  return plan;
}

absl::StatusOr<Catalogue::Swing> Catalogue::SetAlias(const AliasChange& change) {
  MutexLock order(&store_mutex_);
  ASSIGN_OR_RETURN(const Plan plan, PlanAlias(change));
  RETURN_IF_ERROR(Make(plan));
  return Swing{plan.number, plan.memory};
}

absl::StatusOr<Catalogue::Plan> Catalogue::PlanDropAlias(std::string_view name) const {
  const auto alias = names_.FindAlias(name);
  if (!alias.has_value()) return NoSuchAlias(name);
  Plan plan;
  plan.number = alias->number;
  plan.batch.removed.push_back(alias->number);
  plan.changes.removed.push_back(alias->number);
  return plan;
}

absl::StatusOr<MemoryNumber> Catalogue::DropAlias(std::string_view name) {
  MutexLock order(&store_mutex_);
  ASSIGN_OR_RETURN(const Plan plan, PlanDropAlias(name));
  RETURN_IF_ERROR(Make(plan));
  return plan.number;
}

absl::Status Catalogue::WhileUnchanged(const std::function<absl::Status(const CatalogueStore&)>& call) const {
  MutexLock order(&store_mutex_);
  return call(*store_);
}

std::vector<MemoryNumber> Catalogue::Dropped() const {
  MutexLock lock(&mutex_);
  return dropped_;
}

absl::Status Catalogue::Forget(MemoryNumber number) {
  MutexLock order(&store_mutex_);
  RETURN_IF_ERROR(store_->Remove(number));
  MutexLock lock(&mutex_);
  std::erase(dropped_, number);
  return absl::OkStatus();
}

// --- With a log ----------------------------------------------------------------------------------------------------

Sequence Catalogue::applied() const {
  MutexLock order(&store_mutex_);
  return store_->applied();
}

absl::StatusOr<Catalogue::Plan> Catalogue::PlanReplicas(const SetReplicasCommand& set) const {
  if (set.shard >= limits::kMaxShards || set.replicas.size() > limits::kMaxReplicas) {
    return absl::InvalidArgumentError(absl::StrCat("shard ", set.shard, " is given ", set.replicas.size(),
                                                   " replicas; the bounds are ", limits::kMaxShards, " shards of ",
                                                   limits::kMaxReplicas));
  }
  for (auto at = set.replicas.begin(); at != set.replicas.end(); ++at) {
    if (at->empty() || std::find(set.replicas.begin(), at, *at) == at) continue;
    return absl::InvalidArgumentError(absl::StrCat("shard ", set.shard, " is given ", *at,
                                                   " twice; must be one replica of it"));
  }
  const ReplicaList now = names_.ReplicasOf(set.shard);
  if (now.addresses != set.expected || (now.fixed && !set.fixed)) {
    return absl::AbortedError(absl::StrCat("the replicas of shard ", set.shard, " are not those that were expected"));
  }
  Plan plan;
  plan.batch.replicas[set.shard] = {set.replicas, set.fixed};
  plan.changes.replicas = plan.batch.replicas;
  return plan;
}

absl::StatusOr<Catalogue::Plan> Catalogue::PlanRecord(const LogRecord& record) const {
  if (const auto* create = std::get_if<CreateMemoryCommand>(&record.operation)) {
    return PlanCreate(create->spec, record.stamp_ms);
  }
  if (const auto* drop = std::get_if<DropMemoryCommand>(&record.operation)) {
    return PlanDrop(drop->name, /*keeps_number=*/false);
  }
  if (const auto* set = std::get_if<SetAliasCommand>(&record.operation)) return PlanAlias(set->change);
  if (const auto* drop = std::get_if<DropAliasCommand>(&record.operation)) return PlanDropAlias(drop->name);
  if (const auto* set = std::get_if<SetReplicasCommand>(&record.operation)) return PlanReplicas(*set);
  if (std::holds_alternative<FoundCommand>(record.operation)) return Plan();
  return absl::InvalidArgumentError("a write of a shard is no change of the catalogue");
}

absl::StatusOr<AppliedChange> Catalogue::Apply(LogOffset offset, const LogRecord& record) {
  MutexLock order(&store_mutex_);
  AppliedChange applied;
  CatalogueBatch batch;
  const Hash128* const request = RequestOfChange(record.operation);
  std::optional<RememberedChange> made;
  const std::optional<absl::StatusOr<MemoryHandle>> before =
      request == nullptr ? std::nullopt : OutcomeOf(*request);
  if (before.has_value()) {
    applied.outcome = *before;
  } else {
    absl::StatusOr<Plan> plan = PlanRecord(record);
    if (request != nullptr) made = RememberedChange{SequenceAt(offset), *request, plan.status(), std::nullopt};
    if (plan.ok()) {
      batch = std::move(plan->batch);
      applied.changes = std::move(plan->changes);
      if (std::holds_alternative<CreateMemoryCommand>(record.operation)) made->memory = batch.memories.front();
      const bool swings = std::holds_alternative<SetAliasCommand>(record.operation);
      if (swings && plan->memory != nullptr) made->memory = *plan->memory;
    }
    applied.outcome = made.has_value() ? OutcomeOfChange(*made) : absl::StatusOr<MemoryHandle>(MemoryHandle());
    if (request == nullptr && !plan.ok()) applied.outcome = plan.status();
  }
  batch.applied = SequenceAt(offset);
  if (made.has_value()) {
    MutexLock lock(&mutex_);
    batch.remembered.push_back(*made);
    if (remembered_.size() >= most_remembered_) batch.forgotten.push_back(remembered_.front().sequence);
  }
  RETURN_IF_ERROR(store_->Write(batch));
  RETURN_IF_ERROR(PublishAt(*batch.applied, applied.changes));
  if (!made.has_value()) return applied;
  // The one handle that a memory has.
  const MemoryHandle known = made->memory.has_value() ? names_.FindByNumber(made->memory->number) : nullptr;
  if (known != nullptr) applied.outcome = known;
  MutexLock lock(&mutex_);
  Remember(*std::move(made));
  return applied;
}

const RememberedChange* Catalogue::FindChange(const Hash128& request) const {
  const auto at = by_request_.find({request.low, request.high});
  if (at == by_request_.end()) return nullptr;
  const auto change = std::lower_bound(
      remembered_.begin(), remembered_.end(), at->second,
      [](const RememberedChange& each, Sequence sequence) { return each.sequence < sequence; });
  return &*change;
}

void Catalogue::Remember(RememberedChange change) {
  while (!remembered_.empty() && remembered_.size() >= most_remembered_) {
    by_request_.erase({remembered_.front().request.low, remembered_.front().request.high});
    remembered_.pop_front();
  }
  by_request_[{change.request.low, change.request.high}] = change.sequence;
  remembered_.push_back(std::move(change));
}

std::optional<absl::StatusOr<MemoryHandle>> Catalogue::OutcomeOf(const Hash128& request) const {
  std::optional<absl::StatusOr<MemoryHandle>> outcome;
  {
    MutexLock lock(&mutex_);
    const RememberedChange* const change = FindChange(request);
    if (change == nullptr) return std::nullopt;
    outcome = OutcomeOfChange(*change);
  }
  // A memory that is there has one handle.
  if (!outcome->ok() || **outcome == nullptr) return outcome;
  if (MemoryHandle known = names_.FindByNumber((**outcome)->number)) outcome->emplace(std::move(known));
  return outcome;
}

CatalogueSnapshot Catalogue::Snapshot() const {
  MutexLock order(&store_mutex_);
  CatalogueSnapshot snapshot;
  snapshot.applied = store_->applied();
  snapshot.names = names_.Everything();
  MutexLock lock(&mutex_);
  snapshot.remembered.assign(remembered_.begin(), remembered_.end());
  return snapshot;
}

absl::Status Catalogue::Take(const CatalogueSnapshot& snapshot) {
  MutexLock order(&store_mutex_);
  if (snapshot.applied <= store_->applied()) {
    return absl::FailedPreconditionError(absl::StrCat("a catalogue that is applied up to ", snapshot.applied,
                                                      " was offered to one that is up to ", store_->applied()));
  }
  CatalogueBatch batch;
  batch.whole = true;
  batch.memories = snapshot.names.memories;
  batch.aliases = snapshot.names.aliases;
  batch.next_number = snapshot.names.next_number;
  batch.applied = snapshot.applied;
  batch.remembered = snapshot.remembered;
  batch.replicas = snapshot.names.replicas;
  RETURN_IF_ERROR(store_->Write(batch));
  CatalogueChanges changes = snapshot.names;
  RETURN_IF_ERROR(PublishAt(snapshot.applied, changes));
  MutexLock lock(&mutex_);
  remembered_.clear();
  by_request_.clear();
  for (const RememberedChange& change : snapshot.remembered) Remember(change);
  return absl::OkStatus();
}

}  // namespace mneme
