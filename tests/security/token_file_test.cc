#include "security/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "common/limits.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Hash(const std::string& token) { return "sha256:" + HexOf(DigestOf(token)); }

std::string FileOf(const std::string& lines) { return std::string(kTokenFileHeader) + "\n" + lines; }

std::string ErrorOf(const std::string& text) {
  const auto table = TokenTable::Parse(text);
  return table.ok() ? "read without error" : std::string(table.status().message());
}

// One of everything.
std::string GoodFile() {
  return "# who may do what\n\n" +
         FileOf("model " + Hash("one") + " read:wiki-* write:chat/7,10-19 requests/s:200\n" +
                "model " + Hash("two") + " read:wiki-* requests/s:200\n" +
                "\t ops@home  " + Hash("three") + "\tadmin:* entries/s:1000 bytes/s:1000000\n" +
                "front-end certificate:front-end.internal peer\n");
}

TEST(TokenFileTest, FindsWhoHasATokenOrACertificate) {
  const auto table = TokenTable::Parse(GoodFile());
  ASSERT_TRUE(table.ok()) << table.status();
  const Principal* one = table->Find(DigestOf("one"));
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(one->name, "model");
  EXPECT_EQ(one->grants.size(), 2U);
  EXPECT_EQ(one->quota.requests, 200);
  EXPECT_FALSE(one->peer);
  ASSERT_NE(table->Find(DigestOf("two")), nullptr);
  EXPECT_EQ(table->Find(DigestOf("two"))->grants.size(), 1U);
  EXPECT_EQ(table->Find(DigestOf("three"))->quota.bytes, 1'000'000);
  EXPECT_EQ(table->Find(DigestOf("four")), nullptr);
  ASSERT_NE(table->FindCertificate("front-end.internal"), nullptr);
  EXPECT_TRUE(table->FindCertificate("front-end.internal")->peer);
  EXPECT_EQ(table->FindCertificate("front-end"), nullptr);
  EXPECT_EQ(table->FindCertificate(""), nullptr);
}

TEST(TokenFileTest, QuotasAndBoundsAreOfTheirKind) {
  const auto table = TokenTable::Parse(
      FileOf("tenant " + Hash("one") + " write:t-* requests/s:1 entries/s:2 bytes/s:3 answered-bytes/s:4 "
             "stored-entries:5 stored-bytes:6 memories:7\nprometheus " + Hash("two") + " metrics\n"));
  ASSERT_TRUE(table.ok()) << table.status();
  const Principal& tenant = *table->Find(DigestOf("one"));
  EXPECT_EQ(tenant.quota, (Quota{.requests = 1, .entries = 2, .bytes = 3, .answered = 4}));
  EXPECT_EQ(tenant.stored, (StoredBounds{.entries = 5, .bytes = 6, .memories = 7}));
  EXPECT_FALSE(tenant.metrics);
  const Principal& prometheus = *table->Find(DigestOf("two"));
  EXPECT_TRUE(prometheus.metrics);
  EXPECT_TRUE(prometheus.grants.empty());
  EXPECT_EQ(prometheus.stored, StoredBounds());
}

TEST(TokenFileTest, ATokenOrADigestInTheWrongPlaceIsNotRepeated) {
  const std::string token = std::string(kTokenPrefix) + "c0ffee00c0ffee00c0ffee00";
  for (const std::string& secret : {token, HexOf(DigestOf("two")), Hash("two")}) {
    for (const std::string& line : {"a " + Hash("one") + " " + secret, "a " + Hash("one") + " read:* " + secret,
                                    "a " + secret + " " + secret, "a " + secret, secret + " read:*"}) {
      const std::string error = ErrorOf(FileOf(line + "\n"));
      EXPECT_THAT(error, Not(HasSubstr(secret))) << error;
      if (line != "a " + Hash("two")) EXPECT_THAT(error, HasSubstr("line 2: "));
    }
  }
}

TEST(TokenFileTest, AHashIsNoTokenAndATokenIsNoCertificate) {
  const auto table = TokenTable::Parse(FileOf("a " + Hash("one") + " read:*\n"));
  ASSERT_TRUE(table.ok());
  EXPECT_EQ(table->Find(DigestOf(HexOf(DigestOf("one")))), nullptr);
  EXPECT_EQ(table->FindCertificate("one"), nullptr);
}

TEST(TokenFileTest, EveryErrorNamesItsLineAndNoDigest) {
  const std::string hash = Hash("one");
  const struct {
    std::string lines;
    std::string error;
  } cases[] = {
      {"model\n", "line 2: must be a name, a credential and grants"},
      {"model " + hash.substr(0, 40) + " read:*\n", "line 2: a digest has 64 digits"},
      {"model md5:0123 read:*\n", "line 2: has no sha256: or certificate:"},
      {"model certificate: read:*\n", "line 2: a certificate's name has 1 to"},
      {"mo/del " + hash + " read:*\n", "line 2: a name has 1 to"},
      {"# a comment\n\nmodel " + hash + " own:*\n", "line 4: \"own:*\" is no grant"},
      {"model " + hash + " read:a/x\n", "names no partitions"},
      {"model " + hash + " requests/s:0\n", "\"requests/s:0\" gives no number in [1,"},
      {"model " + hash + " requests/s:\n", "gives no number"},
      {"model " + hash + " requests/s:-1\n", "gives no number"},
      {"model " + hash + " bytes/s:1125899906842625\n", "gives no number"},
      {"model " + hash + " bytes/s:1 bytes/s:2\n", "gives bytes/s: twice"},
      {"a " + hash + " read:*\nb " + hash + " admin:*\n", "has one digest for both"},
      {"a certificate:x read:*\nb certificate:x read:*\n", "line 3: names a certificate that an earlier line has"},
      {"a " + hash + " bytes/s:1\na " + Hash("two") + " bytes/s:2\n", "line 3: differs in its quota"},
      {"a " + hash + " stored-entries:1\na " + Hash("two") + " stored-entries:2\n", "line 3: differs in its quota"},
      {"a " + hash + " memories:1 memories:1\n", "gives memories: twice"},
      {"a " + hash + " stored-bytes:1GiB\n", "\"stored-bytes:1GiB\" gives no number in [1,"},
      {"a " + hash + " answered-bytes/s:0\n", "gives no number"},
      {"a " + hash + " read:*\r\nb\n", "line 3: must be a name"},
  };
  for (const auto& each : cases) {
    EXPECT_THAT(ErrorOf(FileOf(each.lines)), HasSubstr(each.error)) << each.lines;
    EXPECT_THAT(ErrorOf(FileOf(each.lines)), Not(HasSubstr(hash.substr(7, 12))));
  }
}

TEST(TokenFileTest, WhatWasCutShortOrIsNoneIsRefused) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("does not end with a whole line"));
  EXPECT_THAT(ErrorOf("\n"), HasSubstr("has no line \"mneme-tokens 1\""));
  EXPECT_THAT(ErrorOf("# only this\n"), HasSubstr("has no line"));
  EXPECT_THAT(ErrorOf("model " + Hash("one") + " read:*\n"), HasSubstr("line 1: must be \"mneme-tokens 1\""));
  EXPECT_THAT(ErrorOf("mneme-tokens 2\n"), HasSubstr("line 1: must be"));
  EXPECT_EQ(ErrorOf(FileOf("")), "read without error") << "nobody is known";
  const std::string whole = FileOf("model " + Hash("one") + " read:wiki-*\nops " + Hash("two") + " admin:*\n");
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto table = TokenTable::Parse(whole.substr(0, size));
    EXPECT_EQ(table.ok(), size > 0 && whole[size - 1] == '\n') << size;
  }
}

TEST(TokenFileTest, BoundsAreKept) {
  std::string many = FileOf("");
  for (size_t i = 0; i <= limits::kMaxPrincipals; ++i) many += "m " + Hash(std::to_string(i)) + "\n";
  EXPECT_THAT(ErrorOf(many), HasSubstr("is one more than 4096"));
  std::string line = "m " + Hash("one");
  for (size_t i = 0; i <= limits::kMaxGrants; ++i) line += " read:a";
  EXPECT_THAT(ErrorOf(FileOf(line + "\n")), HasSubstr("has more than 256 grants"));
  EXPECT_THAT(ErrorOf(FileOf(std::string(limits::kMaxTokenFileBytes, '#') + "\n")), HasSubstr("must have at most"));
  const std::string name(limits::kMaxPrincipalNameBytes + 1, 'n');
  EXPECT_FALSE(TokenTable::Parse(FileOf(name + " " + Hash("a") + "\n")).ok());
}

TEST(TokenFileTest, DamageNeverGivesARightThatWasNotThere) {
  const std::string good = FileOf("model " + Hash("one") + " read:wiki\n");
  std::mt19937 random(7);
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = good;
    for (int changes = 1 + static_cast<int>(random() % 3); changes > 0; --changes) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    const auto table = TokenTable::Parse(damaged);
    if (!table.ok()) continue;
    const Principal* model = table->Find(DigestOf("one"));
    if (model == nullptr) continue;
    EXPECT_FALSE(model->peer);
    for (const Grant& grant : model->grants) EXPECT_EQ(grant.right, Right::kRead);
  }
}

TEST(TokenFileTest, AFileThatOthersMayWriteIsRefused) {
  std::string path = (std::filesystem::temp_directory_path() / "mneme_tokens_XXXXXX").string();
  close(mkstemp(path.data()));
  std::ofstream(path) << FileOf("model " + Hash("one") + " read:*\n");
  EXPECT_TRUE(TokenTable::Read(path).ok());
  for (const mode_t mode : {0666, 0620, 0602, 0664}) {
    chmod(path.c_str(), mode);
    EXPECT_EQ(TokenTable::Read(path).status().code(), absl::StatusCode::kFailedPrecondition) << mode;
  }
  chmod(path.c_str(), 0640);
  EXPECT_TRUE(TokenTable::Read(path).ok());
  std::ofstream(path) << "nothing\n";
  EXPECT_THAT(std::string(TokenTable::Read(path).status().message()), HasSubstr(path));
  std::filesystem::remove(path);
  EXPECT_EQ(TokenTable::Read(path).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(TokenTable::Read("/").status().message()), HasSubstr("no regular file"));
  // A pipe would be waited for, and with it the signals of who reads it.
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_THAT(std::string(TokenTable::Read(path).status().message()), HasSubstr("no regular file"));
  std::filesystem::remove(path);
}

TEST(TokenLineTest, WhatIsMadeIsReadAndWhatIsNotIsRefused) {
  const auto line = TokenLine("model", Hash("one"), {"read:wiki", "requests/s:5"});
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(*line, "model " + Hash("one") + " read:wiki requests/s:5\n");
  EXPECT_THAT(std::string(TokenLine("model", Hash("one"), {"wiki"}).status().message()), HasSubstr("is no grant"));
  for (const std::string& name : {std::string(), std::string("#model"), std::string("a b"), std::string("a\nb")}) {
    EXPECT_FALSE(TokenLine(name, Hash("one"), {"read:wiki"}).ok()) << name;
  }
  EXPECT_FALSE(TokenLine("model", Hash("one"), {"read:a\nops " + Hash("two") + " admin:*"}).ok());
}

}  // namespace
}  // namespace mneme
