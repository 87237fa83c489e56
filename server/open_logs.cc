#include "server/open_logs.h"

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/security_options.h"

namespace mneme {
namespace {

// One question to the brokers; whoever stops the process waits no longer.
constexpr std::chrono::seconds kAsk{2};
// Brokers that were just started may not know of a topic, or of who may read it, for so long.
constexpr std::chrono::seconds kRefusedFor{10};
constexpr std::chrono::milliseconds kPause{250};
constexpr std::chrono::milliseconds kLook{10};

void Tell(const EventSink& events, std::string_view event, const std::string& detail) {
  if (events != nullptr) events(event, detail);
}

absl::Status GivenUp() { return absl::CancelledError("gave up waiting for the log"); }

// What is asked for of a topic, and whether it is waited for.
struct Wanted {
  const char* suffix = "";  // of the topic's name
  uint32_t partition = 0;
  bool waits = false;
};

absl::StatusOr<std::unique_ptr<KafkaLogs>> OpenTopic(const ServerOptions& options, const Wanted& wanted,
                                                     const EventSink& events, const std::function<bool()>& give_up) {
  KafkaOptions kafka;
  ASSIGN_OR_RETURN(kafka.address, ParseKafkaAddress(options.log));
  kafka.address.topic += wanted.suffix;
  ASSIGN_OR_RETURN(kafka.settings, LogSettingsOf(options));
  kafka.events = events;
  absl::StatusOr<std::unique_ptr<KafkaLogs>> logs = KafkaLogs::New(std::move(kafka));
  if (!logs.ok()) {
    return absl::Status(logs.status().code(), absl::StrCat("--log-settings ", logs.status().message()));
  }
  bool told = false;
  while (true) {
    const absl::Status there = (*logs)->Check(wanted.partition, CallLimits().Within(kAsk));
    if (there.ok()) return logs;
    if (!Unreached(there)) {
      return absl::Status(there.code(), absl::StrCat("--log ", options.log, ": ", there.message()));
    }
    if (!std::exchange(told, true)) Tell(events, "log_awaited", there.ToString());
    if (!wanted.waits) return logs;
    if (give_up()) return GivenUp();
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

absl::Status CheckLogSettings(const ServerOptions& options) {
  ASSIGN_OR_RETURN(const KafkaSettings settings, LogSettingsOf(options));
  const absl::Status taken = CheckKafkaSettings(settings);
  if (taken.ok()) return taken;
  return absl::Status(taken.code(), absl::StrCat("--log-settings ", options.log_settings, " ", taken.message()));
}

absl::StatusOr<std::unique_ptr<KafkaLogs>> OpenLogs(const ServerOptions& options, EventSink events,
                                                    const std::function<bool()>& give_up) {
  if (options.log.empty()) return std::unique_ptr<KafkaLogs>();
  // Partitions are numbered from 0 without gaps: the last one says that all are there.
  const bool shard = options.role == Role::kShard;
  Wanted wanted;
  wanted.partition = shard ? options.shard_number : ShardsOf(options) - 1;
  wanted.waits = shard && options.shard_number != 0;
  return OpenTopic(options, wanted, events, give_up);
}

absl::StatusOr<std::unique_ptr<KafkaLogs>> OpenNameLogs(const ServerOptions& options, EventSink events,
                                                        const std::function<bool()>& give_up) {
  return OpenTopic(options, {.suffix = limits::kCatalogueTopicSuffix}, events, give_up);
}

absl::Status AwaitReplayed(const LocalDeployment& shard, const ShardLog& log, const EventSink& events,
                           const std::function<bool()>& give_up) {
  using Steady = std::chrono::steady_clock;
  std::optional<LogOffset> end;
  std::optional<Steady::time_point> refused;  // since when
  bool told = false;
  while (true) {
    const LogState state = shard.log_state();
    RETURN_IF_ERROR(state.status);
    if (end.has_value()) {
      if (state.handled >= *end) return absl::OkStatus();
    } else if (const auto asked = log.End(CallLimits().Within(kAsk)); asked.ok()) {
      end = *asked;
      const LogOffset from = OffsetAfter(state.handled);
      if (from > *end) {
        return absl::OutOfRangeError(absl::StrCat("this replica has applied the log of shard ", shard.port().number(),
                                                  " up to offset ", from, ", and it ends at ", *end,
                                                  ": the log lost records, or is another one"));
      }
      if (from < *end) Tell(events, "log_replaying", absl::StrCat("applies ", *end - from, " records first"));
    } else {
      if (Unreached(asked.status())) {
        refused.reset();
      } else if (!refused.has_value()) {
        refused = Steady::now();
      } else if (Steady::now() - *refused >= kRefusedFor) {
        return asked.status();
      }
      if (!std::exchange(told, true)) Tell(events, "log_awaited", asked.status().ToString());
    }
    if (give_up()) return GivenUp();
    std::this_thread::sleep_for(end.has_value() ? kLook : kPause);
  }
}

}  // namespace mneme
