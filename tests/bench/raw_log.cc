// raw_log: what librdkafka's producer alone does with the records of inserts, as one JSON object. They are those that a
// front end appends (engine/log_record.h), and so are the settings (cluster/kafka_producer.cc); nobody reads them.
//
//   raw_log --brokers 127.0.0.1:9092 --topic raw --dimension 128 --batch 256 --seconds 10
#include <librdkafka/rdkafka.h>

#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "engine/log_record.h"
#include "tests/bench/measurement.h"

namespace mneme::bench {
namespace {

struct Options {
  std::string brokers;
  std::string topic;
  size_t dimension = 128;
  size_t batch = 256;
  double seconds = 2.0;
  double warm_up = 0.5;
};

// Records of other bytes, so that nothing that looks at them finds the same again.
constexpr size_t kRecords = 64;
constexpr int kPollMs = 10;
constexpr double kPatienceSeconds = 60;  // for the first acknowledgement
constexpr int kHandBackMs = 10'000;

// A batch of entries with ids of the client's, keys of halves and tokens, as the log of its shard has it.
std::string Record(size_t dimension, size_t batch, std::mt19937_64& random) {
  InsertOperation insert;
  insert.ticket.request = RequestIdentity{{random(), random()}, random()};
  insert.entries.count = batch;
  insert.entries.key_bytes = 2 * dimension;
  insert.entries.keys.Resize(batch * insert.entries.key_bytes);
  for (size_t i = 0; i < insert.entries.keys.size(); ++i) {
    insert.entries.keys.data()[i] = static_cast<char>(random());
  }
  insert.entries.values.width = sizeof(Token);
  for (size_t i = 0; i < batch; ++i) {
    const Token token = static_cast<Token>(random() % 50'000);
    insert.entries.values.Append({reinterpret_cast<const char*>(&token), sizeof(token)});
    insert.entries.ids.push_back(random() >> 2);
  }
  LogRecord record;
  record.memory = 1;
  record.stamp_ms = 1'700'000'000'000;
  record.deployment = random();
  record.operation = std::move(insert);
  return EncodeLogRecord(record);
}

// One producer, and what was acknowledged to it. Not thread-safe.
class Producer {
 public:
  Producer(const std::string& brokers, const std::string& topic, size_t rows) : rows_(rows) {
    rd_kafka_conf_t* const configuration = rd_kafka_conf_new();
    const std::pair<const char*, std::string> settings[] = {
        {"bootstrap.servers", brokers},
        {"acks", "all"},
        {"enable.idempotence", "true"},
        {"linger.ms", "1"},
        {"compression.type", "none"},
        {"message.max.bytes", absl::StrCat(limits::kMaxLogRecordBytes + limits::kLogFramingBytes)},
        {"delivery.timeout.ms", absl::StrCat(limits::kLogAppendMs)},
        {"queue.buffering.max.kbytes", absl::StrCat(limits::kMaxLogQueueBytes / 1024)},
        {"queue.buffering.max.messages", absl::StrCat(limits::kMaxLogQueueRecords)}};
    char text[512] = "";
    for (const auto& [name, value] : settings) {
      if (rd_kafka_conf_set(configuration, name, value.c_str(), text, sizeof(text)) == RD_KAFKA_CONF_OK) continue;
      Require(absl::InvalidArgumentError(text));
    }
    rd_kafka_conf_set_opaque(configuration, this);
    rd_kafka_conf_set_dr_msg_cb(configuration, &Delivered);
    handle_ = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, text, sizeof(text));
    if (handle_ == nullptr) Require(absl::InvalidArgumentError(text));
    topic_ = rd_kafka_topic_new(handle_, topic.c_str(), nullptr);
  }
  ~Producer() {
    counting_ = false;
    (void)rd_kafka_purge(handle_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void)rd_kafka_flush(handle_, kHandBackMs);
    rd_kafka_topic_destroy(topic_);
    rd_kafka_destroy(handle_);
  }
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  void StartCounting() {
    counting_ = true;
    measured_.Start();
  }
  nlohmann::json Report() { return measured_.Report(); }

  // Whether the brokers took any yet.
  bool acknowledged() const { return acknowledged_; }

  // Each record once, unless the queue is full before, and what was acknowledged meanwhile. librdkafka reads the bytes
  // where they are.
  void Step(std::vector<std::string>& records) {
    for (std::string& record : records) {
      auto sent = std::make_unique<Steady::time_point>(Steady::now());
      if (rd_kafka_produce(topic_, 0, 0, record.data(), record.size(), nullptr, 0, sent.get()) != 0) {
        const rd_kafka_resp_err_t error = rd_kafka_last_error();
        if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) Require(absl::UnavailableError(rd_kafka_err2str(error)));
        (void)rd_kafka_poll(handle_, kPollMs);
        return;
      }
      (void)sent.release();  // Delivered() has it
      (void)rd_kafka_poll(handle_, 0);
    }
  }

 private:
  static void Delivered(rd_kafka_t*, const rd_kafka_message_t* message, void* producer) {
    const std::unique_ptr<Steady::time_point> sent(static_cast<Steady::time_point*>(message->_private));
    auto& self = *static_cast<Producer*>(producer);
    const bool good = message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    self.acknowledged_ |= good;
    if (!self.counting_) return;
    self.measured_.Add(*sent, good ? self.rows_ : 0, good ? message->len : 0,
                       good ? "" : rd_kafka_err2str(message->err));
  }

  const size_t rows_;  // of a record
  rd_kafka_t* handle_ = nullptr;
  rd_kafka_topic_t* topic_ = nullptr;
  bool acknowledged_ = false;
  bool counting_ = false;
  Measurement measured_;
};

nlohmann::json Run(const Options& options) {
  std::mt19937_64 random(1);
  std::vector<std::string> records;
  for (size_t i = 0; i < kRecords; ++i) records.push_back(Record(options.dimension, options.batch, random));
  Producer producer(options.brokers, options.topic, options.batch);
  const Steady::time_point opened = Steady::now();
  while (!producer.acknowledged()) {
    if (SecondsBetween(opened, Steady::now()) > kPatienceSeconds) {
      Require(absl::UnavailableError(absl::StrCat("nothing is acknowledged within ", kPatienceSeconds, " s")));
    }
    producer.Step(records);
  }
  const Steady::time_point begin = Steady::now();
  while (SecondsBetween(begin, Steady::now()) < options.warm_up) producer.Step(records);
  producer.StartCounting();
  while (SecondsBetween(begin, Steady::now()) < options.warm_up + options.seconds) producer.Step(records);
  nlohmann::json report = producer.Report();
  report["record_bytes"] = records.front().size();
  return report;
}

}  // namespace
}  // namespace mneme::bench

int main(int argc, char** argv) {
  CLI::App app("librdkafka alone");
  mneme::bench::Options options;
  app.add_option("--brokers", options.brokers, "HOST:PORT,..")->required();
  app.add_option("--topic", options.topic, "Of which partition 0 takes the records")->required();
  app.add_option("--dimension", options.dimension, "Of the keys")->check(CLI::Range(1U, 16'384U));
  app.add_option("--batch", options.batch, "Entries of a record")->check(CLI::Range(1U, 65'536U));
  app.add_option("--seconds", options.seconds, "Counted time");
  app.add_option("--warm-up", options.warm_up, "Seconds before it");
  CLI11_PARSE(app, argc, argv);
  std::cout << mneme::bench::Run(options) << std::endl;
  return 0;
}
