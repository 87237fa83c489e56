// Clusters of Kafka to test against: librdkafka's mock, which has brokers in this process, and a real one where
// MNEME_TEST_KAFKA says (HOST:PORT[,HOST:PORT...]; tests/system/kafka_log_test.py starts it).
#ifndef MNEME_TESTS_CLUSTER_KAFKA_FIXTURE_H_
#define MNEME_TESTS_CLUSTER_KAFKA_FIXTURE_H_

#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cluster/kafka_log.h"
#include "cluster/kafka_settings.h"
#include "common/limits.h"

namespace mneme::testing {

// A handle of librdkafka's for what a test asks of brokers.
class KafkaAdmin {
 public:
  explicit KafkaAdmin(const std::string& brokers) {
    rd_kafka_conf_t* const configuration = rd_kafka_conf_new();
    char text[256] = "";
    if (!brokers.empty()) {
      EXPECT_EQ(rd_kafka_conf_set(configuration, "bootstrap.servers", brokers.c_str(), text, sizeof(text)),
                RD_KAFKA_CONF_OK)
          << text;
    }
    // It tells nobody of brokers that are away.
    EXPECT_EQ(rd_kafka_conf_set(configuration, "log_level", "2", text, sizeof(text)), RD_KAFKA_CONF_OK) << text;
    handle_ = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, text, sizeof(text));
    EXPECT_NE(handle_, nullptr) << text;
  }
  ~KafkaAdmin() { rd_kafka_destroy(handle_); }
  KafkaAdmin(const KafkaAdmin&) = delete;
  KafkaAdmin& operator=(const KafkaAdmin&) = delete;

  rd_kafka_t* handle() const { return handle_; }

  void MakeTopic(const std::string& topic, int partitions) {
    char text[256] = "";
    rd_kafka_NewTopic_t* made = rd_kafka_NewTopic_new(topic.c_str(), partitions, -1, text, sizeof(text));
    ASSERT_NE(made, nullptr) << text;
    rd_kafka_NewTopic_set_config(made, "max.message.bytes",
                                 absl::StrCat(limits::kMaxLogRecordBytes + limits::kLogFramingBytes).c_str());
    rd_kafka_queue_t* const queue = rd_kafka_queue_new(handle_);
    rd_kafka_CreateTopics(handle_, &made, 1, nullptr, queue);
    rd_kafka_event_t* const event = rd_kafka_queue_poll(queue, kAnswerMs);
    ASSERT_NE(event, nullptr);
    EXPECT_EQ(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR) << rd_kafka_event_error_string(event);
    size_t count = 0;
    const rd_kafka_topic_result_t** const topics =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(rd_kafka_topic_result_error(topics[i]), RD_KAFKA_RESP_ERR_NO_ERROR)
          << rd_kafka_topic_result_error_string(topics[i]);
    }
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_NewTopic_destroy(made);
  }

  // Waits until the broker that this was made for knows who leads partition 0: each hears of a new topic by itself.
  void AwaitLeader(const std::string& topic) {
    rd_kafka_topic_t* const asked = rd_kafka_topic_new(handle_, topic.c_str(), nullptr);
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kAnswerMs);
    bool led = false;
    while (!led && std::chrono::steady_clock::now() < end) {
      const rd_kafka_metadata_t* told = nullptr;
      if (rd_kafka_metadata(handle_, 0, asked, &told, kAnswerMs) != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
      const rd_kafka_metadata_topic_t& known = told->topics[0];
      led = known.err == RD_KAFKA_RESP_ERR_NO_ERROR && known.partition_cnt > 0 && known.partitions[0].leader >= 0;
      rd_kafka_metadata_destroy(told);
      if (!led) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    rd_kafka_topic_destroy(asked);
    EXPECT_TRUE(led) << topic;
  }

  // The first offset that partition 0 keeps.
  int64_t FirstOf(const std::string& topic) {
    int64_t low = -1, high = -1;
    EXPECT_EQ(rd_kafka_query_watermark_offsets(handle_, topic.c_str(), 0, &low, &high, kAnswerMs),
              RD_KAFKA_RESP_ERR_NO_ERROR);
    return low;
  }

  // Of partition 0.
  void DropBefore(const std::string& topic, int64_t offset) {
    rd_kafka_topic_partition_list_t* const offsets = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(offsets, topic.c_str(), 0)->offset = offset;
    rd_kafka_DeleteRecords_t* dropped = rd_kafka_DeleteRecords_new(offsets);
    rd_kafka_queue_t* const queue = rd_kafka_queue_new(handle_);
    rd_kafka_DeleteRecords(handle_, &dropped, 1, nullptr, queue);
    rd_kafka_event_t* const event = rd_kafka_queue_poll(queue, kAnswerMs);
    ASSERT_NE(event, nullptr);
    EXPECT_EQ(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR) << rd_kafka_event_error_string(event);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteRecords_destroy(dropped);
    rd_kafka_topic_partition_list_destroy(offsets);
  }

 private:
  static constexpr int kAnswerMs = 30'000;

  rd_kafka_t* handle_ = nullptr;
};

// What a request is, in the protocol.
enum class KafkaRequest : int16_t { kProduce = 0, kFetch = 1, kListOffsets = 2 };

// Brokers in this process, with the topic "log" of two partitions. They keep the last 5 MiB of a partition, and answer
// a fetch of nothing only when its wait is over, which Options() makes short.
class MockKafka {
 public:
  explicit MockKafka(int brokers = 1) : admin_(""), brokers_(brokers) {
    cluster_ = rd_kafka_mock_cluster_new(admin_.handle(), brokers);
    EXPECT_NE(cluster_, nullptr);
    EXPECT_GT(rd_kafka_brokers_add(admin_.handle(), rd_kafka_mock_cluster_bootstraps(cluster_)), 0);
    EXPECT_EQ(rd_kafka_mock_topic_create(cluster_, "log", 2, brokers), RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  ~MockKafka() { rd_kafka_mock_cluster_destroy(cluster_); }

  KafkaOptions Options(const std::string& topic = "log") const {
    KafkaOptions options;
    options.address = {rd_kafka_mock_cluster_bootstraps(cluster_), topic};
    options.settings = {{"fetch.wait.max.ms", "10"}};
    return options;
  }
  KafkaAdmin& admin() { return admin_; }

  void SetDown() {
    for (int id = 1; id <= brokers_; ++id) rd_kafka_mock_broker_set_down(cluster_, id);
  }
  void SetUp() {
    for (int id = 1; id <= brokers_; ++id) rd_kafka_mock_broker_set_up(cluster_, id);
  }
  void LeadFrom(int broker) {
    EXPECT_EQ(rd_kafka_mock_partition_set_leader(cluster_, "log", 0, broker), RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  // What brokers say of the topic; the mock would make one that it is asked for.
  void SetTopicError(const char* topic, rd_kafka_resp_err_t error) {
    rd_kafka_mock_topic_set_error(cluster_, topic, error);
  }
  void LackTopic(const char* topic) { SetTopicError(topic, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART); }
  // The next requests of the kind are answered so, and do nothing.
  void Fail(KafkaRequest request, const std::vector<rd_kafka_resp_err_t>& errors) {
    rd_kafka_mock_push_request_errors_array(cluster_, static_cast<int16_t>(request), errors.size(), errors.data());
  }
  void FailNoMore(KafkaRequest request) {
    rd_kafka_mock_clear_request_errors(cluster_, static_cast<int16_t>(request));
  }

 private:
  KafkaAdmin admin_;
  const int brokers_;
  rd_kafka_mock_cluster_t* cluster_ = nullptr;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_CLUSTER_KAFKA_FIXTURE_H_
