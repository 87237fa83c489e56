// How a record is appended:
// 1. it waits in untold_, whose bytes librdkafka reads where they are, and goes to the broker that leads its partition;
// 2. that broker, or librdkafka after append_ms, says what became of it, which the teller's poll hands to Delivered();
// 3. it is taken out of untold_ and told, on the teller's thread. One that librdkafka does not even take is told there
//    as well (refused_), so that nobody is told within his call of Append().
#include "cluster/kafka_log.h"

#include <algorithm>
#include <chrono>
#include <list>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "cluster/kafka_client.h"
#include "cluster/kafka_reader.h"
#include "common/error_reason.h"
#include "common/mutex.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

using std::chrono::steady_clock;

constexpr int kPollMs = 100;
// What brokers are asked in one piece, so that who is cancelled meanwhile notices; and the rest before the next piece.
constexpr int kAskMs = 1000;
constexpr std::chrono::milliseconds kAskAgain{50};
// How long librdkafka is given at the end to hand back what it has.
constexpr std::chrono::milliseconds kEnd{500};

KafkaSettings ProducerSettings(const KafkaOptions& options) {
  return {{"acks", "all"},
          {"enable.idempotence", "true"},  // nothing twice, and each partition in order, whatever is sent again
          {"linger.ms", "1"},
          {"compression.type", "none"},
          {"message.max.bytes", absl::StrCat(limits::kMaxLogRecordBytes + limits::kLogFramingBytes)},
          {"delivery.timeout.ms", absl::StrCat(options.append_ms)},
          {"queue.buffering.max.kbytes", absl::StrCat(std::max<size_t>(1, options.most_queued_bytes / 1024))},
          {"queue.buffering.max.messages", absl::StrCat(limits::kMaxLogQueueRecords)}};
}

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

}  // namespace

// The producer of every shard's records. Thread-safe.
class KafkaProducer {
 public:
  static absl::StatusOr<std::shared_ptr<KafkaProducer>> New(const KafkaOptions& options);
  explicit KafkaProducer(size_t most_queued_bytes) : most_queued_bytes_(most_queued_bytes) {}
  ~KafkaProducer();

  void Append(int32_t partition, std::string record, ShardLog::Appended appended) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status status() const;
  const KafkaClient& client() const { return *client_; }

 private:
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

  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  void Refuse(ShardLog::Appended appended, absl::Status why) ABSL_LOCKS_EXCLUDED(mutex_);
  void Deliver(const rd_kafka_message_t& message) ABSL_LOCKS_EXCLUDED(mutex_);
  // Out of untold_, in a list of its own.
  std::list<Untold> Take(const Untold& untold) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status ErrorOf(rd_kafka_resp_err_t error, const Untold& untold) const;

  const size_t most_queued_bytes_;
  std::unique_ptr<KafkaClient> client_;
  rd_kafka_queue_t* reports_ = nullptr;  // what rd_kafka_poll() takes from
  Mutex mutex_;
  std::list<Untold> untold_ ABSL_GUARDED_BY(mutex_);
  std::vector<Refused> refused_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  steady_clock::time_point end_by_ ABSL_GUARDED_BY(mutex_);
  std::thread teller_;
};

absl::StatusOr<std::shared_ptr<KafkaProducer>> KafkaProducer::New(const KafkaOptions& options) {
  auto producer = std::make_shared<KafkaProducer>(options.most_queued_bytes);
  KafkaProducer* const borrowed = producer.get();
  ASSIGN_OR_RETURN(producer->client_, KafkaClient::New(RD_KAFKA_PRODUCER, options, ProducerSettings(options),
                                                       [borrowed](const rd_kafka_message_t& message) {
                                                         borrowed->Deliver(message);
                                                       }));
  producer->reports_ = rd_kafka_queue_get_main(producer->client_->handle());
  producer->teller_ = std::thread([borrowed] { borrowed->Run(); });
  return producer;
}

KafkaProducer::~KafkaProducer() {
  if (client_ == nullptr) return;
  {
    MutexLock lock(&mutex_);
    ending_ = true;
    end_by_ = steady_clock::now() + kEnd;
  }
  (void)rd_kafka_purge(client_->handle(),
                       RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
  rd_kafka_queue_yield(reports_);
  teller_.join();
  rd_kafka_queue_destroy(reports_);
  const std::string name = client_->name();
  client_.reset();
  std::list<Untold> left;
  {
    MutexLock lock(&mutex_);
    left.swap(untold_);
  }
  for (Untold& each : left) each.appended(absl::UnavailableError(absl::StrCat(name, ": the process ends")));
}

void KafkaProducer::Append(int32_t partition, std::string record, ShardLog::Appended appended) {
  if (record.size() > limits::kMaxLogRecordBytes) {
    const size_t bytes = record.size();
    Refuse(std::move(appended),
           absl::InvalidArgumentError(absl::StrCat("record has ", bytes, " bytes; must have at most ",
                                                   limits::kMaxLogRecordBytes)));
    return;
  }
  Untold* untold = nullptr;
  {
    MutexLock lock(&mutex_);
    untold_.push_back({std::move(record), std::move(appended), partition, {}});
    untold = &untold_.back();
    untold->place = std::prev(untold_.end());
  }
  // Once it is taken, it may be told and gone by now.
  if (rd_kafka_produce(client_->topic(), partition, 0, untold->record.data(), untold->record.size(), nullptr, 0,
                       untold) == 0) {
    return;
  }
  const rd_kafka_resp_err_t error = rd_kafka_last_error();
  std::list<Untold> taken = Take(*untold);
  absl::Status why = ErrorOf(error, taken.front());
  Refuse(std::move(taken.front().appended), std::move(why));
}

void KafkaProducer::Refuse(ShardLog::Appended appended, absl::Status why) {
  {
    MutexLock lock(&mutex_);
    refused_.push_back({std::move(appended), std::move(why)});
  }
  rd_kafka_queue_yield(reports_);
}

void KafkaProducer::Run() {
  while (true) {
    (void)rd_kafka_poll(client_->handle(), kPollMs);
    std::vector<Refused> refused;
    bool over = false;
    {
      MutexLock lock(&mutex_);
      refused.swap(refused_);
      over = ending_ && (untold_.empty() || steady_clock::now() >= end_by_);
    }
    for (Refused& each : refused) each.appended(std::move(each.why));
    if (over) return;
  }
}

void KafkaProducer::Deliver(const rd_kafka_message_t& message) {
  const std::list<Untold> told = Take(*static_cast<const Untold*>(message._private));
  const Untold& untold = told.front();
  if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    untold.appended(ErrorOf(message.err, untold));
  } else if (message.offset < 0) {
    // It was sent twice, and the broker no longer knows where the first one is.
    untold.appended(absl::UnavailableError(absl::StrCat(client_->name(), " partition ", untold.partition,
                                                        " has the record, but does not tell where")));
  } else {
    untold.appended(static_cast<LogOffset>(message.offset));
  }
}

std::list<KafkaProducer::Untold> KafkaProducer::Take(const Untold& untold) {
  std::list<Untold> taken;
  MutexLock lock(&mutex_);
  taken.splice(taken.begin(), untold_, untold.place);
  return taken;
}

absl::Status KafkaProducer::ErrorOf(rd_kafka_resp_err_t error, const Untold& untold) const {
  const std::string where = absl::StrCat(client_->name(), " partition ", untold.partition);
  const std::string text = absl::StrCat(where, ": ", KafkaErrorText(error));
  switch (error) {
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
      return WithReason(absl::ResourceExhaustedError(absl::StrCat("records wait to be appended to ", client_->name(),
                                                                  "; the bounds are ", most_queued_bytes_,
                                                                  " bytes and ", limits::kMaxLogQueueRecords)),
                        reason::kQueueFull);
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
      return absl::DeadlineExceededError(text);
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
      return absl::FailedPreconditionError(absl::StrCat(
          where, " does not take a record of ", untold.record.size(), " bytes; max.message.bytes of the topic must be ",
          limits::kMaxLogRecordBytes + limits::kLogFramingBytes, " at least"));
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
      return absl::FailedPreconditionError(text);
    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__DESTROY:
      return absl::UnavailableError(absl::StrCat(where, ": the process ends"));
    case RD_KAFKA_RESP_ERR__FATAL: return status();
    default: return absl::UnavailableError(text);
  }
}

absl::Status KafkaProducer::status() const {
  char text[512] = "";
  if (rd_kafka_fatal_error(client_->handle(), text, sizeof(text)) == RD_KAFKA_RESP_ERR_NO_ERROR) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat(client_->name(), ": nothing is appended before this process is started again: ", text));
}

namespace {

class KafkaLog final : public ShardLog {
 public:
  KafkaLog(KafkaOptions options, std::shared_ptr<KafkaProducer> producer, int32_t partition)
      : options_(std::move(options)), producer_(std::move(producer)), partition_(partition) {}

  size_t most_record_bytes() const override { return limits::kMaxLogRecordBytes; }
  void Append(std::string record, Appended appended) override {
    producer_->Append(partition_, std::move(record), std::move(appended));
  }
  absl::StatusOr<LogOffset> End(const CallLimits& limits) const override;
  absl::StatusOr<std::unique_ptr<LogReader>> Read(LogOffset from) override {
    return KafkaReader::New(options_, partition_, from);
  }

 private:
  const KafkaOptions options_;
  const std::shared_ptr<KafkaProducer> producer_;
  const int32_t partition_;
};

absl::StatusOr<LogOffset> KafkaLog::End(const CallLimits& limits) const {
  const auto deadline =
      std::min(limits.deadline, steady_clock::now() + std::chrono::milliseconds(options_.append_ms));
  CallLimits bounded = limits;
  bounded.deadline = deadline;
  absl::Status why;
  while (true) {
    if (const absl::Status over = bounded.Check(); !over.ok()) return Instead(over, why);
    const absl::StatusOr<int64_t> end = producer_->client().EndOf(partition_, MsUntil(deadline, kAskMs));
    if (end.ok()) return static_cast<LogOffset>(*end);
    why = end.status();
    std::this_thread::sleep_for(kAskAgain);
  }
}

struct FreeMetadata {
  void operator()(const rd_kafka_metadata* metadata) const { rd_kafka_metadata_destroy(metadata); }
};

// OK when the topic has the partition; UNAVAILABLE when that is not known yet.
absl::Status CheckTopic(const rd_kafka_metadata_topic& topic, uint32_t partition, const std::string& name) {
  switch (topic.err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE: break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION: return absl::NotFoundError(absl::StrCat(name, " does not exist"));
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
      return absl::PermissionDeniedError(absl::StrCat(name, ": ", KafkaErrorText(topic.err)));
    default: return absl::UnavailableError(absl::StrCat(name, ": ", KafkaErrorText(topic.err)));
  }
  if (topic.partition_cnt <= 0) return absl::UnavailableError(absl::StrCat(name, " is being made"));
  if (partition < static_cast<uint32_t>(topic.partition_cnt)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(name, " has ", topic.partition_cnt, " partitions; the log of shard ",
                                          partition, " is partition ", partition));
}

absl::Status AskForTopic(const KafkaClient& client, uint32_t partition, int timeout_ms) {
  const rd_kafka_metadata* raw = nullptr;
  const rd_kafka_resp_err_t error = rd_kafka_metadata(client.handle(), 0, client.topic(), &raw, timeout_ms);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return absl::UnavailableError(absl::StrCat(client.name(), ": no broker answers: ", KafkaErrorText(error)));
  }
  const std::unique_ptr<const rd_kafka_metadata, FreeMetadata> metadata(raw);
  if (metadata->topic_cnt != 1) return absl::UnavailableError(absl::StrCat(client.name(), ": nothing is told of it"));
  return CheckTopic(metadata->topics[0], partition, client.name());
}

}  // namespace

KafkaLogs::KafkaLogs(KafkaOptions options, std::shared_ptr<KafkaProducer> producer)
    : options_(std::move(options)), producer_(std::move(producer)) {}

KafkaLogs::~KafkaLogs() = default;

absl::StatusOr<std::unique_ptr<KafkaLogs>> KafkaLogs::New(KafkaOptions options) {
  ASSIGN_OR_RETURN(std::shared_ptr<KafkaProducer> producer, KafkaProducer::New(options));
  return std::unique_ptr<KafkaLogs>(new KafkaLogs(std::move(options), std::move(producer)));
}

absl::Status KafkaLogs::Check(uint32_t partition, const CallLimits& limits) const {
  absl::Status why;
  while (true) {
    if (const absl::Status over = limits.Check(); !over.ok()) return Instead(over, why);
    why = AskForTopic(producer_->client(), partition, MsUntil(limits.deadline, kAskMs));
    if (!absl::IsUnavailable(why)) return why;
    std::this_thread::sleep_for(kAskAgain);
  }
}

std::unique_ptr<ShardLog> KafkaLogs::Open(uint32_t partition) {
  return std::make_unique<KafkaLog>(options_, producer_, static_cast<int32_t>(partition));
}

absl::Status KafkaLogs::status() const { return producer_->status(); }

}  // namespace mneme
