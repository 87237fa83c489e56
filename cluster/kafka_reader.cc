#include "cluster/kafka_reader.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

using std::chrono::steady_clock;

// How often the leader is looked for, and how long its answer is waited for.
constexpr std::chrono::seconds kLookEvery{1};
constexpr int kLookMs = 1000;
// A broker that was just started, or a topic that was just made: so long it may not be known.
constexpr std::chrono::seconds kUnknownFor{5};
// How often who may not read asks whether he may: longer than a fetch takes.
constexpr std::chrono::seconds kAskEvery{5};

KafkaSettings ReaderSettings() {
  return {{"enable.auto.commit", "false"},
          {"enable.auto.offset.store", "false"},
          {"auto.offset.reset", "error"},  // never on from elsewhere
          {"enable.partition.eof", "true"},  // says what is of no record at the end
          {"check.crcs", "true"},
          {"isolation.level", "read_uncommitted"},  // nobody writes in transactions, and none may hold back the end
          {"message.max.bytes", absl::StrCat(limits::kMaxLogRecordBytes + limits::kLogFramingBytes)},
          {"fetch.message.max.bytes", absl::StrCat(limits::kLogFetchBytes)},
          {"fetch.max.bytes", absl::StrCat(limits::kLogFetchBytes)},
          {"queued.max.messages.kbytes", absl::StrCat(limits::kLogReadAheadBytes / 1024)}};
}

int MsLeft(steady_clock::time_point start, std::chrono::milliseconds wait) {
  const auto gone = std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - start);
  return static_cast<int>(std::clamp<int64_t>((wait - gone).count(), 0, std::numeric_limits<int>::max()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogReader>> KafkaReader::New(const KafkaOptions& options, int32_t partition,
                                                            LogOffset from) {
  if (from > static_cast<LogOffset>(std::numeric_limits<int64_t>::max())) {
    return absl::OutOfRangeError(absl::StrCat("offset is ", from, "; must be below 2^63"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<KafkaClient> client,
                   KafkaClient::New(RD_KAFKA_CONSUMER, options, ReaderSettings()));
  if (rd_kafka_consume_start(client->topic(), partition, static_cast<int64_t>(from)) != 0) {
    return absl::UnavailableError(
        absl::StrCat(client->name(), " partition ", partition, ": ", KafkaErrorText(rd_kafka_last_error())));
  }
  std::unique_ptr<KafkaReader> reader(new KafkaReader(std::move(client), partition, from));
  reader->looker_ = std::thread([borrowed = reader.get()] { borrowed->Look(); });
  return std::unique_ptr<LogReader>(std::move(reader));
}

KafkaReader::~KafkaReader() {
  {
    MutexLock lock(&mutex_);
    ending_ = true;
  }
  ends_.NotifyAll();
  if (looker_.joinable()) looker_.join();
  held_.reset();
  (void)rd_kafka_consume_stop(client_->topic(), partition_);
}

absl::Status KafkaReader::Next(std::chrono::milliseconds wait, size_t most_bytes, std::vector<LoggedBytes>& records) {
  if (!failed_.ok()) return failed_;
  (void)rd_kafka_poll(client_->handle(), 0);  // what else librdkafka wants done: tokens of OAUTHBEARER
  const size_t before = records.size();
  size_t bytes = 0;
  const auto start = steady_clock::now();
  while (true) {
    const bool any = records.size() != before;
    if (held_ == nullptr) held_.reset(rd_kafka_consume(client_->topic(), partition_, any ? 0 : MsLeft(start, wait)));
    if (held_ == nullptr) break;
    if (held_->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      denied_ = absl::OkStatus();
      next_ = std::max(next_, static_cast<LogOffset>(held_->offset));
      held_.reset();
      continue;
    }
    if (held_->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      if (any) return absl::OkStatus();
      const Message error = std::move(held_);
      absl::Status status = ErrorOf(*error);
      if (absl::IsPermissionDenied(status)) {
        denied_ = status;
        ask_again_ = steady_clock::now() + kAskEvery;
      } else if (!absl::IsUnavailable(status)) {
        failed_ = status;
      }
      return status;
    }
    if (any && bytes + held_->len > most_bytes) return absl::OkStatus();
    const Message message = std::move(held_);
    bytes += message->len;
    denied_ = absl::OkStatus();
    next_ = static_cast<LogOffset>(message->offset) + 1;
    records.push_back({static_cast<LogOffset>(message->offset),
                       std::string(static_cast<const char*>(message->payload), message->len)});
  }
  if (records.size() != before) return absl::OkStatus();
  if (!denied_.ok()) {
    AskAgain();
    return denied_;
  }
  MutexLock lock(&mutex_);
  return reach_;
}

void KafkaReader::AskAgain() {
  const auto now = steady_clock::now();
  if (now < ask_again_) return;
  ask_again_ = now + kAskEvery;
  (void)rd_kafka_seek(client_->topic(), partition_, static_cast<int64_t>(next_), /*timeout_ms=*/0);
}

absl::Status KafkaReader::ErrorOf(const rd_kafka_message_t& message) const {
  const std::string where = absl::StrCat(client_->name(), " partition ", partition_, " at offset ", next_, ": ");
  const char* const given = rd_kafka_message_errstr(&message);
  const std::string text = absl::StrCat(where, given != nullptr ? given : rd_kafka_err2str(message.err));
  switch (message.err) {
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE: return absl::OutOfRangeError(text);
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION: return absl::DataLossError(text);
    // Of librdkafka itself: the record is longer than what this program writes.
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE: return absl::FailedPreconditionError(text);
    case RD_KAFKA_RESP_ERR__FATAL: return absl::InternalError(text);
    // That there is no such topic is for the leader to say, who is asked again and again.
    default:
      return KafkaErrorCode(message.err) == absl::StatusCode::kPermissionDenied ? absl::PermissionDeniedError(text)
                                                                               : absl::UnavailableError(text);
  }
}

void KafkaReader::Look() {
  steady_clock::time_point known = steady_clock::now();
  while (true) {
    const absl::StatusOr<int64_t> end = client_->EndOf(partition_, kLookMs);
    if (end.ok()) seen_end_.store(static_cast<LogOffset>(*end), std::memory_order_relaxed);
    absl::Status reach = end.status();
    if (!absl::IsNotFound(reach)) {
      known = steady_clock::now();
    } else if (steady_clock::now() - known < kUnknownFor) {
      reach = absl::UnavailableError(reach.message());
    }
    MutexLock lock(&mutex_);
    reach_ = reach;
    const auto ending = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ending_; };
    if (ends_.AwaitFor(&mutex_, kLookEvery, ending)) return;
  }
}

}  // namespace mneme
