// A change is known, or nobody tells names that lack it, when
// 1. the other tellers have confirmed it, or what they lent without it is over: a lease after it was in the log, for
//    those who had asked the log for its end, and when the last promise ends that they had of this one before it was
//    applied here;
// 2. its own watchers have taken it, or the leases are over that they had when it was applied.
#include "engine/catalogue_teller.h"

#include <algorithm>
#include <future>
#include <optional>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/error_reason.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// Who waits for an append, or for what others lent, looks whether his own time is over so often.
constexpr std::chrono::milliseconds kLook(10);

}  // namespace

// A list of replicas of shard 0 on its way to the log.
struct CatalogueTeller::HandedList {
  // Written before `told`, by whoever calls back.
  Sequence sequence = 0;  // 0: it was refused, and may be there all the same
  Steady::time_point refused;
  std::atomic<bool> told{false};
};

CatalogueTeller::CatalogueTeller(CatalogueTellerOptions options)
    : options_(std::move(options)),
      quiet_until_(options_.catalogue->applied() == 0 ? started_ : started_ + options_.promise),
      applier_(ApplierOptions()), feed_(&names(), FeedOptions()) {}

CatalogueTeller::~CatalogueTeller() = default;

CatalogueApplierOptions CatalogueTeller::ApplierOptions() {
  options_.others->SetHandled(options_.catalogue->applied());
  SetReplicas(names().ReplicasOf(0).addresses);
  CatalogueApplierOptions applier;
  applier.handled = [this](Sequence handled) { options_.others->SetHandled(handled); };
  applier.catalogue = options_.catalogue.get();
  applier.log = options_.log.get();
  applier.deployment = options_.deployment;
  // Before the record counts as applied: a change after it waits for those that it names.
  applier.replicas = [this](uint32_t shard, const std::vector<std::string>& replicas) {
    if (shard != 0) return;
    const bool before = listed();
    SetReplicas(replicas);
    if (listed() == before || options_.events == nullptr) return;
    options_.events(before ? "replica_not_listed" : "replica_listed",
                    absl::StrCat("the replicas of shard 0 are ", absl::StrJoin(replicas, ", "), ", and this is ",
                                 options_.address, before ? ": it tells no names any more" : ""));
  };
  applier.poll = options_.poll;
  applier.events = options_.events;
  return applier;
}

CatalogueFeedOptions CatalogueTeller::FeedOptions() {
  CatalogueFeedOptions feed;
  feed.lease = options_.lease;
  feed.poll = options_.poll;
  feed.clocks = options_.clocks;
  feed.epoch = options_.deployment;
  feed.known = [this] { return known(); };
  return feed;
}

NamesKnown CatalogueTeller::known() const {
  constexpr NamesKnown kNothing{Steady::time_point::min(), Steady::time_point::min()};
  // One that applies no more will not hear of what the others do, promised or not; for one that is not listed they do
  // not wait; and one that was told of a change which it lacks may have been told by one that promised it nothing.
  if (!applier_.status().ok() || applier_.Lacks()) return kNothing;
  if (!listed()) return kNothing;
  const Steady::time_point logged = applier_.known_at();
  const NamesKnown by_log{logged, logged + options_.lease};
  // Those whose promises there are may be listed no more: who is does not wait for what is lent by them.
  if (AwaitsList()) return by_log;
  const Steady::time_point promised = options_.others->PromisedAt(applier_.handled());
  // Who promised may have a clock that goes faster.
  return {std::max(logged, promised), std::max(by_log.until, promised + options_.promise * 19 / 20)};
}

CatalogueTeller::Steady::time_point CatalogueTeller::MayTellUntil(const std::string& address,
                                                                  Steady::time_point applied) const {
  MutexLock lock(&promised_mutex_);
  // The process before this one may have promised it something until it ended, and who was listed before this one was,
  // until then.
  Steady::time_point promised = listed_since_;
  if (const auto noted = promised_.find(address); noted != promised_.end()) {
    promised = std::max(promised, noted->second);
  }
  return std::max(applied + options_.lease, promised + options_.promise);
}

void CatalogueTeller::SetReplicas(const std::vector<std::string>& replicas) {
  options_.others->SetReplicas(replicas);
  const bool listed = std::find(replicas.begin(), replicas.end(), options_.address) != replicas.end();
  if (listed && !listed_.load(std::memory_order_relaxed)) {
    MutexLock lock(&promised_mutex_);
    listed_since_ = Steady::now();
  }
  listed_.store(listed, std::memory_order_release);
}

bool CatalogueTeller::AwaitsList() const {
  MutexLock lock(&lists_mutex_);
  std::erase_if(handed_lists_, [this](const std::shared_ptr<HandedList>& list) {
    if (!list->told.load(std::memory_order_acquire)) return false;
    if (list->sequence != 0) return applier_.handled() >= list->sequence;
    return applier_.known_at() > list->refused;  // it is applied, or is not there
  });
  return !handed_lists_.empty();
}

absl::Status CatalogueTeller::NotListed() const {
  return absl::UnavailableError(absl::StrCat("this process, at ", options_.address, ", is none of the replicas of "
                                             "shard 0, as the log of names has it"));
}

absl::StatusOr<LogOffset> CatalogueTeller::Append(LogRecord record, const CallLimits& limits) {
  RETURN_IF_ERROR(applier_.status());
  std::shared_ptr<HandedList> list;
  if (const auto* set = std::get_if<SetReplicasCommand>(&record.operation); set != nullptr && set->shard == 0) {
    // Promises would end until the log is there again, and names with them, for a list that cannot come to be.
    if (set->fixed && !listed()) return NotListed();
    if (applier_.lost()) {
      return absl::UnavailableError("replicas of shard 0 are changed while the log of names is reached; it is not now");
    }
    list = std::make_shared<HandedList>();
    MutexLock lock(&lists_mutex_);
    handed_lists_.push_back(list);
  }
  record.deployment = options_.deployment;
  record.memory = 0;
  // By whose clock it was asked for is of no matter: the memory is made now.
  record.stamp_ms = (options_.clock != nullptr ? *options_.clock : system_clock_).NowMs();
  const auto told = std::make_shared<std::promise<absl::StatusOr<LogOffset>>>();
  std::future<absl::StatusOr<LogOffset>> appended = told->get_future();
  options_.log->Append(EncodeLogRecord(record), [told, list](absl::StatusOr<LogOffset> offset) {
    if (list != nullptr) {
      if (offset.ok()) list->sequence = SequenceAt(*offset);
      list->refused = Steady::now();
      list->told.store(true, std::memory_order_release);
    }
    told->set_value(std::move(offset));
  });
  while (appended.wait_for(kLook) != std::future_status::ready) RETURN_IF_ERROR(limits.Check());
  return appended.get();
}

absl::Status CatalogueTeller::Enlist(const std::vector<std::string>& replicas, const CallLimits& limits) {
  while (true) {
    const ReplicaList now = names().ReplicasOf(0);
    if (now.fixed || now.addresses == replicas) return absl::OkStatus();
    LogRecord record;
    const Hash128 request = NewChangeRequest();
    record.operation = SetReplicasCommand{0, now.addresses, replicas, request};
    ASSIGN_OR_RETURN(const LogOffset offset, Append(std::move(record), limits));
    RETURN_IF_ERROR(applier_.AwaitHandled(SequenceAt(offset), limits));
    const auto outcome = options_.catalogue->OutcomeOf(request);
    // Another was set meanwhile: what is there now is looked at anew.
    if (outcome.has_value() && !outcome->ok() && !absl::IsAborted(outcome->status())) return outcome->status();
  }
}

absl::StatusOr<MemoryHandle> CatalogueTeller::Change(LogRecord record, const CallLimits& limits) {
  const Hash128* const asked = RequestOfChange(record.operation);
  if (asked == nullptr) return absl::InvalidArgumentError("a write of a shard is no change of names");
  const Hash128 request = *asked;
  ASSIGN_OR_RETURN(const LogOffset offset, Append(std::move(record), limits));
  RETURN_IF_ERROR(applier_.AwaitHandled(SequenceAt(offset), limits));
  const Steady::time_point applied = Steady::now();
  // Those that are do not wait for what this one lends, nor does what they lend wait for it.
  if (!listed()) return NotListed();
  const auto until = [&](const std::string& address) { return MayTellUntil(address, applied); };
  const Steady::time_point lent = options_.others->Confirm(offset, until, limits);
  RETURN_IF_ERROR(limits.Check());  // else it may not have been waited for what they say
  // 1; and what one was promised that is not listed any more, and was when this one was not there.
  const Steady::time_point quiet = std::max(lent, quiet_until_);
  while (Steady::now() < quiet) {
    RETURN_IF_ERROR(limits.Check());
    std::this_thread::sleep_for(kLook);
  }
  // A refusal, too, tells what the names are: who hears that one exists must find it wherever he asks next, though the
  // change that made it is not acknowledged yet.
  RETURN_IF_ERROR(feed_.Publish(SequenceAt(offset), applied, limits));  // 2
  std::optional<absl::StatusOr<MemoryHandle>> outcome = options_.catalogue->OutcomeOf(request);
  if (outcome.has_value()) return *std::move(outcome);
  return absl::UnavailableError(absl::StrCat("what became of the change at offset ", offset,
                                             " of the log of names is not known any more; look at the names"));
}

absl::Status CatalogueTeller::Confirm(LogOffset offset, const CallLimits& limits) {
  applier_.HeardOf(offset + 1);
  RETURN_IF_ERROR(applier_.AwaitHandled(SequenceAt(offset), limits));
  return feed_.Publish(SequenceAt(offset), Steady::now(), limits);
}

absl::StatusOr<Sequence> CatalogueTeller::Promise(const std::string& address, Sequence handled) {
  RETURN_IF_ERROR(applier_.status());
  if (handled < applier_.handled()) {
    return absl::UnavailableError(absl::StrCat(address, " has not applied all of the log of names that is applied at ",
                                               options_.address, " yet"));
  }
  if (AwaitsList()) return absl::UnavailableError("a list of the replicas of shard 0 is on its way to the log");
  {
    MutexLock lock(&promised_mutex_);
    const Steady::time_point now = Steady::now();
    std::erase_if(promised_, [&](const auto& each) { return each.second + options_.promise < now; });
    promised_[address] = now;
  }
  // Only now: a change that is applied from here on finds the promise, and one that is before is in what is promised.
  return applier_.handled();
}

}  // namespace mneme
