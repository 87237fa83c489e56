// The log of a shard in Kafka does what every log does, and says what shard_log.h says when brokers do not.
#include "cluster/kafka_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "common/error_reason.h"
#include "common/mutex.h"
#include "tests/cluster/kafka_fixture.h"
#include "tests/engine/shard_log_conformance.h"

namespace mneme::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::unique_ptr<KafkaLogs> MakeLogs(const KafkaOptions& options) {
  absl::StatusOr<std::unique_ptr<KafkaLogs>> logs = KafkaLogs::New(options);
  EXPECT_TRUE(logs.ok()) << logs.status();
  return *std::move(logs);
}

CallLimits Within(milliseconds time) {
  CallLimits limits;
  limits.deadline = steady_clock::now() + time;
  return limits;
}

class MockLogUnderTest final : public LogUnderTest {
 public:
  MockLogUnderTest() : log_(MakeLogs(kafka_.Options())->Open(0)) {}

  ShardLog& log() override { return *log_; }
  LogOffset DropFront() override {
    for (int i = 0; i < 8; ++i) (void)AppendAndWait(*log_, std::string(1024 * 1024, 'x'));
    return static_cast<LogOffset>(kafka_.admin().FirstOf("log"));
  }

 private:
  MockKafka kafka_;
  const std::unique_ptr<ShardLog> log_;
};

class BrokerLogUnderTest final : public LogUnderTest {
 public:
  explicit BrokerLogUnderTest(const std::string& brokers)
      : topic_(absl::StrCat("test-", std::random_device{}(), "-", std::random_device{}())), admin_(brokers) {
    admin_.MakeTopic(topic_, 2);
    for (const absl::string_view broker : absl::StrSplit(brokers, ',')) {
      KafkaAdmin(std::string(broker)).AwaitLeader(topic_);
    }
    KafkaOptions options;
    options.address = {brokers, topic_};
    const std::unique_ptr<KafkaLogs> logs = MakeLogs(options);
    // A broker tells of it once it has heard of it.
    absl::Status there;
    do {
      there = logs->Check(1, Within(kPatience));
    } while (absl::IsNotFound(there));
    EXPECT_TRUE(there.ok()) << there;
    EXPECT_EQ(logs->Check(2, Within(kPatience)).code(), absl::StatusCode::kNotFound);
    options.address.topic += "-none";
    for (int i = 0; i < 2; ++i) {
      const absl::Status none = MakeLogs(options)->Check(0, Within(kPatience));
      EXPECT_EQ(none.code(), absl::StatusCode::kNotFound) << "asking makes none";
    }
    log_ = logs->Open(0);
  }

  ShardLog& log() override { return *log_; }
  LogOffset DropFront() override {
    for (int i = 0; i < 5; ++i) (void)AppendAndWait(*log_, "old");
    admin_.DropBefore(topic_, 3);
    return static_cast<LogOffset>(admin_.FirstOf(topic_));
  }

 private:
  const std::string topic_;
  KafkaAdmin admin_;
  std::unique_ptr<ShardLog> log_;
};

std::vector<LogMaker> Makers() {
  std::vector<LogMaker> makers = {{"Mock", [] { return std::make_unique<MockLogUnderTest>(); }}};
  if (const char* const brokers = std::getenv("MNEME_TEST_KAFKA"); brokers != nullptr) {
    makers.push_back({"Broker", [brokers] { return std::make_unique<BrokerLogUnderTest>(brokers); }});
  }
  return makers;
}

INSTANTIATE_TEST_SUITE_P(Kafka, ShardLogConformance, ::testing::ValuesIn(Makers()), NameOf);

// An append that is waited for later.
std::future<absl::StatusOr<LogOffset>> Append(ShardLog& log, std::string record) {
  auto told = std::make_shared<std::promise<absl::StatusOr<LogOffset>>>();
  std::future<absl::StatusOr<LogOffset>> result = told->get_future();
  log.Append(std::move(record), [told](absl::StatusOr<LogOffset> offset) { told->set_value(std::move(offset)); });
  return result;
}

// What the reader says while nothing comes, once it is of `code`.
absl::Status Says(LogReader& reader, absl::StatusCode code) {
  absl::Status status;
  std::vector<LoggedBytes> records;
  const auto end = steady_clock::now() + kPatience;
  do {
    status = reader.Next(milliseconds(20), kAnyBytes, records);
  } while (status.code() != code && steady_clock::now() < end);
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_TRUE(records.empty());
  return status;
}

TEST(KafkaLogTest, WhatTheBrokersDoNotHaveIsNamed) {
  MockKafka kafka;
  const std::unique_ptr<KafkaLogs> logs = MakeLogs(kafka.Options());
  EXPECT_TRUE(logs->Check(0, Within(kPatience)).ok());
  EXPECT_TRUE(logs->Check(1, Within(kPatience)).ok());
  const absl::Status partition = logs->Check(7, Within(kPatience));
  EXPECT_EQ(partition.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(partition.message()),
              AllOf(HasSubstr("topic \"log\""), HasSubstr("has 2 partitions"), HasSubstr("partition 7")));
  kafka.LackTopic("nobodys");
  const std::unique_ptr<KafkaLogs> nobodys = MakeLogs(kafka.Options("nobodys"));
  const absl::Status topic = nobodys->Check(0, Within(kPatience));
  EXPECT_EQ(topic.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(topic.message()), HasSubstr("topic \"nobodys\""));
}

TEST(KafkaLogTest, BrokersThatDoNotAnswerAreUnavailable) {
  Mutex mutex;
  std::vector<std::string> lines;
  KafkaOptions options;
  options.address = {"127.0.0.1:1", "log"};  // nobody may listen there
  options.events = [&](std::string_view event, std::string_view detail) {
    MutexLock lock(&mutex);
    lines.push_back(absl::StrCat(std::string(event), " ", std::string(detail)));
  };
  const auto start = steady_clock::now();
  {
    const std::unique_ptr<KafkaLogs> logs = MakeLogs(options);
    const absl::Status there = logs->Check(0, Within(milliseconds(300)));
    EXPECT_EQ(there.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(there.message()), HasSubstr("topic \"log\" at 127.0.0.1:1"));
    const std::unique_ptr<ShardLog> log = logs->Open(3);
    const absl::Status end = log->End(Within(milliseconds(300))).status();
    EXPECT_EQ(end.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(end.message()), HasSubstr("topic \"log\" at 127.0.0.1:1 partition 3"));
    (void)Says(**log->Read(0), absl::StatusCode::kUnavailable);
  }
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(8));
  MutexLock lock(&mutex);
  EXPECT_THAT(lines, ::testing::Contains(AllOf(HasSubstr("kafka "), HasSubstr("127.0.0.1:1"))));
}

TEST(KafkaLogTest, EachShardHasALogOfItsOwn) {
  const MockKafka kafka(3);
  const std::unique_ptr<KafkaLogs> logs = MakeLogs(kafka.Options());
  const std::unique_ptr<ShardLog> first = logs->Open(0), second = logs->Open(1);
  ASSERT_TRUE(AppendAndWait(*first, "first").ok());
  ASSERT_TRUE(AppendAndWait(*second, "second").ok());
  EXPECT_EQ(*first->End({}), 1U);
  EXPECT_EQ(Take(**first->Read(0), 1).front().bytes, "first");
  EXPECT_EQ(Take(**second->Read(0), 1).front().bytes, "second");
}

TEST(KafkaLogTest, ALogOutlivesItsClusterAndAReaderItsLog) {
  const MockKafka kafka;
  std::unique_ptr<ShardLog> log = MakeLogs(kafka.Options())->Open(0);
  ASSERT_TRUE(AppendAndWait(*log, "one").ok());
  const std::unique_ptr<LogReader> reader = *log->Read(0);
  log = nullptr;
  EXPECT_EQ(Take(*reader, 1).front().bytes, "one");
}

TEST(KafkaLogTest, RecordsWaitForBrokersThatAreAwayAndKeepTheirOrder) {
  MockKafka kafka;
  const std::unique_ptr<ShardLog> log = MakeLogs(kafka.Options())->Open(0);
  ASSERT_TRUE(AppendAndWait(*log, "before").ok());
  const std::unique_ptr<LogReader> reader = *log->Read(1);
  (void)Says(*reader, absl::StatusCode::kOk);
  kafka.SetDown();
  std::vector<std::future<absl::StatusOr<LogOffset>>> told;
  for (int i = 0; i < 10; ++i) told.push_back(Append(*log, absl::StrCat(i)));
  const absl::Status away = Says(*reader, absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(away.message()), HasSubstr("topic \"log\""));
  EXPECT_EQ(told.front().wait_for(milliseconds(0)), std::future_status::timeout);
  kafka.SetUp();
  for (size_t i = 0; i < told.size(); ++i) EXPECT_EQ(*told[i].get(), i + 1);
  const std::vector<LoggedBytes> records = Take(*reader, 10);
  for (size_t i = 0; i < records.size(); ++i) EXPECT_EQ(records[i].bytes, absl::StrCat(i));
  (void)Says(*reader, absl::StatusCode::kOk);
}

TEST(KafkaLogTest, AnAppendIsGivenUpWhenItsTimeIsOver) {
  MockKafka kafka;
  KafkaOptions options = kafka.Options();
  options.append_ms = 500;
  const std::unique_ptr<KafkaLogs> logs = MakeLogs(options);
  const std::unique_ptr<ShardLog> log = logs->Open(0);
  ASSERT_TRUE(AppendAndWait(*log, "before").ok());
  kafka.SetDown();
  const auto start = steady_clock::now();
  const absl::Status late = AppendAndWait(*log, "lost").status();
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded) << late;
  EXPECT_THAT(std::string(late.message()), HasSubstr("topic \"log\""));
  EXPECT_GE(steady_clock::now() - start, milliseconds(400));
  EXPECT_LT(steady_clock::now() - start, kPatience / 2);
  kafka.SetUp();
  absl::StatusOr<LogOffset> after = late;
  for (int i = 0; i < 20 && !after.ok(); ++i) after = AppendAndWait(*log, "after");
  EXPECT_TRUE(after.ok()) << after.status();
  EXPECT_TRUE(logs->status().ok()) << logs->status();
}

TEST(KafkaLogTest, WhatABrokerRefusesForAWhileIsSentAgain) {
  MockKafka kafka;
  const std::unique_ptr<ShardLog> log = MakeLogs(kafka.Options())->Open(0);
  for (const rd_kafka_resp_err_t error :
       {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR__TRANSPORT}) {
    kafka.Fail(KafkaRequest::kProduce, {error, error});
    const absl::StatusOr<LogOffset> offset = AppendAndWait(*log, rd_kafka_err2name(error));
    EXPECT_TRUE(offset.ok()) << offset.status();
  }
  const std::vector<LoggedBytes> records = Take(**log->Read(0), 5);
  EXPECT_EQ(records[0].bytes, "NOT_ENOUGH_REPLICAS");
  EXPECT_EQ(records[4].bytes, "_TRANSPORT");
  EXPECT_EQ(*log->End({}), 5U) << "nothing twice";
}

TEST(KafkaLogTest, TooFewReplicasForLongIsADeadline) {
  MockKafka kafka;
  KafkaOptions options = kafka.Options();
  options.append_ms = 500;
  const std::unique_ptr<ShardLog> log = MakeLogs(options)->Open(0);
  kafka.Fail(KafkaRequest::kProduce,
             std::vector<rd_kafka_resp_err_t>(1000, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS));
  const absl::Status late = AppendAndWait(*log, "x").status();
  EXPECT_EQ(late.code(), absl::StatusCode::kDeadlineExceeded) << late;
  kafka.FailNoMore(KafkaRequest::kProduce);
  EXPECT_EQ(*log->End({}), 0U);
}

TEST(KafkaLogTest, ATopicThatTakesNoLongRecordsSaysWhatItMustTake) {
  MockKafka kafka;
  const std::unique_ptr<ShardLog> log = MakeLogs(kafka.Options())->Open(0);
  kafka.Fail(KafkaRequest::kProduce, {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE});
  const absl::Status refused = AppendAndWait(*log, std::string(2'000'000, 'x')).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("topic \"log\""), HasSubstr("2000000 bytes"), HasSubstr("max.message.bytes"),
                    HasSubstr("8454144")));
  EXPECT_TRUE(AppendAndWait(*log, "short").ok());
}

TEST(KafkaLogTest, WhoMayNotAppendIsToldSoAndTheLogsSayItUntilHeMay) {
  MockKafka kafka;
  KafkaOptions options = kafka.Options();
  std::promise<std::string> event;
  options.events = [&event](std::string_view name, std::string_view detail) {
    if (name == "log_refused") event.set_value(std::string(detail));
  };
  const std::unique_ptr<KafkaLogs> logs = MakeLogs(options);
  const std::unique_ptr<ShardLog> log = logs->Open(0);
  ASSERT_TRUE(AppendAndWait(*log, "before").ok());
  kafka.Fail(KafkaRequest::kProduce, {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED});
  const absl::Status refused = AppendAndWait(*log, "x").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_EQ(logs->status(), refused);
  std::future<std::string> told = event.get_future();
  ASSERT_EQ(told.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(told.get(), refused.ToString());
  absl::StatusOr<LogOffset> after = refused;
  const auto end = steady_clock::now() + kPatience;
  while (!after.ok() && steady_clock::now() < end) after = AppendAndWait(*log, "after");
  EXPECT_TRUE(after.ok()) << after.status();
  EXPECT_TRUE(logs->status().ok()) << logs->status();
}

TEST(KafkaLogTest, ATopicThatIsUnknownForAWhileIsAwayAndOneThatStaysSoIsSaidToBe) {
  MockKafka kafka;
  KafkaOptions options = kafka.Options();
  options.settings.emplace_back("topic.metadata.refresh.interval.ms", "50");
  const std::unique_ptr<KafkaLogs> logs = MakeLogs(options);
  const std::unique_ptr<ShardLog> log = logs->Open(0);
  ASSERT_TRUE(AppendAndWait(*log, "before").ok());
  kafka.SetTopicError("log", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
  const auto lost = steady_clock::now();
  absl::Status said;
  while (said.ok() && steady_clock::now() < lost + kPatience) {
    const absl::Status unknown = AppendAndWait(*log, "x").status();
    if (!unknown.ok()) EXPECT_EQ(unknown.code(), absl::StatusCode::kUnavailable) << unknown;
    said = logs->status();
    std::this_thread::sleep_for(milliseconds(50));
  }
  ASSERT_EQ(said.code(), absl::StatusCode::kUnavailable) << said;
  EXPECT_GT(steady_clock::now() - lost, std::chrono::seconds(4)) << "as a broker says that was just started";
  kafka.SetTopicError("log", RD_KAFKA_RESP_ERR_NO_ERROR);
  absl::StatusOr<LogOffset> after = said;
  const auto end = steady_clock::now() + kPatience;
  while (!after.ok() && steady_clock::now() < end) after = AppendAndWait(*log, "after");
  EXPECT_TRUE(after.ok()) << after.status();
  EXPECT_TRUE(logs->status().ok()) << logs->status();
}

TEST(KafkaLogTest, WhoMayNotReadIsToldSoUntilHeMay) {
  MockKafka kafka;
  const std::unique_ptr<ShardLog> log = MakeLogs(kafka.Options())->Open(0);
  const std::unique_ptr<LogReader> reader = *log->Read(0);
  kafka.Fail(KafkaRequest::kFetch,
             std::vector<rd_kafka_resp_err_t>(1000, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED));
  for (int again = 0; again < 3; ++again) {
    const absl::Status denied = Says(*reader, absl::StatusCode::kPermissionDenied);
    EXPECT_THAT(std::string(denied.message()), HasSubstr("topic \"log\""));
  }
  kafka.FailNoMore(KafkaRequest::kFetch);
  (void)Says(*reader, absl::StatusCode::kOk);  // though no record comes
  ASSERT_TRUE(AppendAndWait(*log, "x").ok());
  std::vector<LoggedBytes> records;
  const auto end = steady_clock::now() + kPatience;
  while (records.empty() && steady_clock::now() < end) (void)reader->Next(milliseconds(20), kAnyBytes, records);
  ASSERT_EQ(records.size(), 1U);
}

// What the log says when it is asked where it ends, once it is of `code`.
absl::Status EndSays(const ShardLog& log, absl::StatusCode code) {
  absl::Status status;
  const auto end = steady_clock::now() + kPatience;
  do {
    status = log.End(Within(milliseconds(500))).status();
  } while (status.code() != code && steady_clock::now() < end);
  EXPECT_EQ(status.code(), code) << status;
  return status;
}

TEST(KafkaLogTest, WhoMayNotAskWhereALogEndsIsToldSo) {
  MockKafka kafka;
  const std::unique_ptr<ShardLog> log = MakeLogs(kafka.Options())->Open(0);
  ASSERT_TRUE(AppendAndWait(*log, "x").ok());
  kafka.Fail(KafkaRequest::kListOffsets,
             std::vector<rd_kafka_resp_err_t>(1000, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED));
  (void)EndSays(*log, absl::StatusCode::kPermissionDenied);
  kafka.FailNoMore(KafkaRequest::kListOffsets);
  EXPECT_EQ(*log->End(Within(kPatience)), 1U);
}

TEST(KafkaLogTest, ALogThatIsNotThereIsToldApartFromOneThatIsNotReached) {
  MockKafka kafka;
  kafka.LackTopic("nobodys");
  const std::unique_ptr<ShardLog> log = MakeLogs(kafka.Options("nobodys"))->Open(0);
  const absl::Status end = EndSays(*log, absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(end.message()), HasSubstr("topic \"nobodys\""));
  (void)Says(**log->Read(0), absl::StatusCode::kNotFound);
}

TEST(KafkaLogTest, RecordsBeyondTheBoundAreRefused) {
  MockKafka kafka;
  kafka.SetDown();
  KafkaOptions options = kafka.Options();
  options.most_queued_bytes = 1024 * 1024;
  std::vector<std::future<absl::StatusOr<LogOffset>>> told;
  {
    const std::unique_ptr<ShardLog> log = MakeLogs(options)->Open(0);
    for (int i = 0; i < 20; ++i) told.push_back(Append(*log, std::string(100'000, 'x')));
    for (size_t i = 10; i < told.size(); ++i) {
      const absl::Status refused = told[i].get().status();
      ASSERT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << i << " " << refused;
      EXPECT_EQ(ReasonOf(refused), reason::kQueueFull);
      EXPECT_THAT(std::string(refused.message()), HasSubstr("1048576"));
    }
  }
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(told[i].get().status().code(), absl::StatusCode::kUnavailable) << i;
}

TEST(KafkaLogTest, WhatWaitsIsToldAtOnceThatTheProcessEnds) {
  MockKafka kafka;
  auto log = MakeLogs(kafka.Options())->Open(0);
  ASSERT_TRUE(AppendAndWait(*log, "before").ok());
  const std::unique_ptr<LogReader> reader = *log->Read(0);
  kafka.SetDown();
  std::vector<std::future<absl::StatusOr<LogOffset>>> told;
  for (int i = 0; i < 100; ++i) told.push_back(Append(*log, "waits"));
  const auto start = steady_clock::now();
  log = nullptr;
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(3));
  for (auto& each : told) {
    ASSERT_EQ(each.wait_for(milliseconds(0)), std::future_status::ready);
    const absl::Status status = each.get().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("the process ends"));
  }
}

TEST(KafkaLogTest, AProducerThatLostTrackIsReplaced) {
  MockKafka kafka;
  Mutex mutex;
  std::vector<std::string> lines;
  KafkaOptions options = kafka.Options();
  options.events = [&](std::string_view, std::string_view detail) {
    MutexLock lock(&mutex);
    lines.emplace_back(detail);
  };
  const std::unique_ptr<KafkaLogs> logs = MakeLogs(options);
  const std::unique_ptr<ShardLog> log = logs->Open(0);
  ASSERT_TRUE(AppendAndWait(*log, "before").ok());
  EXPECT_TRUE(logs->status().ok());
  kafka.Fail(KafkaRequest::kProduce, {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER});
  const absl::Status lost = AppendAndWait(*log, "lost").status();
  EXPECT_EQ(lost.code(), absl::StatusCode::kUnavailable) << lost;
  absl::StatusOr<LogOffset> after = lost;
  const auto end = steady_clock::now() + kPatience;
  while (absl::IsUnavailable(after.status()) && steady_clock::now() < end) after = AppendAndWait(*log, "after");
  ASSERT_TRUE(after.ok()) << after.status();
  EXPECT_EQ(*after, 1U);
  EXPECT_TRUE(logs->status().ok());
  EXPECT_EQ(Take(**log->Read(1), 1).front().bytes, "after");
  MutexLock lock(&mutex);
  EXPECT_THAT(lines, ::testing::Contains(HasSubstr("what it has of the records is not known")));
}

TEST(KafkaLogTest, AppendersAndReadersFollowTheLeader) {
  MockKafka kafka(3);
  const std::unique_ptr<ShardLog> log = MakeLogs(kafka.Options())->Open(0);
  const std::unique_ptr<LogReader> reader = *log->Read(0);
  size_t appended = 0;
  for (const int leader : {1, 2, 3, 1}) {
    kafka.LeadFrom(leader);
    for (int i = 0; i < 20; ++i) {
      const absl::StatusOr<LogOffset> offset = AppendAndWait(*log, absl::StrCat(appended));
      ASSERT_TRUE(offset.ok()) << offset.status();
      EXPECT_EQ(*offset, appended);
      ++appended;
    }
  }
  const std::vector<LoggedBytes> records = Take(*reader, appended);
  for (size_t i = 0; i < records.size(); ++i) EXPECT_EQ(records[i].bytes, absl::StrCat(i));
}

TEST(KafkaLogTest, AReaderGoesOnAfterErrorsOfBrokers) {
  MockKafka kafka;
  const std::unique_ptr<ShardLog> log = MakeLogs(kafka.Options())->Open(0);
  kafka.Fail(KafkaRequest::kFetch,
             {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR_UNKNOWN,
              RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE});
  const std::unique_ptr<LogReader> reader = *log->Read(0);
  ASSERT_TRUE(AppendAndWait(*log, "x").ok());
  EXPECT_EQ(Take(*reader, 1).front().bytes, "x");
}

TEST(KafkaLogTest, SettingsThatLibrdkafkaDoesNotTakeAreNamedAndSecretsAreNot) {
  KafkaOptions options;
  options.address = {"127.0.0.1:1", "log"};
  options.settings = {{"socket.timeout.ms", "soon"}};
  absl::Status status = KafkaLogs::New(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("sets socket.timeout.ms to \"soon\": "));
  options.settings = {{"security.protocol", "ssl"}, {"ssl.key.pem", "hunter2"}, {"ssl.key.password", "hunter3"}};
  status = KafkaLogs::New(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), ::testing::Not(HasSubstr("hunter")));
}

}  // namespace
}  // namespace mneme::testing
