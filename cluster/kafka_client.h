// KafkaClient: librdkafka's handle of a topic, as a producer or a consumer has it, and what its errors are to us.
#ifndef MNEME_CLUSTER_KAFKA_CLIENT_H_
#define MNEME_CLUSTER_KAFKA_CLIENT_H_

#include <librdkafka/rdkafka.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/kafka_log.h"
#include "cluster/kafka_settings.h"
#include "engine/commands.h"

namespace mneme {

// Thread-safe. Nothing is connected to before it is asked for.
class KafkaClient {
 public:
  // Of a producer: what became of a message. Called by rd_kafka_poll().
  using Delivered = std::function<void(const rd_kafka_message_t&)>;

  // `fixed` is set after what the operator says. INVALID_ARGUMENT when librdkafka does not take a setting of his.
  static absl::StatusOr<std::unique_ptr<KafkaClient>> New(rd_kafka_type_t type, const KafkaOptions& options,
                                                          const KafkaSettings& fixed, Delivered delivered = nullptr);
  // Ends librdkafka's threads; nothing is called after it. Takes as long as one that looks up a name.
  ~KafkaClient();
  KafkaClient(const KafkaClient&) = delete;
  KafkaClient& operator=(const KafkaClient&) = delete;

  rd_kafka_t* handle() const { return handle_; }
  rd_kafka_topic_t* topic() const { return topic_; }
  // NameOf() its address.
  const std::string& name() const { return name_; }

  // One beyond the last record of the partition, as its leader tells. UNAVAILABLE when it does not within `timeout_ms`;
  // what KafkaErrorCode() says. A broker that was just started may not know of a topic yet.
  absl::StatusOr<int64_t> EndOf(int32_t partition, int timeout_ms) const;
  // The first offset that the partition keeps; as EndOf().
  absl::StatusOr<int64_t> BeginOf(int32_t partition, int timeout_ms) const;

 private:
  KafkaClient(const KafkaOptions& options, Delivered delivered);

  // The offset at one of librdkafka's own times.
  absl::StatusOr<int64_t> OffsetAt(int64_t time, int32_t partition, int timeout_ms) const;
  absl::Status Start(rd_kafka_type_t type, const KafkaOptions& options, const KafkaSettings& fixed);
  static void TellDelivered(rd_kafka_t* handle, const rd_kafka_message_t* message, void* client);
  static void TellEvent(const rd_kafka_t* handle, int level, const char* facility, const char* text);

  const std::string topic_name_;
  const std::string name_;
  const EventSink events_;
  const Delivered delivered_;
  rd_kafka_t* handle_ = nullptr;
  rd_kafka_topic_t* topic_ = nullptr;
};

// Of the messages of errors: topic "mneme" at kafka-0:9092.
std::string NameOf(const KafkaAddress& address);

// What an error of the brokers is to who asks them: NOT_FOUND when they have no such topic or partition,
// PERMISSION_DENIED when this process may not ask; UNAVAILABLE for all that may pass by itself.
absl::StatusCode KafkaErrorCode(rd_kafka_resp_err_t error);

// librdkafka's text of an error.
std::string KafkaErrorText(rd_kafka_resp_err_t error);

}  // namespace mneme

#endif  // MNEME_CLUSTER_KAFKA_CLIENT_H_
