#include "cluster/kafka_client.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

// What is set before the operator's settings, which may change it: a broker that is gone is noticed within half of what
// an append has, and one that is back within a second.
const KafkaSettings& Defaults() {
  static const KafkaSettings* const settings = new KafkaSettings{
      {"client.id", "mneme"},
      {"socket.timeout.ms", "10000"},
      {"socket.keepalive.enable", "true"},
      {"reconnect.backoff.max.ms", "1000"},
  };
  return *settings;
}

struct FreeConfiguration {
  void operator()(rd_kafka_conf_t* configuration) const { rd_kafka_conf_destroy(configuration); }
};
using Configuration = std::unique_ptr<rd_kafka_conf_t, FreeConfiguration>;

struct FreeList {
  void operator()(rd_kafka_topic_partition_list_t* list) const { rd_kafka_topic_partition_list_destroy(list); }
};

absl::Status Set(rd_kafka_conf_t* configuration, const KafkaSettings& settings) {
  for (const auto& [name, value] : settings) {
    char text[512] = "";
    if (rd_kafka_conf_set(configuration, name.c_str(), value.c_str(), text, sizeof(text)) == RD_KAFKA_CONF_OK) continue;
    // Its text may repeat the value.
    if (IsSecretKafkaSetting(name)) {
      return absl::InvalidArgumentError(absl::StrCat("sets ", name, " to a value that librdkafka does not take"));
    }
    return absl::InvalidArgumentError(absl::StrCat("sets ", name, " to \"", value, "\": ",
                                                   absl::StripTrailingAsciiWhitespace(text)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusCode KafkaErrorCode(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION: return absl::StatusCode::kNotFound;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED: return absl::StatusCode::kPermissionDenied;
    default: return absl::StatusCode::kUnavailable;
  }
}

std::string KafkaErrorText(rd_kafka_resp_err_t error) { return rd_kafka_err2str(error); }

std::string NameOf(const KafkaAddress& address) {
  return absl::StrCat("topic \"", address.topic, "\" at ", address.brokers);
}

absl::Status CheckKafkaSettings(const KafkaSettings& settings) {
  return Set(Configuration(rd_kafka_conf_new()).get(), settings);
}

KafkaClient::KafkaClient(const KafkaOptions& options, Delivered delivered)
    : topic_name_(options.address.topic),
      name_(NameOf(options.address)),
      events_(options.events), delivered_(std::move(delivered)) {}

absl::StatusOr<std::unique_ptr<KafkaClient>> KafkaClient::New(rd_kafka_type_t type, const KafkaOptions& options,
                                                              const KafkaSettings& fixed, Delivered delivered) {
  std::unique_ptr<KafkaClient> client(new KafkaClient(options, std::move(delivered)));
  RETURN_IF_ERROR(client->Start(type, options, fixed));
  return client;
}

absl::Status KafkaClient::Start(rd_kafka_type_t type, const KafkaOptions& options, const KafkaSettings& fixed) {
  Configuration configuration(rd_kafka_conf_new());
  RETURN_IF_ERROR(Set(configuration.get(), Defaults()));
  RETURN_IF_ERROR(Set(configuration.get(), options.settings));
  RETURN_IF_ERROR(Set(configuration.get(), {{"bootstrap.servers", options.address.brokers},
                                            {"allow.auto.create.topics", "false"}}));
  RETURN_IF_ERROR(Set(configuration.get(), fixed));
  rd_kafka_conf_set_opaque(configuration.get(), this);
  rd_kafka_conf_set_log_cb(configuration.get(), &TellEvent);
  if (delivered_ != nullptr) rd_kafka_conf_set_dr_msg_cb(configuration.get(), &TellDelivered);
  char text[512] = "";
  handle_ = rd_kafka_new(type, configuration.get(), text, sizeof(text));
  if (handle_ == nullptr) return absl::InvalidArgumentError(absl::StrCat("is not taken by librdkafka: ", text));
  (void)configuration.release();  // is the handle's
  topic_ = rd_kafka_topic_new(handle_, topic_name_.c_str(), nullptr);
  if (topic_ == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(name_, ": ", KafkaErrorText(rd_kafka_last_error())));
  }
  return absl::OkStatus();
}

KafkaClient::~KafkaClient() {
  if (topic_ != nullptr) rd_kafka_topic_destroy(topic_);
  if (handle_ != nullptr) rd_kafka_destroy(handle_);
}

void KafkaClient::TellDelivered(rd_kafka_t*, const rd_kafka_message_t* message, void* client) {
  static_cast<KafkaClient*>(client)->delivered_(*message);
}

void KafkaClient::TellEvent(const rd_kafka_t* handle, int, const char* facility, const char* text) {
  const auto* const client = static_cast<const KafkaClient*>(rd_kafka_opaque(handle));
  if (client->events_ != nullptr) client->events_("kafka", absl::StrCat(facility, ": ", text));
}

// rd_kafka_query_watermark_offsets() would say it too, but in librdkafka 2.0 waits for a broker that is away whatever
// time it is given (its issue 2588). The offset at the time of RD_KAFKA_OFFSET_END is the end, and that of
// RD_KAFKA_OFFSET_BEGINNING the beginning; what is not answered in time stays as it was.
absl::StatusOr<int64_t> KafkaClient::OffsetAt(int64_t time, int32_t partition, int timeout_ms) const {
  const std::unique_ptr<rd_kafka_topic_partition_list_t, FreeList> asked(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_t* const found =
      rd_kafka_topic_partition_list_add(asked.get(), topic_name_.c_str(), partition);
  found->offset = time;
  rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(handle_, asked.get(), timeout_ms);
  if (found->err != RD_KAFKA_RESP_ERR_NO_ERROR) error = found->err;  // says more
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR && found->offset >= 0) return found->offset;
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) error = RD_KAFKA_RESP_ERR__TIMED_OUT;
  return absl::Status(KafkaErrorCode(error),
                      absl::StrCat(name_, " partition ", partition, ": ", KafkaErrorText(error)));
}

absl::StatusOr<int64_t> KafkaClient::EndOf(int32_t partition, int timeout_ms) const {
  return OffsetAt(RD_KAFKA_OFFSET_END, partition, timeout_ms);
}

absl::StatusOr<int64_t> KafkaClient::BeginOf(int32_t partition, int timeout_ms) const {
  return OffsetAt(RD_KAFKA_OFFSET_BEGINNING, partition, timeout_ms);
}

}  // namespace mneme
