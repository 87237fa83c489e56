#include "engine/catalogue_feed.h"

#include <algorithm>

#include "common/random_number.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// Who waits for others looks whether its own time is over so often.
constexpr std::chrono::milliseconds kLook{20};
// Longer than anything is told; what was never known at all is so long ago.
constexpr std::chrono::hours kLongestBehind{1};

}  // namespace

CatalogueFeed::CatalogueFeed(const CatalogueNames* names, CatalogueFeedOptions options)
    : names_(names), options_(std::move(options)), epoch_(options_.epoch != 0 ? options_.epoch : RandomNumber()),
      quiet_until_(options_.fresh ? Steady::now() : Steady::now() + options_.lease), thread_([this] { Run(); }) {}

CatalogueFeed::~CatalogueFeed() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void CatalogueFeed::Watch(const std::string& watcher, const Known& known, std::function<void(Answer)> done) {
  std::vector<Waiting> at_once;
  {
    MutexLock lock(&mutex_);
    const auto taken = watchers_.find(watcher);
    if (taken != watchers_.end() && known.epoch == epoch_) {
      taken->second.taken = std::max(taken->second.taken, known.revision);
      changed_.NotifyAll();  // somebody may wait for it
    }
    const Steady::time_point now = Steady::now();
    Waiting waiting{watcher, known, now, now + options_.poll, std::move(done)};
    if (known.at_once || HasMore(known) || stopping_) {
      at_once.push_back(std::move(waiting));
    } else {
      waiting_.push_back(std::move(waiting));
    }
  }
  if (!at_once.empty()) Tell(std::move(at_once));
}

void CatalogueFeed::NoteClock(const std::string& watcher, int64_t ahead_ms) const {
  if (options_.clocks != nullptr) options_.clocks->Note(watcher, ahead_ms, Steady::now() + options_.lease);
}

void CatalogueFeed::Leave(const std::string& watcher) {
  std::vector<Waiting> left;  // nobody hears what they would be told: an answer would be a lease
  {
    MutexLock lock(&mutex_);
    watchers_.erase(watcher);
    const auto rest = std::stable_partition(waiting_.begin(), waiting_.end(),
                                            [&](const Waiting& each) { return each.watcher == watcher; });
    left.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(rest));
    waiting_.erase(waiting_.begin(), rest);
  }
  changed_.NotifyAll();  // somebody may wait for it
  for (const Waiting& each : left) each.done({});
}

bool CatalogueFeed::HasMore(const Known& known) const {
  if (known.epoch != epoch_) return true;
  const uint64_t revision = names_->revision();
  // Of one process alone no revision is beyond what it has.
  return options_.epoch == 0 ? known.revision != revision : known.revision < revision;
}

void CatalogueFeed::Tell(std::vector<Waiting> asked) {
  for (Waiting& each : asked) {
    Answer answer;
    // Before the names are looked at: they have at least what they had then.
    const Steady::time_point whole = each.asked + options_.lease;
    const NamesKnown known = options_.known == nullptr ? NamesKnown{each.asked, whole} : options_.known();
    const Steady::time_point until = std::clamp(known.until, each.asked, whole);
    answer.lease = std::chrono::floor<std::chrono::milliseconds>(until - each.asked);
    const Steady::time_point known_at = std::clamp(known.at, each.asked - kLongestBehind, each.asked);
    answer.behind = std::chrono::ceil<std::chrono::milliseconds>(each.asked - known_at);
    answer.cut_off = 2 * answer.behind > options_.lease;
    {
      MutexLock lock(&mutex_);
      // It may be told more than it has taken: until it says so, or this lease runs out, others wait for it.
      Watcher& watcher = watchers_[each.watcher];
      watcher.taken = each.known.epoch == epoch_ ? std::max(watcher.taken, each.known.revision) : 0;
      watcher.until = std::max(watcher.until, each.asked + answer.lease);
    }
    // After its lease began: what changes from here on waits for it. Without one nothing may be told.
    answer.epoch = epoch_;
    if (answer.lease > std::chrono::milliseconds::zero()) {
      answer.changes = each.known.epoch == epoch_ ? names_->ChangesSince(each.known.revision) : names_->Everything();
    }
    each.done(std::move(answer));
  }
}

CatalogueFeed::Steady::time_point CatalogueFeed::AllKnow(uint64_t revision) const {
  Steady::time_point last = quiet_until_;
  for (const auto& [name, watcher] : watchers_) {
    if (watcher.taken < revision) last = std::max(last, watcher.until);
  }
  return last;
}

absl::Status CatalogueFeed::Publish(const CallLimits& limits) {
  const uint64_t revision = names_->revision();
  return Publish(revision, Steady::now(), limits);
}

absl::Status CatalogueFeed::Publish(uint64_t revision, Steady::time_point since, const CallLimits& limits) {
  { MutexLock lock(&mutex_); }  // so that nobody falls asleep who saw the names before
  changed_.NotifyAll();
  // Leases that begin later begin with it, those of an owner before are over by then, too.
  const Steady::time_point over = since + options_.lease;
  MutexLock lock(&mutex_);
  const auto all_know = [this, revision, over]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || std::min(AllKnow(revision), over) <= Steady::now();
  };
  while (!changed_.AwaitFor(&mutex_, kLook, all_know)) RETURN_IF_ERROR(limits.Check());
  return absl::OkStatus();
}

size_t CatalogueFeed::watchers() const {
  MutexLock lock(&mutex_);
  const auto now = Steady::now();
  return static_cast<size_t>(
      std::count_if(watchers_.begin(), watchers_.end(), [&](const auto& each) { return each.second.until > now; }));
}

void CatalogueFeed::Run() {
  bool stopping = false;
  while (!stopping) {
    std::vector<Waiting> due;
    {
      MutexLock lock(&mutex_);
      const auto is_due = [this](const Waiting& each) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_ || HasMore(each.known) || each.due <= Steady::now();
      };
      (void)changed_.AwaitFor(&mutex_, kLook, [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_ || std::any_of(waiting_.begin(), waiting_.end(), is_due);
      });
      const auto rest = std::stable_partition(waiting_.begin(), waiting_.end(), is_due);
      due.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(rest));
      waiting_.erase(waiting_.begin(), rest);
      std::erase_if(watchers_, [now = Steady::now()](const auto& each) { return each.second.until <= now; });
      stopping = stopping_;
    }
    Tell(std::move(due));
  }
}

}  // namespace mneme
