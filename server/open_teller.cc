// 1. Which deployment is it? The directory says so, or the log, or another replica; or this process begins one.
// 2. The catalogue is opened. Where the log does not reach back to it, it becomes what another replica has.
// 3. From there the log is applied, to where it ends, if what was there may be less than this replica has had before;
//    else for a while, so that what it goes by next, the list of replicas, is not one of when it was last here.
// 4. The log says which replicas shard 0 has.
#include "server/open_teller.h"

#include <chrono>
#include <filesystem>
#include <future>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cluster/remote_tellers.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "engine/catalogue.h"
#include "engine/log_record.h"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;

// Names are few and small beside entries.
constexpr size_t kBlockCacheBytes = size_t{8} << 20;
constexpr size_t kWriteBufferBytes = size_t{16} << 20;
// One question to the brokers, and for a record; whoever stops the process waits no longer.
constexpr std::chrono::seconds kAsk{2};
constexpr std::chrono::milliseconds kReadWait{100};
// The first record, by a reader that connects first.
constexpr std::chrono::seconds kReadWithin{10};
constexpr std::chrono::milliseconds kPause{250};
// Brokers that were just started may not know of a topic, or of who may read it, for so long.
constexpr std::chrono::seconds kRefusedFor{10};
// One that was away, and has names to tell, catches up with a log that is reached for so long before it tells them.
constexpr std::chrono::seconds kCatchUp{10};

class Opening {
 public:
  explicit Opening(const OpenTellerOptions& options) : options_(options) {}

  absl::StatusOr<OpenedTeller> Run();

 private:
  absl::StatusOr<uint64_t> FindDeployment();
  // Of the first record; nullopt when it has not come.
  absl::StatusOr<std::optional<uint64_t>> ReadFirst() const;
  void AppendFirst() const;
  // Not there is UNAVAILABLE for a while.
  absl::StatusOr<LogRange> AskLog();
  // Makes the catalogue one from which the log can be applied.
  absl::Status ReachBack(Catalogue& catalogue, uint64_t deployment, bool waits);
  // Applies what the log has, if it is reached, within kCatchUp.
  absl::Status CatchUp(const CatalogueTeller& teller);
  // Has the log say who tells names, unless it is away: then they are who they were.
  absl::Status Enlist(CatalogueTeller& teller);
  // CANCELLED when it is to give up.
  absl::Status Pause(const absl::Status& why);
  RemoteTellersOptions Others(uint64_t deployment) const;

  const OpenTellerOptions& options_;
  std::optional<Steady::time_point> refused_;  // since when
  bool told_ = false;
  bool reached_ = false;
};

RemoteTellersOptions Opening::Others(uint64_t deployment) const {
  RemoteTellersOptions others;
  others.address = options_.addresses[options_.replica];
  others.shards = options_.shards;
  others.deployment = deployment;
  others.clocks = options_.clocks;
  others.security = options_.security;
  others.events = options_.events;
  return others;
}

absl::Status Opening::Pause(const absl::Status& why) {
  if (!std::exchange(told_, true) && options_.events != nullptr) options_.events("names_awaited", why.ToString());
  const Steady::time_point end = Steady::now() + kPause;
  while (Steady::now() < end) {
    if (options_.give_up()) return absl::CancelledError("gave up waiting for the names of the deployment");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return absl::OkStatus();
}

absl::StatusOr<LogRange> Opening::AskLog() {
  const absl::StatusOr<LogRange> range = RangeOf(*options_.log, kAsk);
  if (range.ok()) reached_ = true;
  if (range.ok() || Unreached(range.status())) {
    refused_.reset();
    return range;
  }
  if (!refused_.has_value()) refused_ = Steady::now();
  if (Steady::now() - *refused_ >= kRefusedFor) return range;
  return absl::UnavailableError(std::string(range.status().message()));
}

absl::StatusOr<std::optional<uint64_t>> Opening::ReadFirst() const {
  ASSIGN_OR_RETURN(const std::unique_ptr<LogReader> reader, options_.log->Read(0));
  std::vector<LoggedBytes> records;
  const Steady::time_point end = Steady::now() + kReadWithin;
  while (records.empty() && Steady::now() < end && !options_.give_up()) {
    const absl::Status read = reader->Next(kReadWait, 1, records);
    if (!read.ok() && !Unreached(read)) return read;
  }
  if (records.empty()) return std::optional<uint64_t>();
  ASSIGN_OR_RETURN(const LogRecord first, DecodeLogRecord(records.front().bytes));
  const auto* const found = std::get_if<FoundCommand>(&first.operation);
  if (found == nullptr || first.deployment == 0) {
    return absl::FailedPreconditionError("the log of names does not begin with a deployment: is it another topic?");
  }
  if (found->shards != options_.shards) {
    return absl::FailedPreconditionError(absl::StrCat("the log of names is of a deployment of ", found->shards,
                                                      " shards; ", options_.shards,
                                                      " were given in --shard-addresses"));
  }
  return std::optional<uint64_t>(first.deployment);
}

// Whoever comes first; whether it was this one is read.
void Opening::AppendFirst() const {
  LogRecord found;
  found.stamp_ms = SystemClock().NowMs();
  found.operation = FoundCommand{options_.shards};
  found.deployment = NewChangeRequest().low | 1;  // not 0
  const auto told = std::make_shared<std::promise<void>>();
  std::future<void> appended = told->get_future();
  options_.log->Append(EncodeLogRecord(found), [told](const absl::StatusOr<LogOffset>&) { told->set_value(); });
  while (appended.wait_for(std::chrono::milliseconds(10)) != std::future_status::ready) {
    if (options_.give_up()) return;
  }
}

absl::StatusOr<uint64_t> Opening::FindDeployment() {
  while (true) {
    absl::StatusOr<LogRange> range = AskLog();
    absl::Status why = range.status();
    if (!range.ok()) {
      if (!Unreached(why)) return why;
    } else if (range->end == 0) {
      AppendFirst();
      why = absl::UnavailableError("the log of names is empty, and its first record was not appended yet");
      range = AskLog();
      if (range.ok() && range->end != 0) continue;
    } else if (range->begin == 0) {
      const absl::StatusOr<std::optional<uint64_t>> first = ReadFirst();
      if (first.ok() && first->has_value()) return **first;
      if (!first.ok() && !Unreached(first.status()) && !absl::IsOutOfRange(first.status())) return first.status();
      why = absl::UnavailableError("the first record of the log of names was not read yet");
    } else {
      const absl::StatusOr<OfferedCatalogue> offered = AskForCatalogue(Others(0), options_.addresses);
      if (offered.ok()) return offered->deployment;
      why = absl::UnavailableError(absl::StrCat("the log of names begins at ", range->begin, ", and no other replica "
                                                "of shard 0 gives what was before: ", offered.status().message()));
    }
    RETURN_IF_ERROR(Pause(why));
  }
}

absl::Status Opening::ReachBack(Catalogue& catalogue, uint64_t deployment, bool waits) {
  while (true) {
    const absl::StatusOr<LogRange> range = AskLog();
    absl::Status why = range.status();
    if (!range.ok()) {
      if (!Unreached(why)) return why;
      if (!waits) return absl::OkStatus();
    } else {
      const LogOffset from = OffsetAfter(catalogue.applied());
      if (from > range->end) {
        return absl::OutOfRangeError(absl::StrCat("this replica has applied the log of names up to offset ", from,
                                                  ", and it ends at ", range->end,
                                                  ": the log lost records, or is another one"));
      }
      if (from >= range->begin) return absl::OkStatus();
      const absl::StatusOr<OfferedCatalogue> offered = AskForCatalogue(Others(deployment), options_.addresses);
      if (offered.ok() && OffsetAfter(offered->snapshot.applied) >= range->begin) {
        RETURN_IF_ERROR(catalogue.Take(offered->snapshot));
        if (options_.events != nullptr) {
          options_.events("names_taken", absl::StrCat("up to offset ", OffsetAfter(offered->snapshot.applied)));
        }
        return absl::OkStatus();
      }
      why = absl::UnavailableError(absl::StrCat(
          "the log of names begins at ", range->begin, ", the names here end at ", from, ", and no other replica of ",
          "shard 0 gives what is between", offered.ok() ? "" : absl::StrCat(": ", offered.status().message())));
    }
    RETURN_IF_ERROR(Pause(why));
  }
}

absl::StatusOr<OpenedTeller> Opening::Run() {
  ASSIGN_OR_RETURN(const std::optional<uint64_t> stored, DataDirectory::StoredDeployment(options_.data_dir));  // 1
  uint64_t deployment = stored.value_or(0);
  if (deployment == 0) {
    ASSIGN_OR_RETURN(deployment, FindDeployment());
  }
  OpenedTeller opened;
  ASSIGN_OR_RETURN(opened.directory,
                   DataDirectory::Open(options_.data_dir, options_.shards,
                                       HostedDirectory{.shard = 0, .deployment = deployment, .logged = true}));
  opened.resources = std::make_unique<StoreResources>(kBlockCacheBytes, kWriteBufferBytes);
  ASSIGN_OR_RETURN(auto store, OpenLoggedCatalogueStore(opened.directory->CataloguePath(), opened.resources.get()));
  ASSIGN_OR_RETURN(std::unique_ptr<Catalogue> catalogue, Catalogue::OpenLogged(std::move(store)));
  std::error_code error;
  const std::string restored = opened.directory->RestoredPath();
  const bool is_new = catalogue->applied() == 0 || std::filesystem::exists(restored, error);
  RETURN_IF_ERROR(ReachBack(*catalogue, deployment, is_new));  // 2
  CatalogueTellerOptions teller;
  teller.catalogue = std::move(catalogue);
  teller.log = options_.log;
  teller.others = std::make_unique<RemoteTellers>(Others(deployment));
  teller.deployment = deployment;
  teller.address = options_.addresses[options_.replica];
  teller.clocks = options_.clocks;
  teller.events = options_.events;
  opened.teller = std::make_unique<CatalogueTeller>(std::move(teller));
  opened.reached_log = reached_;
  if (is_new) {
    RETURN_IF_ERROR(AwaitNames(*opened.teller, options_));  // 3
    if (opened.teller->applier().handled() == 0) {
      return absl::FailedPreconditionError(absl::StrCat(options_.data_dir, " is of a deployment, and the log of names "
                                                        "is empty: is it another topic, or was it lost?"));
    }
    std::filesystem::remove(restored, error);  // if it stays this is done once more
  } else {
    RETURN_IF_ERROR(CatchUp(*opened.teller));
  }
  RETURN_IF_ERROR(Enlist(*opened.teller));  // 4
  return opened;
}

absl::Status Opening::CatchUp(const CatalogueTeller& teller) {
  const Steady::time_point end = Steady::now() + kCatchUp;
  while (reached_ && Steady::now() < end) {
    // One whose applier has ended says so itself, and tells nothing.
    if (!absl::IsDeadlineExceeded(teller.applier().AwaitEnd(CallLimits().Within(kAsk)))) break;
    if (options_.give_up()) return absl::CancelledError("gave up waiting for the log of names");
  }
  return absl::OkStatus();
}

absl::Status Opening::Enlist(CatalogueTeller& teller) {
  while (reached_) {
    const absl::Status listed = teller.Enlist(options_.addresses, CallLimits().Within(kAsk));
    if (!Unreached(listed)) {
      RETURN_IF_ERROR(listed);
      break;
    }
    RETURN_IF_ERROR(Pause(listed));
  }
  if (!teller.listed() && options_.events != nullptr) {
    options_.events("replica_not_listed",
                    absl::StrCat(options_.addresses[options_.replica], " is none of the replicas of shard 0, ",
                                 absl::StrJoin(teller.names().ReplicasOf(0).addresses, ", "),
                                 ": it tells no names until it is one (mneme cluster add)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OpenedTeller> OpenTeller(const OpenTellerOptions& options) { return Opening(options).Run(); }

absl::Status AwaitNames(const CatalogueTeller& teller, const OpenTellerOptions& options) {
  bool told = false;
  while (true) {
    const absl::Status known = teller.applier().AwaitEnd(CallLimits().Within(kAsk));
    if (!absl::IsDeadlineExceeded(known)) return known;
    if (options.give_up()) return absl::CancelledError("gave up waiting for the log of names");
    if (!std::exchange(told, true) && options.events != nullptr) {
      options.events("names_awaited", "the log of names is not applied to its end yet, or cannot be reached");
    }
  }
}

}  // namespace mneme
