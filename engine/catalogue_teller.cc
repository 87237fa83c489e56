// A change is known, or nobody tells names that lack it, when
// 1. the other tellers have confirmed it, or so long has gone since its append that what they lent by the log is over,
// 2. what this one promised to those that have not is over, and
// 3. its own watchers have taken it, or their leases are over.
#include "engine/catalogue_teller.h"

#include <algorithm>
#include <future>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// Who waits for an append looks whether his own time is over so often.
constexpr std::chrono::milliseconds kLook(10);

CatalogueApplierOptions ApplierOptions(const CatalogueTellerOptions& options) {
  return {.catalogue = options.catalogue.get(),
          .log = options.log.get(),
          .deployment = options.deployment,
          .poll = options.poll,
          .events = options.events};
}

}  // namespace

CatalogueTeller::CatalogueTeller(CatalogueTellerOptions options)
    : options_(std::move(options)), applier_(ApplierOptions(options_)), feed_(&names(), FeedOptions()) {}

CatalogueTeller::~CatalogueTeller() = default;

CatalogueFeedOptions CatalogueTeller::FeedOptions() {
  CatalogueFeedOptions feed;
  feed.lease = options_.lease;
  feed.poll = options_.poll;
  feed.clocks = options_.clocks;
  feed.epoch = options_.deployment;
  feed.known_at = [this] { return known_at(); };
  return feed;
}

CatalogueTeller::Steady::time_point CatalogueTeller::known_at() const {
  // One that applies no more will not hear of what the others do, promised or not.
  if (!applier_.status().ok()) return Steady::time_point::min();
  if (options_.others == nullptr) return Steady::now();
  return std::max(applier_.known_at(), options_.others->PromisedAt(applier_.handled()));
}

absl::StatusOr<LogOffset> CatalogueTeller::Append(const LogRecord& record, const CallLimits& limits) {
  const auto told = std::make_shared<std::promise<absl::StatusOr<LogOffset>>>();
  std::future<absl::StatusOr<LogOffset>> offset = told->get_future();
  options_.log->Append(EncodeLogRecord(record),
                       [told](absl::StatusOr<LogOffset> appended) { told->set_value(std::move(appended)); });
  while (offset.wait_for(kLook) != std::future_status::ready) RETURN_IF_ERROR(limits.Check());
  return offset.get();
}

absl::StatusOr<MemoryHandle> CatalogueTeller::Change(LogRecord record, const CallLimits& limits) {
  const Hash128* const asked = RequestOfChange(record.operation);
  if (asked == nullptr) return absl::InvalidArgumentError("a write of a shard is no change of the catalogue");
  const Hash128 request = *asked;
  RETURN_IF_ERROR(applier_.status());
  record.deployment = options_.deployment;
  record.memory = 0;
  // By whose clock it was asked for is of no matter: the memory is made now.
  record.stamp_ms = (options_.clock != nullptr ? *options_.clock : system_clock_).NowMs();
  ASSIGN_OR_RETURN(const LogOffset offset, Append(record, limits));
  const Steady::time_point appended = Steady::now();
  RETURN_IF_ERROR(applier_.AwaitHandled(SequenceAt(offset), limits));
  if (options_.others != nullptr) {  // 1
    for (const uint32_t teller : options_.others->Confirm(offset, appended + options_.lease)) {
      feed_.Confirmed(teller, SequenceAt(offset));
    }
  }
  // A refusal, too, tells what the names are: who hears that one exists must find it wherever he asks next, though the
  // change that made it is not acknowledged yet.
  RETURN_IF_ERROR(feed_.Publish(limits));  // 2, 3
  std::optional<absl::StatusOr<MemoryHandle>> outcome = options_.catalogue->OutcomeOf(request);
  if (outcome.has_value()) return *std::move(outcome);
  return absl::UnavailableError(absl::StrCat("what became of the change at offset ", offset,
                                             " of the log of names is not known any more; look at the names"));
}

absl::Status CatalogueTeller::Confirm(LogOffset offset, const CallLimits& limits) {
  applier_.HeardOf(offset + 1);
  RETURN_IF_ERROR(applier_.AwaitHandled(SequenceAt(offset), limits));
  return feed_.PublishToWatchers(limits);
}

absl::StatusOr<Sequence> CatalogueTeller::Promise(uint32_t teller) {
  RETURN_IF_ERROR(applier_.status());
  feed_.Promise(teller);
  // After the promise: what is acknowledged from there on waits for it.
  return applier_.handled();
}

}  // namespace mneme
