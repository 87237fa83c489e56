// A backup of all shards, of each by one of its replicas (engine/shard_backups.h).
//
// 1. Every replica says what it knows of backups. Of each shard that one is chosen which has the newest backup, so that
//    it copies little; of shard 0 one that has the catalogue. The backup gets the next number, and a random set.
// 2. Shard 0 is taken, which keeps other backups away; then the others, all at once; then the names. When the names are
//    not those that they were before, all are taken again: so no shard has entries of a memory that the names lack, and
//    no alias points to a memory whose entries came later. Names that change without a pause are held then
//    (engine/names_hold.h): that brings no certainty, so their marks are compared as before.
// 3. All write what was taken, and the backup is whole when all have. Whatever fails, all remove what they have of it.
// 4. What is left of backups that were cut goes, and the oldest ones; not what others have of one whose part a shard
//    lost, or cannot see, until it is older than those that are kept.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "cluster/progress_teller.h"
#include "cluster/remote_deployment_state.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/mutex.h"
#include "common/random_number.h"
#include "common/status_macros.h"
#include "engine/flat_backups.h"
#include "storage/backup_sets.h"

namespace mneme {
namespace {

using Async = ShardChannel::Async;
using Stub = ShardChannel::Stub;

// What a replica knows of backups it reads from a directory, be it on a file system that is shared.
constexpr std::chrono::seconds kDescribeWithin{15};
// One question to the brokers.
constexpr std::chrono::seconds kAskLog{5};
// Until a shard was taken: it flushes, and catches up with its log.
constexpr std::chrono::seconds kTakeWithin{60};
// What a shard removes may be a backup of its own size; who waits in vain has told his caller all the same.
constexpr std::chrono::seconds kRemoveWithin{60};
// Names that change rest for longer than it takes to link files, now and then: so many tries wait for that, before
// changes are made to wait for those that follow.
constexpr int kTakes = 16;
constexpr int kFreeTakes = 2;
constexpr std::chrono::milliseconds kLongestPause{250};
// Until a replica says that it holds names: half of the time for which it does is left then.
constexpr std::chrono::milliseconds kHoldWithin{limits::kNamesHoldMs / 2};

const char* StageNamed(const std::string& told) { return told == "copying" ? "copying" : "flushing"; }

// What all replicas say of backups.
class BackupSurvey {
 public:
  // Errors of who does not answer are told when it is needed.
  static BackupSurvey Ask(const ShardFan& shards, const CallLimits& limits) {
    BackupSurvey survey(shards);
    std::vector<std::vector<std::future<absl::StatusOr<std::string>>>> asked(shards.size());
    for (const uint32_t number : shards.all()) {
      for (const ShardChannel::Place& place : shards.shard(number).places()) {
        survey.numbers_[number].push_back(place.replica);
        asked[number].push_back(shards.shard(number).AskAhead(
            &Async::DescribeBackups, Question(Flat(), place.replica), limits.Within(kDescribeWithin)));
      }
    }
    for (auto& replicas : asked) {
      std::vector<absl::StatusOr<ShardBackupState>>& told = survey.told_.emplace_back();
      for (auto& each : replicas) told.push_back(Read(each.get()));
    }
    return survey;
  }

  // That of each shard which is to write. FAILED_PRECONDITION (NO_BACKUP_DIRECTORY) when none of a shard's may;
  // UNAVAILABLE when those that may know do not answer.
  absl::StatusOr<std::vector<uint32_t>> Choose(uint64_t deployment) const {
    std::vector<uint32_t> chosen;
    for (uint32_t shard = 0; shard < told_.size(); ++shard) {
      std::optional<uint32_t> best;
      uint64_t newest = 0;
      for (size_t at = 0; at < told_[shard].size(); ++at) {
        const absl::StatusOr<ShardBackupState>& state = told_[shard][at];
        if (!state.ok() || !state->has_directory || (shard == 0 && !state->names.has_value())) continue;
        uint64_t last = 0;
        for (const BackupManifest& part : state->parts) {
          if (part.deployment == deployment) last = std::max(last, part.number);
        }
        if (!best.has_value() || last > newest) {
          best = numbers_[shard][at];
          newest = last;
        }
      }
      if (!best.has_value()) return CannotWrite(shard);
      chosen.push_back(*best);
    }
    return chosen;
  }
  uint64_t Greatest() const {
    uint64_t greatest = 0;
    for (const auto& replicas : told_) {
      for (const auto& state : replicas) greatest = std::max(greatest, state.ok() ? state->greatest : 0);
    }
    return greatest;
  }
  bool all_answer() const {
    return std::all_of(told_.begin(), told_.end(), [](const auto& replicas) {
      return std::all_of(replicas.begin(), replicas.end(), [](const auto& state) { return state.ok(); });
    });
  }
  // An error when nothing is known of a shard's.
  absl::Status CheckKnown() const {
    for (uint32_t shard = 0; shard < told_.size(); ++shard) {
      const bool known = std::any_of(told_[shard].begin(), told_[shard].end(),
                                     [](const auto& state) { return state.ok() && state->has_directory; });
      if (!known) return CannotWrite(shard);
    }
    return absl::OkStatus();
  }
  std::vector<BackupSet> Sets() const {
    std::vector<BackupSet::Part> parts;
    for (const auto& replicas : told_) {
      for (const auto& state : replicas) {
        if (!state.ok()) continue;
        for (const BackupManifest& part : state->parts) parts.push_back({part, ""});
      }
    }
    return JoinParts(std::move(parts));
  }
  // Numbers of parts that cannot be read, and why.
  std::map<uint64_t, std::string> Damaged() const {
    std::map<uint64_t, std::string> damaged;
    for (uint32_t shard = 0; shard < told_.size(); ++shard) {
      for (const auto& state : told_[shard]) {
        if (!state.ok()) continue;
        for (const auto& [number, why] : state->damaged) {
          damaged.try_emplace(number, absl::StrCat("the part of shard ", shard, ": ", why));
        }
      }
    }
    return damaged;
  }
  // Whether a set that is not whole was cut, as far as is known: each shard whose part it lacks has an older one of the
  // deployment, so that its directory is there. Else that may be lost, or not mounted, and be back tomorrow.
  bool WasCut(const BackupSet& set) const {
    for (const uint32_t shard : set.missing()) {
      const bool has_older = shard < told_.size() &&
                             std::any_of(told_[shard].begin(), told_[shard].end(), [&](const auto& state) {
                               return state.ok() && HasOlder(*state, set);
                             });
      if (!has_older) return false;
    }
    return true;
  }
  // Calls `each` with every replica that has a part of a set.
  void ForEachHolder(const BackupSet& set, const std::function<void(uint32_t shard, uint32_t replica)>& each) const {
    for (uint32_t shard = 0; shard < told_.size(); ++shard) {
      const auto part = set.parts.find(shard);
      if (part == set.parts.end()) continue;
      for (size_t at = 0; at < told_[shard].size(); ++at) {
        const absl::StatusOr<ShardBackupState>& state = told_[shard][at];
        if (!state.ok()) continue;
        const bool holds = std::any_of(state->parts.begin(), state->parts.end(), [&](const BackupManifest& own) {
          return own.number == set.number() && own.part == part->second.manifest.part;
        });
        if (holds) each(shard, numbers_[shard][at]);
      }
    }
  }

 private:
  explicit BackupSurvey(const ShardFan& shards) : numbers_(shards.size()) { told_.reserve(shards.size()); }

  static absl::StatusOr<ShardBackupState> Read(const absl::StatusOr<std::string>& answer) {
    RETURN_IF_ERROR(answer.status());
    ShardBackupState state;
    RETURN_IF_ERROR(Unflat(*answer, state));
    return state;
  }
  static bool HasOlder(const ShardBackupState& state, const BackupSet& set) {
    return std::any_of(state.parts.begin(), state.parts.end(), [&set](const BackupManifest& part) {
      return part.deployment == set.any().deployment && part.number < set.number();
    });
  }
  absl::Status CannotWrite(uint32_t shard) const {
    for (const absl::StatusOr<ShardBackupState>& state : told_[shard]) RETURN_IF_ERROR(state.status());
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          "no process of shard ", shard, " was given a directory for backups; start one with "
                          "--backup-dir DIR")),
                      reason::kNoBackupDirectory);
  }

  std::vector<std::vector<uint32_t>> numbers_;                       // of the replicas of each shard, and
  std::vector<std::vector<absl::StatusOr<ShardBackupState>>> told_;  // what each said, in their order
};

// How far all shards are, told as one.
class JointProgress {
 public:
  JointProgress(size_t shards, ProgressTeller& teller) : teller_(teller), steps_(shards) {}

  bool Tell(uint32_t shard, FlatProgress step) ABSL_LOCKS_EXCLUDED(mutex_) {
    FlatProgress whole{step.stage == "copying" ? "copying" : "flushing", 0, 0};
    {
      MutexLock lock(&mutex_);
      steps_[shard] = std::move(step);
      for (const FlatProgress& each : steps_) {
        whole.done += each.done;
        whole.total += each.total;
      }
    }
    return teller_.Tell(std::move(whole));
  }

 private:
  ProgressTeller& teller_;
  Mutex mutex_;
  std::vector<FlatProgress> steps_ ABSL_GUARDED_BY(mutex_);  // by shard
};

// One backup, on its way. Not thread-safe.
class Making {
 public:
  Making(const ShardFan& shards, const std::vector<std::shared_ptr<ShardLog>>& logs, const Clock& clock,
         const CallLimits& limits, const BackupProgressSink& progress)
      : shards_(shards), logs_(logs), clock_(clock),
        teller_(limits, {"flushing", 0, 0},
                [this, &progress](const FlatProgress& told) {
                  return !failed_ && progress({StageNamed(told.stage), told.done, told.total});
                }) {}
  ~Making() { Clear(); }

  absl::StatusOr<WrittenBackup> Run(const BackupSurvey& survey, uint64_t deployment) {
    ASSIGN_OR_RETURN(chosen_, survey.Choose(deployment));
    order_ = {RandomNumber(), survey.Greatest() + 1, RandomNumber(), 0};
    if (order_.number == 0) return absl::FailedPreconditionError("a directory of backups has the last number");
    RETURN_IF_ERROR(AskLogs());
    RETURN_IF_ERROR(TakeAll());
    order_.created_ms = clock_.NowMs();
    return WriteAll();
  }

 private:
  std::vector<uint32_t> Others() const {
    std::vector<uint32_t> others = shards_.all();
    others.erase(others.begin());
    return others;
  }

  // What was acknowledged until now is in it, whichever replica of a shard writes it.
  absl::Status AskLogs() {
    at_least_.assign(shards_.size(), 0);
    for (uint32_t shard = 0; shard < logs_.size(); ++shard) {
      const absl::StatusOr<LogOffset> end = logs_[shard]->End(teller_.limits().Within(kAskLog));
      if (!end.ok()) {
        return absl::Status(end.status().code(), absl::StrCat("the log of shard ", shard, " does not say where it "
                                                              "ends: ", end.status().message()));
      }
      at_least_[shard] = *end;
    }
    return absl::OkStatus();
  }

  // 2.
  absl::Status TakeAll() {
    std::mt19937_64 random(order_.id);
    for (int i = 0; i < kTakes; ++i) {
      const bool holds = i >= kFreeTakes;
      if (holds) AskToHold(BackupStep::kHoldNames);
      const absl::StatusOr<bool> agree = TakeOnce();
      if (holds) AskToHold(BackupStep::kLetNamesGo);
      RETURN_IF_ERROR(agree.status());
      if (*agree) return absl::OkStatus();
      std::this_thread::sleep_for(kLongestPause * (random() % 100) / 100 * i / kTakes);
    }
    return WithReason(absl::UnavailableError(absl::StrCat("names changed at each of ", kTakes, " tries to take all "
                                                          "shards between two of their changes; try again")),
                      reason::kShardUnavailable);
  }

  // Whether names were the same before all shards were taken and after.
  absl::StatusOr<bool> TakeOnce() {
    ASSIGN_OR_RETURN(const NamesMark before, AskNames());
    const auto take = [this](uint32_t shard) {
      return TakeOf(shard, {order_.id, at_least_[shard], BackupStep::kStore}).status();
    };
    begun_ = true;
    RETURN_IF_ERROR(take(0));
    RETURN_IF_ERROR(AtOnce(Others(), take));
    ASSIGN_OR_RETURN(const TakenBackup names, TakeOf(0, {order_.id, 0, BackupStep::kNames}));
    return names.names == before;
  }

  // All replicas of shard 0, whichever is taken: changes of names come to any. What one does that is not reached, the
  // names show.
  void AskToHold(BackupStep step) {
    const ShardChannel& tellers = shards_.shard(0);
    std::vector<uint32_t> replicas;
    for (const ShardChannel::Place& place : tellers.places()) replicas.push_back(place.replica);
    const std::string body = Flat(TakeBackupCommand{order_.id, 0, step});
    (void)AtOnce(replicas, [&](uint32_t replica) {
      (void)tellers.AskForMany(&Stub::TakeBackup, Question(body, replica), CallLimits().Within(kHoldWithin),
                               [](std::string_view) { return absl::OkStatus(); });
      return absl::OkStatus();
    });
  }

  absl::StatusOr<NamesMark> AskNames() const {
    ASSIGN_OR_RETURN(const std::string answer,
                     shards_.shard(0).AskAndWait(&Async::DescribeBackups, Question(Flat(), chosen_[0]),
                                                 teller_.limits().Within(kDescribeWithin)));
    ShardBackupState state;
    RETURN_IF_ERROR(Unflat(answer, state));
    if (state.names.has_value()) return *state.names;
    return absl::UnavailableError("shard 0 does not have the catalogue any more; try again");
  }

  absl::StatusOr<TakenBackup> TakeOf(uint32_t shard, const TakeBackupCommand& take) {
    std::optional<TakenBackup> taken;
    const auto hear = [&](std::string_view bytes) -> absl::Status {
      FlatProgress told;
      RETURN_IF_ERROR(Unflat(bytes, told, taken));
      return teller_.Tell({"flushing", 0, 0}) ? absl::OkStatus() : absl::CancelledError("the backup was given up");
    };
    const CallLimits limits = teller_.limits();
    const absl::Status asked = shards_.shard(shard).AskForMany(&Stub::TakeBackup, Question(Flat(take), chosen_[shard]),
                                                               limits.Within(kTakeWithin), hear);
    if (absl::IsDeadlineExceeded(asked) && limits.Check().ok()) {
      return WithReason(absl::UnavailableError(absl::StrCat("shard ", shard, " was not taken within ",
                                                            kTakeWithin.count(), " s: it flushes, or has not applied "
                                                            "what its log has")),
                        reason::kShardUnavailable);
    }
    RETURN_IF_ERROR(asked);
    if (taken.has_value()) return *taken;
    return absl::DataLossError(absl::StrCat("shard ", shard, " did not say what it took"));
  }

  // 3.
  absl::StatusOr<WrittenBackup> WriteAll() {
    writing_ = true;
    JointProgress joint(shards_.size(), teller_);
    std::vector<std::optional<WrittenBackup>> written(shards_.size());
    const std::string body = Flat(order_);
    const auto write = [&](uint32_t shard) -> absl::Status {
      const auto hear = [&](std::string_view bytes) -> absl::Status {
        FlatProgress told;
        RETURN_IF_ERROR(Unflat(bytes, told, written[shard]));
        if (written[shard].has_value() || joint.Tell(shard, std::move(told))) return absl::OkStatus();
        return absl::CancelledError("the backup was given up");
      };
      RETURN_IF_ERROR(shards_.shard(shard).AskForMany(&Stub::WriteBackup, Question(body, chosen_[shard]),
                                                      teller_.limits(), hear));
      if (written[shard].has_value()) return absl::OkStatus();
      return absl::DataLossError(absl::StrCat("shard ", shard, " did not say what it wrote"));
    };
    RETURN_IF_ERROR(AtOnce(shards_.all(), write));
    WrittenBackup whole;
    std::vector<BackupSet::Part> parts;
    for (const std::optional<WrittenBackup>& each : written) {
      parts.push_back({each->manifest, ""});
      whole.new_bytes += each->new_bytes;
    }
    const std::vector<BackupSet> sets = JoinParts(std::move(parts));
    if (sets.size() != 1 || !sets.front().whole()) {
      return absl::DataLossError("what the shards wrote is not one backup");
    }
    whole.manifest = sets.front().Joined();
    done_ = true;
    return whole;
  }

  // Does the work of all `numbers` at once, and waits. When one fails the others are cancelled; its error.
  absl::Status AtOnce(const std::vector<uint32_t>& numbers, const std::function<absl::Status(uint32_t)>& work) {
    std::vector<absl::Status> ended(numbers.size());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < numbers.size(); ++i) {
      threads.emplace_back([this, &ended, &numbers, &work, i] {
        ended[i] = work(numbers[i]);
        if (!ended[i].ok()) failed_ = true;
      });
    }
    for (std::thread& thread : threads) thread.join();
    absl::Status first;
    for (const absl::Status& each : ended) {
      if (first.ok() || (absl::IsCancelled(first) && !each.ok() && !absl::IsCancelled(each))) first = each;
    }
    return first;
  }

  // Of a backup that is not whole nothing stays, as far as the shards are there.
  void Clear() {
    if (!begun_ || done_) return;
    BackupOrder gone = order_;
    if (!writing_) gone.number = 0;
    const std::string body = Flat(gone);
    std::vector<std::future<absl::StatusOr<std::string>>> asked;
    for (const uint32_t shard : shards_.all()) {
      asked.push_back(shards_.shard(shard).AskAhead(&Async::RemoveBackup, Question(body, chosen_[shard]),
                                                    CallLimits().Within(kRemoveWithin)));
    }
    for (auto& each : asked) each.wait();
  }

  const ShardFan& shards_;
  const std::vector<std::shared_ptr<ShardLog>>& logs_;
  const Clock& clock_;
  std::atomic<bool> failed_{false};  // another shard has; before the teller, which looks
  ProgressTeller teller_;
  std::vector<uint32_t> chosen_;     // replicas, by shard
  std::vector<Sequence> at_least_;   // by shard
  BackupOrder order_;
  bool begun_ = false;
  bool writing_ = false;
  bool done_ = false;
};

// 4. Returns how many whole ones went.
absl::StatusOr<uint32_t> RemoveOld(const ShardFan& shards, uint64_t deployment, uint64_t made, uint32_t keep,
                                   const CallLimits& limits) {
  const BackupSurvey survey = BackupSurvey::Ask(shards, limits);
  const auto remove = [&](const BackupSet& set) -> absl::Status {
    absl::Status failed;
    const BackupOrder order{0, set.number(), set.any().part->set, 0};
    survey.ForEachHolder(set, [&](uint32_t shard, uint32_t replica) {
      const absl::Status removed = shards.shard(shard)
                                       .AskAndWait(&Async::RemoveBackup, Question(Flat(order), replica),
                                                   limits.Within(kRemoveWithin))
                                       .status();
      if (failed.ok()) failed = removed;
    });
    return failed;
  };
  std::vector<BackupSet> whole;
  std::vector<BackupSet> lacking;
  for (BackupSet& set : survey.Sets()) {
    if (set.any().deployment == deployment) (set.whole() ? whole : lacking).push_back(std::move(set));
  }
  // Of those that are kept, the oldest.
  const uint64_t kept_from = keep != 0 && whole.size() >= keep ? whole[whole.size() - keep].number() : 0;
  for (const BackupSet& set : lacking) {
    if (!survey.all_answer() || set.number() >= made) continue;  // another may have it, or be making it
    if (survey.WasCut(set) || set.number() < kept_from) RETURN_IF_ERROR(remove(set));
  }
  if (keep == 0 || whole.size() <= keep) return 0;
  whole.resize(whole.size() - keep);
  for (const BackupSet& set : whole) RETURN_IF_ERROR(remove(set));
  return static_cast<uint32_t>(whole.size());
}

}  // namespace

absl::StatusOr<BackupOutcome> RemoteDeployment::CreateBackup(uint32_t keep, const CallLimits& limits,
                                                             const BackupProgressSink& progress) const {
  // Whose time was over has given it up, as in one process. That of a backup that failed may be over by the time the
  // shards have removed what they have of it.
  bool given_up = false;
  const auto failed = [&](absl::Status why) {
    given_up = !limits.Check().ok();
    return why;
  };
  const auto create = [&]() -> absl::StatusOr<BackupOutcome> {
    const BackupSurvey survey = BackupSurvey::Ask(state_->shards, limits);
    BackupOutcome outcome;
    {
      Making making(state_->shards, state_->logs, state_->clock, limits, progress);
      absl::StatusOr<WrittenBackup> written = making.Run(survey, identity());
      if (!written.ok()) return failed(written.status());
      outcome.written = *std::move(written);
    }
    const uint64_t number = outcome.written.manifest.number;
    const absl::StatusOr<uint32_t> removed = RemoveOld(state_->shards, identity(), number, keep, limits);
    if (!removed.ok()) {
      return failed(absl::Status(removed.status().code(),
                                 absl::StrCat("backup ", number, " was made, but older ones could not be removed: ",
                                              removed.status().message())));
    }
    outcome.removed = *removed;
    return outcome;
  };
  absl::StatusOr<BackupOutcome> outcome = create();
  // Where there is no directory for backups none was begun, as in one process.
  if (outcome.ok() || ReasonOf(outcome.status()) == reason::kNoBackupDirectory) return outcome;
  const absl::Status& why = outcome.status();
  TellNotMade(state_->events, given_up ? absl::CancelledError(why.message()) : why);
  return outcome;
}

absl::StatusOr<std::vector<KnownBackup>> RemoteDeployment::ListBackups(const CallLimits& limits) const {
  const BackupSurvey survey = BackupSurvey::Ask(state_->shards, limits);
  RETURN_IF_ERROR(survey.CheckKnown());
  std::vector<KnownBackup> known;
  std::set<uint64_t> numbers;
  for (const BackupSet& set : survey.Sets()) {
    known.push_back({set.number(), set.Joined(), set.missing()});
    numbers.insert(set.number());
  }
  for (const auto& [number, why] : survey.Damaged()) {
    if (numbers.count(number) == 0) known.push_back({number, absl::DataLossError(why)});
  }
  std::stable_sort(known.begin(), known.end(),
                   [](const KnownBackup& a, const KnownBackup& b) { return a.number < b.number; });
  return known;
}

}  // namespace mneme
