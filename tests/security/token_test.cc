#include "security/token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "common/limits.h"
#include "security/loopback.h"
#include "security/token_source.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(TokenTest, NewOnesDifferAndMayTravel) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const auto token = NewToken();
    ASSERT_TRUE(token.ok());
    EXPECT_EQ(token->substr(0, kTokenPrefix.size()), kTokenPrefix);
    EXPECT_EQ(token->size(), kTokenPrefix.size() + 43);  // 32 bytes in base64
    EXPECT_TRUE(CheckTokenText(*token).ok());
    EXPECT_TRUE(seen.insert(*token).second);
  }
}

TEST(TokenTest, TheDigestIsSha256) {
  // FIPS 180-2, example of one block.
  EXPECT_EQ(HexOf(DigestOf("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const auto back = DigestFromHex(HexOf(DigestOf("abc")));
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(SameDigest(*back, DigestOf("abc")));
  TokenDigest other = *back;
  other.back() ^= 1;
  EXPECT_FALSE(SameDigest(*back, other));
}

TEST(TokenTest, OnlyWholeLowerCaseDigestsAreRead) {
  const std::string hex = HexOf(DigestOf("abc"));
  std::string upper = hex;
  upper[0] = 'B';
  for (const std::string& text : {std::string(), hex.substr(1), hex + "0", upper, "g" + hex.substr(1)}) {
    EXPECT_FALSE(DigestFromHex(text).ok()) << text;
  }
}

TEST(TokenTest, TextThatCannotTravelIsRefusedWithoutBeingRepeated) {
  const std::vector<std::string> texts = {"secret", "secret secret secret", "secret-secret-\nsecret",
                                          std::string("secret\0secret-secret", 20),
                                          std::string(limits::kMaxTokenBytes + 1, 's')};
  for (const std::string& text : texts) {
    const absl::Status status = CheckTokenText(text);
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("secret")));
  }
}

TEST(LoopbackTest, OnlyThisMachineIsTrusted) {
  for (const char* address : {"127.0.0.1:1", "127.8.9.1:1", "localhost:7700", "[::1]:7700", "unix:/run/mneme"}) {
    EXPECT_TRUE(StaysOnMachine(address)) << address;
  }
  for (const char* address : {"10.0.0.1:1", "0.0.0.0:1", "[::]:1", "127.0.0.1.example.org:1", "localhost.example.org:1",
                              "shard-0:7700", "[fe80::1]:1"}) {
    EXPECT_FALSE(StaysOnMachine(address)) << address;
  }
}

TEST(TokenSourceTest, AFileIsReadAgainAndABrokenOneKeepsTheToken) {
  std::string path = (std::filesystem::temp_directory_path() / "mneme_token_XXXXXX").string();
  close(mkstemp(path.data()));
  const std::string first(20, 'a');
  const std::string second(20, 'b');
  EXPECT_FALSE(TokenSource::OfFile(path).ok()) << "it is empty";
  EXPECT_FALSE(TokenSource::OfFile(path + ".none").ok());
  std::ofstream(path) << "  " << first << " \nmore\n";
  const auto source = TokenSource::OfFile(path);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->Current(), first);
  const auto await = [&](const std::string& wanted) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while ((*source)->Current() != wanted && std::chrono::steady_clock::now() < end) usleep(20'000);
    return (*source)->Current() == wanted;
  };
  std::ofstream(path) << "broken\n";
  usleep(std::chrono::microseconds(TokenSource::kRereadAfter).count() + 50'000);
  EXPECT_EQ((*source)->Current(), first);
  std::ofstream(path) << second << "\n";
  EXPECT_TRUE(await(second));
  std::filesystem::remove(path);
  EXPECT_EQ((*source)->Current(), second);
}

}  // namespace
}  // namespace mneme
