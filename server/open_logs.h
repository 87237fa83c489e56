// The replicated logs of a process: reached before it serves.
#ifndef MNEME_SERVER_OPEN_LOGS_H_
#define MNEME_SERVER_OPEN_LOGS_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/kafka_log.h"
#include "engine/commands.h"
#include "engine/local_deployment.h"
#include "engine/shard_log.h"
#include "server/options.h"

namespace mneme {

// Whether librdkafka takes what --log-settings says; nothing is connected to. Errors of LogSettingsOf and
// CheckKafkaSettings, which name the option and its file.
absl::Status CheckLogSettings(const ServerOptions& options);

// What --log names; null without it. A replica waits until the brokers say that its partition is there; a front end,
// which answers reads without them, and a replica of shard 0, which tells names, ask once. Events: "log_awaited".
// CANCELLED when `give_up` says so; errors of KafkaLogs::New and KafkaLogs::Check, which name the options.
absl::StatusOr<std::unique_ptr<KafkaLogs>> OpenLogs(const ServerOptions& options, EventSink events,
                                                    const std::function<bool()>& give_up);
// The topic of names beside it, whose partition 0 is their log. Of a replica of shard 0; it asks once.
absl::StatusOr<std::unique_ptr<KafkaLogs>> OpenNameLogs(const ServerOptions& options, EventSink events,
                                                        const std::function<bool()>& give_up);

// Blocks until the shard has applied what its log had when this was called: what a replica lacks that was away, or is
// new, must not be missed by who reads it. CANCELLED as above; what LogState::status says when it cannot go on;
// NOT_FOUND and PERMISSION_DENIED when the brokers have said so for a while.
absl::Status AwaitReplayed(const LocalDeployment& shard, const ShardLog& log, const EventSink& events,
                           const std::function<bool()>& give_up);

}  // namespace mneme

#endif  // MNEME_SERVER_OPEN_LOGS_H_
