// KafkaLogs: the logs of all shards in one topic of Apache Kafka, whose partition N is shard N's. An append is told
// once every replica of the partition that is in sync has it (acks=all); how many those must be is the topic's
// min.insync.replicas. They have it in ram: Kafka syncs when it likes.
//
// The topic is the operator's: it is not made here, nor changed. It must take records of kMaxLogRecordBytes and
// kLogFramingBytes (max.message.bytes), must not be compacted, and keeps what its replicas still need (retention).
#ifndef MNEME_CLUSTER_KAFKA_LOG_H_
#define MNEME_CLUSTER_KAFKA_LOG_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/kafka_settings.h"
#include "common/limits.h"
#include "engine/commands.h"
#include "engine/shard_log.h"

namespace mneme {

struct KafkaOptions {
  KafkaAddress address;
  KafkaSettings settings = {};
  // May be empty. "kafka" with each line that librdkafka has for a log; "log_refused" when KafkaLogs::status() begins
  // to say that the brokers refuse what is appended.
  EventSink events = {};
  // How long a record is tried to be appended, and how many bytes of them may wait.
  int append_ms = limits::kLogAppendMs;
  size_t most_queued_bytes = limits::kMaxLogQueueBytes;
};

struct KafkaCluster;

// Thread-safe. The logs may outlive it; readers may outlive both. One connection to each broker carries the appends of
// all shards. When librdkafka no longer knows what the brokers have of them, those under way are told UNAVAILABLE, and
// it is begun anew: nothing need be started again.
class KafkaLogs {
 public:
  // Connects to nobody yet. INVALID_ARGUMENT when librdkafka does not take the settings: what goes on after their name.
  static absl::StatusOr<std::unique_ptr<KafkaLogs>> New(KafkaOptions options);
  // When the last log of it has gone as well, records that wait to be appended are told UNAVAILABLE, within a second or
  // so. Not to be let go of within Appended.
  ~KafkaLogs();

  // Blocks until the brokers say that the topic has the partition. NOT_FOUND when it has not, or there is no such
  // topic; PERMISSION_DENIED when they do not tell this process; UNAVAILABLE when none answers within `limits`.
  absl::Status Check(uint32_t partition, const CallLimits& limits) const;
  // The log of a shard, whether it is there or not: appends to one that is not fail, and its readers get NOT_FOUND
  // once the brokers have said so for a while. Append() is as ShardLog says, and FAILED_PRECONDITION for a record that
  // the topic does not take: one that is longer than its max.message.bytes, or because this process may not append.
  // That there is no such topic or partition is UNAVAILABLE: a broker that was just started says it, too. Next() stays
  // PERMISSION_DENIED until a record or the end comes, for which brokers are asked anew now and then. It is DATA_LOSS,
  // and stays so, for a record whose checksum is not its own. End() is what the leader of the partition and its
  // replicas in sync have; a leader that was replaced and does not know yet may tell an older end.
  std::unique_ptr<ShardLog> Open(uint32_t partition);
  // OK, or why nothing is appended now: librdkafka is being begun anew, or could not be, which is tried every second,
  // and every append is UNAVAILABLE then; or the last record was refused because this process may not append, or
  // because there is no such topic or partition, and has not been for a while.
  absl::Status status() const;

 private:
  explicit KafkaLogs(std::shared_ptr<KafkaCluster> cluster);

  const std::shared_ptr<KafkaCluster> cluster_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_KAFKA_LOG_H_
