// What says where a store of objects is, and what such a store answers.
#include "cluster/s3_answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "cluster/s3_settings.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(S3SettingsTest, AnAddressIsABucketAndAPrefix) {
  const S3Address plain = ParseS3Address("s3://backups").value();
  EXPECT_EQ(plain.bucket, "backups");
  EXPECT_EQ(plain.prefix, "");
  const S3Address deep = ParseS3Address("s3://my-backups.v2/mneme/east/").value();
  EXPECT_EQ(deep.bucket, "my-backups.v2");
  EXPECT_EQ(deep.prefix, "mneme/east");
  for (const std::string_view bad : {"", "backups", "s3://", "s3:///p", "http://backups", "s3://a b", "s3://a/../b",
                                     "s3://a/b?c", "s3://a//b", "s3://a/./b", "s3://a/b%20"}) {
    const absl::Status refused = ParseS3Address(bad).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("must be s3://BUCKET")) << bad;
  }
}

TEST(S3SettingsTest, AFileHasNamesAndValuesAndNoValueIsRepeated) {
  const auto settings = ParseS3Settings(
      "# a store\n\nendpoint = https://store:9000/\naccess-key=AK\nsecret-key = hush=hush \nregion=eu-1\n");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->endpoint, "https://store:9000");
  EXPECT_EQ(settings->secret_key, "hush=hush");
  EXPECT_EQ(settings->region, "eu-1");
  EXPECT_EQ(ParseS3Settings("endpoint=http://a\naccess-key=b\nsecret-key=c")->region, "us-east-1");
  for (const std::string_view bad :
       {"", "endpoint=ftp://hush\naccess-key=a\nsecret-key=hush", "endpoint=https://a\nsecret-key=hush",
        "endpoint=https://hush@a\naccess-key=b\nsecret-key=c", "endpoint=https://a/hush\naccess-key=b\nsecret-key=c",
        "endpoint=https://\naccess-key=b\nsecret-key=hush",
        "endpoint=https://a\naccess-key=b\nsecret-key=c\nregion=eu:hush",
        "endpoint=https://a\naccess-key=b\nsecret=hush", "endpoint=https://a\nhush", "endpoint=\nsecret-key=hush",
        "endpoint=https://a\naccess-key=b\nsecret-key=c\nsecret-key=hush"}) {
    const absl::Status refused = ParseS3Settings(bad).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(refused.message()), Not(HasSubstr("hush"))) << bad;
  }
  EXPECT_THAT(std::string(ParseS3Settings("\nregion=a:b").status().message()), HasSubstr("line 2 has a region"));
}

TEST(S3StoreTest, APageOfAListIsReadWithWhereTheNextBegins) {
  const auto page = ParseS3Page(
      "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><Name>b</Name><IsTruncated>true</IsTruncated>"
      "<Contents><Key>p/a&amp;b</Key><LastModified>t</LastModified><Size>12</Size></Contents>"
      "<Contents><Size>0</Size><Key>p/c</Key></Contents>"
      "<NextContinuationToken>a&lt;b=</NextContinuationToken></ListBucketResult>");
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->objects.size(), 2U);
  EXPECT_EQ(page->objects[0].name, "p/a&b");
  EXPECT_EQ(page->objects[0].bytes, 12U);
  EXPECT_EQ(page->objects[1].name, "p/c");
  EXPECT_EQ(page->next, "a<b=");
  EXPECT_TRUE(ParseS3Page("<ListBucketResult/>")->objects.empty());
  for (const std::string_view bad :
       {"", "<html>", "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"}) {
    EXPECT_EQ(ParseS3Page(bad).status().code(), absl::StatusCode::kDataLoss) << bad;
  }
}

TEST(S3AnswerTest, WhatIsQuotedIsReadOnceHoweverMuchThereIs) {
  const auto key_of = [](const std::string& quoted) {
    return ParseS3Page("<ListBucketResult><Contents><Key>" + quoted + "</Key><Size>1</Size></Contents>")
        ->objects.at(0)
        .name;
  };
  EXPECT_EQ(key_of("&amp;lt;&#39;&quot;&apos;&#34;&gt;&"), "&lt;'\"'\">&");
  EXPECT_EQ(key_of("&am&lt;p;"), "&am<p;");
  // As large as a page may be: what takes the square of it would take hours.
  std::string quoted;
  constexpr size_t kCharacters = size_t{4} << 20;
  for (size_t i = 0; i < kCharacters; ++i) quoted += "&lt;";
  EXPECT_EQ(key_of(quoted), std::string(kCharacters, '<'));
}

TEST(S3AnswerTest, AnErrorIsToldByItsCodeAlone) {
  EXPECT_EQ(S3ErrorCode("<Error><Code>NoSuchBucket</Code><Message>m</Message></Error>"), "NoSuchBucket");
  EXPECT_EQ(S3ErrorCode("<Code>a\x1b[2J b\n</Code>"), "a2Jb");
  EXPECT_EQ(S3ErrorCode("<Code>" + std::string(500, 'a') + "</Code>"), std::string(200, 'a'));
  for (const std::string_view none : {"", "<html>", "<Code>", "</Code><Code>"}) EXPECT_EQ(S3ErrorCode(none), "");
}

}  // namespace
}  // namespace mneme
