// KafkaReader: one place in a partition of a topic.
#ifndef MNEME_CLUSTER_KAFKA_READER_H_
#define MNEME_CLUSTER_KAFKA_READER_H_

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/kafka_client.h"
#include "cluster/kafka_log.h"
#include "common/mutex.h"
#include "engine/shard_log.h"

namespace mneme {

// Has connections of its own, and reads ahead (kLogReadAheadBytes). A partition that has nothing new says nothing,
// whether it can be reached or not: so a thread asks its leader every second where it ends.
class KafkaReader final : public LogReader {
 public:
  // Connects to nobody yet. OUT_OF_RANGE for an offset that no log of Kafka's has.
  static absl::StatusOr<std::unique_ptr<LogReader>> New(const KafkaOptions& options, int32_t partition, LogOffset from);
  // Within a second or so.
  ~KafkaReader() override;

  absl::Status Next(std::chrono::milliseconds wait, size_t most_bytes, std::vector<LoggedBytes>& records) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  LogOffset next() const override { return next_; }
  LogOffset seen_end() const override { return seen_end_.load(std::memory_order_relaxed); }

 private:
  struct FreeMessage {
    void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
  };
  using Message = std::unique_ptr<rd_kafka_message_t, FreeMessage>;

  KafkaReader(std::unique_ptr<KafkaClient> client, int32_t partition, LogOffset from)
      : client_(std::move(client)), partition_(partition), next_(from) {}

  absl::Status ErrorOf(const rd_kafka_message_t& message) const;
  // Brokers are heard to say once that this process may not read: has them say it again, or that it may.
  void AskAgain();
  void Look() ABSL_LOCKS_EXCLUDED(mutex_);

  std::unique_ptr<KafkaClient> client_;
  const int32_t partition_;

  // Of who calls Next().
  LogOffset next_;        // as next()
  Message held_;          // came, but was too long for the call, or is an error that goes after its records
  absl::Status failed_;   // what every call says from now on
  absl::Status denied_;   // what every call says until a record, or the end, comes
  std::chrono::steady_clock::time_point ask_again_ = {};  // while it is denied

  Mutex mutex_;
  CondVar ends_;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status reach_ ABSL_GUARDED_BY(mutex_);  // what the leader was last heard of
  std::atomic<LogOffset> seen_end_{0};
  std::thread looker_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_KAFKA_READER_H_
