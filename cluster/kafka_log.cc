#include "cluster/kafka_log.h"

#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cluster/kafka_client.h"
#include "cluster/kafka_producer.h"
#include "cluster/kafka_reader.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

using std::chrono::steady_clock;

// What brokers are asked in one piece, so that who is cancelled meanwhile notices; and the rest before the next piece.
constexpr int kAskMs = 1000;
constexpr std::chrono::milliseconds kAskAgain{50};

int MsUntil(steady_clock::time_point deadline, int most) {
  const auto now = steady_clock::now();
  if (deadline <= now) return 0;
  if (deadline - now >= std::chrono::milliseconds(most)) return most;
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(deadline - now).count()) + 1;
}

// An answer that was not come by within the time for it: why not, unless the caller himself has gone.
absl::Status Instead(const absl::Status& over, const absl::Status& why) {
  return absl::IsCancelled(over) || why.ok() ? over : why;
}

struct FreeMetadata {
  void operator()(const rd_kafka_metadata_t* metadata) const { rd_kafka_metadata_destroy(metadata); }
};

// OK when the topic has the partition; UNAVAILABLE when that is not known yet.
absl::Status CheckTopic(const rd_kafka_metadata_topic& topic, uint32_t partition, const std::string& name) {
  switch (topic.err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE: break;
    default: {
      const absl::StatusCode code = KafkaErrorCode(topic.err);
      if (code == absl::StatusCode::kNotFound) return absl::NotFoundError(absl::StrCat(name, " does not exist"));
      return absl::Status(code, absl::StrCat(name, ": ", KafkaErrorText(topic.err)));
    }
  }
  if (topic.partition_cnt <= 0) return absl::UnavailableError(absl::StrCat(name, " is being made"));
  if (partition < static_cast<uint32_t>(topic.partition_cnt)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(name, " has ", topic.partition_cnt, " partitions; the log of shard ",
                                          partition, " is partition ", partition));
}

absl::Status AskForTopic(const KafkaClient& client, uint32_t partition, int timeout_ms) {
  const rd_kafka_metadata_t* raw = nullptr;
  const rd_kafka_resp_err_t error = rd_kafka_metadata(client.handle(), 0, client.topic(), &raw, timeout_ms);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return absl::UnavailableError(absl::StrCat(client.name(), ": no broker answers: ", KafkaErrorText(error)));
  }
  const std::unique_ptr<const rd_kafka_metadata_t, FreeMetadata> metadata(raw);
  if (metadata->topic_cnt != 1) return absl::UnavailableError(absl::StrCat(client.name(), ": nothing is told of it"));
  return CheckTopic(metadata->topics[0], partition, client.name());
}

}  // namespace

// What the logs of all shards share. Thread-safe.
struct KafkaCluster {
  KafkaOptions options;
  std::unique_ptr<KafkaProducer> producer;
  std::unique_ptr<KafkaClient> asker;  // beside the producer, whose connections are full of records
};

namespace {

class KafkaLog final : public ShardLog {
 public:
  KafkaLog(std::shared_ptr<KafkaCluster> cluster, int32_t partition)
      : cluster_(std::move(cluster)), partition_(partition) {}

  size_t most_record_bytes() const override { return limits::kMaxLogRecordBytes; }
  void Append(std::string record, Appended appended) override {
    cluster_->producer->Append(partition_, std::move(record), std::move(appended));
  }
  absl::StatusOr<LogOffset> End(const CallLimits& limits) const override {
    return Ask(&KafkaClient::EndOf, limits);
  }
  absl::StatusOr<LogOffset> Begin(const CallLimits& limits) const override {
    return Ask(&KafkaClient::BeginOf, limits);
  }
  absl::StatusOr<std::unique_ptr<LogReader>> Read(LogOffset from) override {
    return KafkaReader::New(cluster_->options, partition_, from);
  }

 private:
  using Question = absl::StatusOr<int64_t> (KafkaClient::*)(int32_t partition, int timeout_ms) const;
  // Until it is answered.
  absl::StatusOr<LogOffset> Ask(Question question, const CallLimits& limits) const;

  const std::shared_ptr<KafkaCluster> cluster_;
  const int32_t partition_;
};

absl::StatusOr<LogOffset> KafkaLog::Ask(Question question, const CallLimits& limits) const {
  const CallLimits bounded = limits.Within(std::chrono::milliseconds(cluster_->options.append_ms));
  absl::Status why;
  while (true) {
    if (const absl::Status over = bounded.Check(); !over.ok()) return Instead(over, why);
    const absl::StatusOr<int64_t> told =
        ((*cluster_->asker).*question)(partition_, MsUntil(bounded.deadline, kAskMs));
    if (told.ok()) return static_cast<LogOffset>(*told);
    why = told.status();
    std::this_thread::sleep_for(kAskAgain);
  }
}

}  // namespace

KafkaLogs::KafkaLogs(std::shared_ptr<KafkaCluster> cluster) : cluster_(std::move(cluster)) {}

KafkaLogs::~KafkaLogs() = default;

absl::StatusOr<std::unique_ptr<KafkaLogs>> KafkaLogs::New(KafkaOptions options) {
  auto cluster = std::make_shared<KafkaCluster>();
  ASSIGN_OR_RETURN(cluster->producer, KafkaProducer::New(options));
  ASSIGN_OR_RETURN(cluster->asker,
                   KafkaClient::New(RD_KAFKA_CONSUMER, options, {{"isolation.level", "read_uncommitted"}}));
  cluster->options = std::move(options);
  return std::unique_ptr<KafkaLogs>(new KafkaLogs(std::move(cluster)));
}

absl::Status KafkaLogs::Check(uint32_t partition, const CallLimits& limits) const {
  absl::Status why;
  while (true) {
    if (const absl::Status over = limits.Check(); !over.ok()) return Instead(over, why);
    why = AskForTopic(*cluster_->asker, partition, MsUntil(limits.deadline, kAskMs));
    if (!absl::IsUnavailable(why)) return why;
    std::this_thread::sleep_for(kAskAgain);
  }
}

std::unique_ptr<ShardLog> KafkaLogs::Open(uint32_t partition) {
  return std::make_unique<KafkaLog>(cluster_, static_cast<int32_t>(partition));
}

absl::Status KafkaLogs::status() const { return cluster_->producer->status(); }

}  // namespace mneme
