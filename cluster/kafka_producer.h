// KafkaProducer: appends the records of all shards to the partitions of one topic.
#ifndef MNEME_CLUSTER_KAFKA_PRODUCER_H_
#define MNEME_CLUSTER_KAFKA_PRODUCER_H_

#include <librdkafka/rdkafka.h>

#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/kafka_client.h"
#include "cluster/kafka_log.h"
#include "common/mutex.h"
#include "engine/shard_log.h"

namespace mneme {

// Thread-safe. Idempotent: no record is appended twice, and each partition's are in order, however often they are sent.
// When librdkafka no longer knows what the brokers have of them (a fatal error of its), those under way are told
// UNAVAILABLE, and a new one of its producers takes the place of the old.
class KafkaProducer {
 public:
  static absl::StatusOr<std::unique_ptr<KafkaProducer>> New(const KafkaOptions& options);
  // Tells what is not told yet that the process ends, within a second or so. Not to be let go of within Appended.
  ~KafkaProducer();
  KafkaProducer(const KafkaProducer&) = delete;
  KafkaProducer& operator=(const KafkaProducer&) = delete;

  // As ShardLog::Append() and KafkaLogs::Open() say.
  void Append(int32_t partition, std::string record, ShardLog::Appended appended) ABSL_LOCKS_EXCLUDED(mutex_);
  // As KafkaLogs::status() says.
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // A record that was not told yet; librdkafka reads its bytes where they are.
  struct Untold {
    std::string record;
    ShardLog::Appended appended;
    int32_t partition = 0;
    std::list<Untold>::iterator place;
  };
  struct Refused {
    ShardLog::Appended appended;
    absl::Status why;
  };

  explicit KafkaProducer(const KafkaOptions& options);

  // Of the teller.
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  void TellRefused() ABSL_LOCKS_EXCLUDED(mutex_);
  void Deliver(const rd_kafka_message_t& message) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Open() ABSL_LOCKS_EXCLUDED(mutex_);
  void Close(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);
  void Rest() ABSL_LOCKS_EXCLUDED(mutex_);
  bool ending() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Of the last record: OK when it was appended.
  void Heard(rd_kafka_resp_err_t error, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Refuse(Refused refused) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ErrorOf(rd_kafka_resp_err_t error, const Untold& untold) const;

  const KafkaOptions options_;
  const std::string name_;
  mutable Mutex mutex_;
  CondVar woken_;
  // Set by the teller alone, which reads it without the lock. Null while there is none that works.
  std::unique_ptr<KafkaClient> client_;
  rd_kafka_queue_t* reports_ ABSL_GUARDED_BY(mutex_) = nullptr;  // what rd_kafka_poll() takes from; null as client_
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);                  // why client_ is null
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);  // of the last record, by the brokers: as KafkaLogs::status()
  bool refusal_told_ ABSL_GUARDED_BY(mutex_) = false;
  // Since when records have failed because there is no such topic or partition, if they do.
  std::optional<std::chrono::steady_clock::time_point> unknown_since_ ABSL_GUARDED_BY(mutex_);
  std::list<Untold> untold_ ABSL_GUARDED_BY(mutex_);
  std::vector<Refused> refused_ ABSL_GUARDED_BY(mutex_);         // to be told by the teller
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread teller_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_KAFKA_PRODUCER_H_
