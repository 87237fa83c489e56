// What an operator may say of the log of all shards, and what he is told when he says something else.
#include "cluster/kafka_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "common/limits.h"

namespace mneme {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

std::string AddressError(std::string_view address) {
  const auto parsed = ParseKafkaAddress(address);
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << address;
  return std::string(parsed.status().message());
}

std::string SettingsError(std::string_view text) {
  const auto parsed = ParseKafkaSettings(text);
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(parsed.status().message());
}

TEST(KafkaSettingsTest, AnAddressNamesBrokersAndATopic) {
  const auto one = ParseKafkaAddress("kafka://127.0.0.1:9092/mneme");
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->brokers, "127.0.0.1:9092");
  EXPECT_EQ(one->topic, "mneme");
  const auto three = ParseKafkaAddress("kafka://kafka-0:9092,b.example.org:65535,[2001:db8::1%eth0]:1/a.b_c-9");
  ASSERT_TRUE(three.ok()) << three.status();
  EXPECT_EQ(three->brokers, "kafka-0:9092,b.example.org:65535,[2001:db8::1%eth0]:1");
  EXPECT_EQ(three->topic, "a.b_c-9");
  EXPECT_TRUE(ParseKafkaAddress("kafka://a:1/" + std::string(limits::kMaxTopicNameBytes - 10, 't')).ok())
      << "and -catalogue";
}

TEST(KafkaSettingsTest, AnotherAddressIsToldWhatItMustBe) {
  for (const char* address : {"", "kafka", "http://a:1/t", "kafka:/a:1/t", "kafka://", "kafka://a:1", "kafka:///t",
                              "kafka://a:1/", "kafka://a:1/t/u", "kafka://a:1/t u", "kafka://a:1/.", "kafka://a:1/..",
                              "kafka://a/t", "kafka://a:/t", "kafka://a:0/t", "kafka://a:65536/t", "kafka://a:+1/t",
                              "kafka://a:1,/t", "kafka://,a:1/t", "kafka://a:1 ,b:2/t", "kafka://:1/t",
                              "kafka://a:b:1/t", "kafka://[a:1/t", "kafka://[]:1/t"}) {
    EXPECT_THAT(AddressError(address), AllOf(HasSubstr(absl::StrCat("is \"", address, "\"; must be kafka://HOST:PORT")),
                                             HasSubstr("/TOPIC")));
  }
  EXPECT_THAT(AddressError("kafka://a:1,b:99999/t"), HasSubstr("\"b:99999\" is no HOST:PORT"));
  EXPECT_THAT(AddressError("kafka://a:1/" + std::string(limits::kMaxTopicNameBytes - 9, 't')), HasSubstr("239"));
  std::string many = "kafka://a:1";
  for (size_t i = 0; i < limits::kMaxLogBrokers; ++i) many += ",a:1";
  EXPECT_THAT(AddressError(many + "/t"), HasSubstr("has 65 brokers; must have at most 64"));
}

TEST(KafkaSettingsTest, AnAddressWithAPasswordIsNotRepeated) {
  EXPECT_THAT(AddressError("kafka://mneme:hunter2@a:1/t"),
              AllOf(HasSubstr("sasl.password"), Not(HasSubstr("hunter2"))));
}

TEST(KafkaSettingsTest, SettingsAreNamesAndValuesInTheirOrder) {
  const auto settings = ParseKafkaSettings(
      "# how this process is let in\n"
      "security.protocol = SASL_SSL\n"
      "\n"
      "sasl.mechanism=SCRAM-SHA-512\r\n"
      "  sasl.password=a=b # c\n"
      "\t# ssl.ca.location=/nowhere\n"
      "socket.timeout.ms=5000");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_THAT(*settings,
              ElementsAre(Pair("security.protocol", "SASL_SSL"), Pair("sasl.mechanism", "SCRAM-SHA-512"),
                          Pair("sasl.password", "a=b # c"), Pair("socket.timeout.ms", "5000")));
  EXPECT_TRUE(ParseKafkaSettings("")->empty());
}

TEST(KafkaSettingsTest, WhatTheProgramDecidesIsRefused) {
  for (const char* name :
       {"acks", "request.required.acks", "enable.idempotence", "enable.gapless.guarantee", "transactional.id",
        "max.in.flight", "max.in.flight.requests.per.connection", "retries", "message.send.max.retries",
        "delivery.timeout.ms", "message.timeout.ms", "request.timeout.ms", "linger.ms", "queue.buffering.max.ms",
        "queue.buffering.max.messages", "queue.buffering.max.kbytes", "queuing.strategy", "message.max.bytes",
        "receive.message.max.bytes", "message.copy.max.bytes", "batch.size", "compression.type", "compression.codec",
        "partitioner", "bootstrap.servers", "metadata.broker.list", "group.id", "enable.auto.commit",
        "auto.commit.enable", "enable.auto.offset.store", "auto.offset.reset", "isolation.level", "check.crcs",
        "enable.partition.eof", "fetch.max.bytes", "fetch.message.max.bytes", "max.partition.fetch.bytes",
        "queued.max.messages.kbytes", "queued.min.messages", "allow.auto.create.topics", "plugin.library.paths",
        "interceptor", "test.mock.num.brokers", "topic.blacklist", "client.rack", "ssl.", "sasl", "", "ssl",
        "SSL.ca.location", "opaque", "log_level", "statistics.interval.ms"}) {
    EXPECT_THAT(SettingsError(absl::StrCat("debug=all\n", name, "=1")),
                AllOf(HasSubstr(absl::StrCat("line 2 sets \"", name, "\"; must be one of security.protocol, ssl.*")),
                      HasSubstr("debug")));
  }
}

TEST(KafkaSettingsTest, ALineThatIsNoneIsNamedAndNoValueIsRepeated) {
  EXPECT_EQ(SettingsError("\nhunter2\n"), "line 2 has no \"=\"; must be NAME=VALUE");
  EXPECT_EQ(SettingsError("sasl.username=a\nsasl.password=\n"), "line 2 gives sasl.password no value");
  EXPECT_EQ(SettingsError("sasl.password=hunter2\nsasl.password=hunter3\n"), "line 2 sets sasl.password again");
  EXPECT_EQ(SettingsError(std::string("sasl.password=hun\0ter2", 22)),
            "line 1 gives sasl.password a value with a zero byte");
  EXPECT_THAT(SettingsError("acks=hunter2"), Not(HasSubstr("hunter2")));
  EXPECT_THAT(SettingsError(std::string(1000, 's') + "=1"), AllOf(HasSubstr(std::string(64, 's') + "..\""),
                                                                  Not(HasSubstr(std::string(65, 's')))));
  EXPECT_THAT(SettingsError(std::string(limits::kMaxLogSettingsBytes + 1, '#')),
              HasSubstr("has 65537 bytes; must have at most 65536"));
}

TEST(KafkaSettingsTest, SecretsAreKnown) {
  for (const char* name : {"sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem",
                           "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret", "ssl.certificate.pem"}) {
    EXPECT_TRUE(IsSecretKafkaSetting(name)) << name;
  }
  for (const char* name : {"security.protocol", "ssl.ca.location", "sasl.username", "socket.timeout.ms"}) {
    EXPECT_FALSE(IsSecretKafkaSetting(name)) << name;
  }
}

}  // namespace
}  // namespace mneme
