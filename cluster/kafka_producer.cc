// How a record is appended:
// 1. Append() hands it to librdkafka, and keeps its bytes in untold_; one that librdkafka does not take is put down to
//    be refused, so that nobody is told within his own call;
// 2. the broker that leads its partition, or librdkafka after append_ms, says what became of it, which the teller's
//    rd_kafka_poll() hands to Deliver();
// 3. Deliver() takes it out of untold_ and tells.
// librdkafka is called under the lock where it only puts something into a queue of its own.
#include "cluster/kafka_producer.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

using std::chrono::steady_clock;

constexpr int kPollMs = 100;
// How long librdkafka is given to hand back what it has, before it is ended.
constexpr std::chrono::milliseconds kHandBack{500};
constexpr int kHandBackPollMs = 10;
// A broker that was just started, or a topic that was just made: so long it may not be known.
constexpr std::chrono::seconds kUnknownFor{5};
// Between attempts to begin anew.
constexpr std::chrono::seconds kRest{1};

KafkaSettings ProducerSettings(const KafkaOptions& options) {
  return {{"acks", "all"},
          {"enable.idempotence", "true"},
          {"linger.ms", "1"},
          {"compression.type", "none"},
          {"message.max.bytes", absl::StrCat(limits::kMaxLogRecordBytes + limits::kLogFramingBytes)},
          {"delivery.timeout.ms", absl::StrCat(options.append_ms)},
          {"queue.buffering.max.kbytes", absl::StrCat(std::max<size_t>(1, options.most_queued_bytes / 1024))},
          {"queue.buffering.max.messages", absl::StrCat(limits::kMaxLogQueueRecords)}};
}

// OK while librdkafka's producer works.
absl::Status FatalErrorOf(const KafkaClient& client) {
  char text[512] = "";
  if (rd_kafka_fatal_error(client.handle(), text, sizeof(text)) == RD_KAFKA_RESP_ERR_NO_ERROR) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat(client.name(), ": what it has of the records is not known: ", text));
}

}  // namespace

KafkaProducer::KafkaProducer(const KafkaOptions& options) : options_(options), name_(NameOf(options.address)) {}

absl::StatusOr<std::unique_ptr<KafkaProducer>> KafkaProducer::New(const KafkaOptions& options) {
  std::unique_ptr<KafkaProducer> producer(new KafkaProducer(options));
  RETURN_IF_ERROR(producer->Open());
  producer->teller_ = std::thread([borrowed = producer.get()] { borrowed->Run(); });
  return producer;
}

KafkaProducer::~KafkaProducer() {
  if (!teller_.joinable()) return;  // New() failed
  {
    MutexLock lock(&mutex_);
    ending_ = true;
    if (reports_ != nullptr) rd_kafka_queue_yield(reports_);
  }
  woken_.NotifyAll();
  teller_.join();
}

void KafkaProducer::Append(int32_t partition, std::string record, ShardLog::Appended appended) {
  {
    MutexLock lock(&mutex_);
    if (record.size() > limits::kMaxLogRecordBytes) {
      Refuse({std::move(appended),
              absl::InvalidArgumentError(absl::StrCat("record has ", record.size(), " bytes; must have at most ",
                                                      limits::kMaxLogRecordBytes))});
    } else if (reports_ == nullptr) {
      Refuse({std::move(appended), closed_});
    } else {
      untold_.push_back({std::move(record), std::move(appended), partition, {}});
      Untold& untold = untold_.back();
      untold.place = std::prev(untold_.end());
      if (rd_kafka_produce(client_->topic(), partition, 0, untold.record.data(), untold.record.size(), nullptr, 0,
                           &untold) != 0) {
        const rd_kafka_resp_err_t error = rd_kafka_last_error();
        // Taken out before there may be no ram to say why: what throws is not told.
        Untold refused = std::move(untold);
        untold_.pop_back();
        absl::Status why = ErrorOf(error, refused);
        Heard(error, why);
        Refuse({std::move(refused.appended), std::move(why)});
      }
    }
  }
  woken_.NotifyAll();
}

void KafkaProducer::Refuse(Refused refused) {
  refused_.push_back(std::move(refused));
  if (reports_ != nullptr) rd_kafka_queue_yield(reports_);
}

void KafkaProducer::Heard(rd_kafka_resp_err_t error, const absl::Status& why) {
  const absl::StatusCode code = KafkaErrorCode(error);
  if (why.ok() || code == absl::StatusCode::kPermissionDenied) refusal_ = why;
  if (code != absl::StatusCode::kNotFound) {
    unknown_since_.reset();
    return;
  }
  const auto now = steady_clock::now();
  if (!unknown_since_.has_value()) unknown_since_ = now;
  if (now - *unknown_since_ >= kUnknownFor) refusal_ = why;
}

absl::Status KafkaProducer::status() const {
  MutexLock lock(&mutex_);
  return reports_ == nullptr ? closed_ : refusal_;
}

bool KafkaProducer::ending() const {
  MutexLock lock(&mutex_);
  return ending_;
}

void KafkaProducer::Run() {
  while (!ending()) {
    if (client_ != nullptr) {
      (void)rd_kafka_poll(client_->handle(), kPollMs);
      const absl::Status lost = FatalErrorOf(*client_);
      if (!lost.ok()) Close(lost);
    } else if (!Open().ok()) {
      Rest();
    }
    TellRefused();
  }
  if (client_ != nullptr) Close(absl::UnavailableError(absl::StrCat(name_, ": the process ends")));
  TellRefused();
}

void KafkaProducer::TellRefused() {
  std::vector<Refused> refused;
  absl::Status began;
  {
    MutexLock lock(&mutex_);
    refused.swap(refused_);
    if (!std::exchange(refusal_told_, !refusal_.ok())) began = refusal_;
  }
  if (!began.ok() && options_.events != nullptr) options_.events("log_refused", began.ToString());
  for (Refused& each : refused) each.appended(std::move(each.why));
}

void KafkaProducer::Rest() {
  MutexLock lock(&mutex_);
  (void)woken_.AwaitFor(&mutex_, kRest, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return ending_ || !refused_.empty();
  });
}

absl::Status KafkaProducer::Open() {
  absl::StatusOr<std::unique_ptr<KafkaClient>> client =
      KafkaClient::New(RD_KAFKA_PRODUCER, options_, ProducerSettings(options_),
                       [this](const rd_kafka_message_t& message) { Deliver(message); });
  RETURN_IF_ERROR(client.status());
  MutexLock lock(&mutex_);
  client_ = *std::move(client);
  reports_ = rd_kafka_queue_get_main(client_->handle());
  return absl::OkStatus();
}

void KafkaProducer::Close(const absl::Status& why) {
  if (options_.events != nullptr && !ending()) options_.events("kafka", std::string(why.message()));
  {
    MutexLock lock(&mutex_);
    rd_kafka_queue_destroy(std::exchange(reports_, nullptr));  // nothing more is appended
    closed_ = why;
  }
  (void)rd_kafka_purge(client_->handle(),
                       RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
  const auto until = steady_clock::now() + kHandBack;
  while (rd_kafka_outq_len(client_->handle()) > 0 && steady_clock::now() < until) {
    (void)rd_kafka_poll(client_->handle(), kHandBackPollMs);
  }
  client_.reset();
  std::list<Untold> left;
  {
    MutexLock lock(&mutex_);
    left.swap(untold_);
  }
  for (Untold& each : left) each.appended(why);
}

void KafkaProducer::Deliver(const rd_kafka_message_t& message) {
  std::list<Untold> told;
  absl::Status closed;
  {
    MutexLock lock(&mutex_);
    told.splice(told.begin(), untold_, static_cast<const Untold*>(message._private)->place);
    if (reports_ == nullptr) closed = closed_;
    const bool appended = message.err == RD_KAFKA_RESP_ERR_NO_ERROR;
    Heard(message.err, appended ? absl::OkStatus() : ErrorOf(message.err, told.front()));
  }
  const Untold& untold = told.front();
  if (message.err == RD_KAFKA_RESP_ERR_NO_ERROR && message.offset >= 0) {
    untold.appended(static_cast<LogOffset>(message.offset));
  } else if (message.err == RD_KAFKA_RESP_ERR_NO_ERROR) {
    // It was sent twice, and the broker no longer knows where the first one is.
    untold.appended(absl::UnavailableError(
        absl::StrCat(name_, " partition ", untold.partition, " has the record, but does not tell where")));
  } else {
    untold.appended(closed.ok() ? ErrorOf(message.err, untold) : closed);
  }
}

absl::Status KafkaProducer::ErrorOf(rd_kafka_resp_err_t error, const Untold& untold) const {
  const std::string where = absl::StrCat(name_, " partition ", untold.partition);
  const std::string text = absl::StrCat(where, ": ", KafkaErrorText(error));
  switch (error) {
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
      return WithReason(absl::ResourceExhaustedError(
                            absl::StrCat("records wait to be appended to ", name_, "; the bounds are ",
                                         options_.most_queued_bytes, " bytes and ", limits::kMaxLogQueueRecords)),
                        reason::kQueueFull);
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT: return absl::DeadlineExceededError(text);
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
      return absl::FailedPreconditionError(absl::StrCat(
          where, " does not take a record of ", untold.record.size(), " bytes; max.message.bytes of the topic must be ",
          limits::kMaxLogRecordBytes + limits::kLogFramingBytes, " at least"));
    // The caller's own rights are others. A topic that is not there may come back, and an earlier try have reached it.
    default:
      return KafkaErrorCode(error) == absl::StatusCode::kPermissionDenied ? absl::FailedPreconditionError(text)
                                                                          : absl::UnavailableError(text);
  }
}

}  // namespace mneme
