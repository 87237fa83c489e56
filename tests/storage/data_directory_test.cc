#include "storage/data_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "common/limits.h"
#include "storage/format.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

class DataDirectoryTest : public ::testing::Test {
 protected:
  static absl::StatusCode CodeOf(const std::string& path, uint32_t shards) {
    return DataDirectory::Open(path, shards).status().code();
  }
  TemporaryDirectory directory_;
  const std::string path_ = directory_ / "nested/data";
};

TEST_F(DataDirectoryTest, IsCreatedForItsOwnerAlone) {
  const auto opened = DataDirectory::Open(path_ + "/", 2).value();
  struct stat status;
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700U);
  EXPECT_EQ(opened->shards(), 2U);
  EXPECT_NE(opened->deployment(), 0U);
  EXPECT_EQ(opened->CataloguePath(), path_ + "/catalogue");
  EXPECT_EQ(opened->StorePath(1), path_ + "/shard-001/db");
  EXPECT_EQ(opened->IndexPath(1), path_ + "/shard-001/index");
  EXPECT_TRUE(std::filesystem::is_directory(opened->IndexPath(1)));
}

TEST_F(DataDirectoryTest, KeepsItsNumbersWhenOpenedAgain) {
  const uint64_t deployment = DataDirectory::Open(path_, 3).value()->deployment();
  EXPECT_EQ(DataDirectory::Open(path_, 0).value()->deployment(), deployment);
  EXPECT_EQ(DataDirectory::Open(path_, 0).value()->shards(), 3U);
  EXPECT_NE(DataDirectory::Open(directory_ / "other", 0).value()->deployment(), deployment);
  EXPECT_EQ(DataDirectory::Open(directory_ / "other", 0).value()->shards(), 1U);
}

TEST_F(DataDirectoryTest, RefusesAnotherShardCount) {
  { ASSERT_TRUE(DataDirectory::Open(path_, 3).ok()); }
  const absl::Status refused = DataDirectory::Open(path_, 2).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("created with 3"));
  EXPECT_EQ(CodeOf(path_, limits::kMaxShards + 1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf("", 1), absl::StatusCode::kInvalidArgument);
}

TEST_F(DataDirectoryTest, IsHeldByOneOwnerAtATime) {
  auto first = DataDirectory::Open(path_, 1);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(CodeOf(path_, 1), absl::StatusCode::kFailedPrecondition);
  first->reset();
  EXPECT_EQ(CodeOf(path_, 1), absl::StatusCode::kOk);
}

TEST_F(DataDirectoryTest, EveryFlippedBitAndEveryCutOfFormatIsRefused) {
  { ASSERT_TRUE(DataDirectory::Open(path_, 2).ok()); }
  const std::string format = ReadBytes(path_ + "/FORMAT");
  for (size_t bit = 0; bit < 8 * format.size(); ++bit) {
    std::string damaged = format;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    WriteBytes(path_ + "/FORMAT", damaged);
    ASSERT_EQ(CodeOf(path_, 0), absl::StatusCode::kDataLoss) << "bit " << bit;
  }
  for (size_t size = 0; size < format.size(); ++size) {
    WriteBytes(path_ + "/FORMAT", format.substr(0, size));
    ASSERT_EQ(CodeOf(path_, 0), absl::StatusCode::kDataLoss) << "cut to " << size;
  }
  WriteBytes(path_ + "/FORMAT", format + "\n");
  EXPECT_EQ(CodeOf(path_, 0), absl::StatusCode::kDataLoss);
  std::filesystem::remove(path_ + "/FORMAT");
  EXPECT_EQ(CodeOf(path_, 0), absl::StatusCode::kDataLoss);
  WriteBytes(path_ + "/FORMAT", format);
  EXPECT_EQ(CodeOf(path_, 0), absl::StatusCode::kOk);
}

TEST_F(DataDirectoryTest, RefusesANewerFormatByName) {
  { ASSERT_TRUE(DataDirectory::Open(path_, 2).ok()); }
  WriteBytes(path_ + "/FORMAT", format::EncodeDirectoryFormat({.version = 9, .deployment = 1, .shards = 2}));
  const absl::Status refused = DataDirectory::Open(path_, 0).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("has format 9; this program reads formats 1 to 3"));
}

TEST_F(DataDirectoryTest, OfOneShardHasThatShardAlone) {
  const HostedDirectory second{.shard = 1, .deployment = 0xABCDEF};
  {
    const auto opened = DataDirectory::Open(path_, 3, second).value();
    EXPECT_EQ(opened->shards(), 3U);
    EXPECT_EQ(opened->deployment(), 0xABCDEFU);
  }
  EXPECT_TRUE(std::filesystem::exists(path_ + "/shard-001/index"));
  EXPECT_FALSE(std::filesystem::exists(path_ + "/shard-000"));
  EXPECT_TRUE(DataDirectory::Open(path_, 3, second).ok());
}

TEST_F(DataDirectoryTest, OfOneShardIsOpenedWithItsOwnNumbersAlone) {
  const HostedDirectory second{.shard = 1, .deployment = 0xABCDEF};
  { ASSERT_TRUE(DataDirectory::Open(path_, 3, second).ok()); }
  const auto refusal = [&](uint32_t shards, std::optional<HostedDirectory> hosted) {
    const absl::Status status = DataDirectory::Open(path_, shards, hosted).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(refusal(4, second), HasSubstr("was created with 3"));
  EXPECT_THAT(refusal(3, HostedDirectory{.shard = 2, .deployment = 0xABCDEF}), HasSubstr("has shard 1 alone"));
  EXPECT_THAT(refusal(3, std::nullopt), HasSubstr("has shard 1 alone"));
  EXPECT_THAT(refusal(3, HostedDirectory{.shard = 1, .deployment = 5}), HasSubstr("of another deployment"));
}

TEST_F(DataDirectoryTest, OfAShardThatHadDataIsNotMadeAnew) {
  HostedDirectory second{.shard = 1, .deployment = 0xABCDEF, .had_data = true};
  for (int i = 0; i < 2; ++i) {
    const absl::Status refused = DataDirectory::Open(path_, 3, second).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("--accept-empty-shard"));
  }
  second.had_data = false;
  { ASSERT_TRUE(DataDirectory::Open(path_, 3, second).ok()); }
  second.had_data = true;
  EXPECT_TRUE(DataDirectory::Open(path_, 3, second).ok());
}

TEST_F(DataDirectoryTest, OfAllShardsIsNoneOfOneShard) {
  { ASSERT_TRUE(DataDirectory::Open(path_, 2).ok()); }
  const absl::Status status = DataDirectory::Open(path_, 2, HostedDirectory{.shard = 0}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("has all shards"));
}

TEST_F(DataDirectoryTest, OfAReplicatedLogIsNoneOfALogOfItsOwn) {
  const HostedDirectory own{.shard = 1, .deployment = 0xABCDEF};
  HostedDirectory logged = own;
  logged.logged = true;
  const auto refusal = [&](const std::string& path, const HostedDirectory& hosted) {
    const absl::Status status = DataDirectory::Open(path, 3, hosted).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    return std::string(status.message());
  };
  { ASSERT_TRUE(DataDirectory::Open(path_, 3, logged).ok()); }
  EXPECT_TRUE(DataDirectory::Open(path_, 3, logged).ok());
  EXPECT_THAT(refusal(path_, own), HasSubstr("cannot be opened without --log"));
  const std::string other = directory_ / "own";
  { ASSERT_TRUE(DataDirectory::Open(other, 3, own).ok()); }
  EXPECT_THAT(refusal(other, logged), HasSubstr("cannot be opened with --log"));
}

TEST_F(DataDirectoryTest, OfAReplicaWithoutTheCatalogueIsNoneOfItsOwner) {
  const HostedDirectory replica{.shard = 0, .deployment = 0xABCDEF, .logged = true};
  const HostedDirectory owner{.shard = 0, .logged = true};
  const std::string store = DataDirectory::Open(path_, 3, replica).value()->StorePath(0);
  EXPECT_TRUE(DataDirectory::Open(path_, 3, owner).ok()) << "it has nothing";
  std::filesystem::create_directories(store);
  WriteBytes(store + "/CURRENT", "MANIFEST-000001\n");
  EXPECT_TRUE(DataDirectory::Open(path_, 3, replica).ok());
  const absl::Status refused = DataDirectory::Open(path_, 3, owner).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("no catalogue"));
  std::filesystem::create_directories(path_ + "/catalogue");
  EXPECT_TRUE(DataDirectory::Open(path_, 3, owner).ok());
}

TEST_F(DataDirectoryTest, TheFirstShardOfADeploymentGivesItsNumber) {
  const uint64_t deployment = DataDirectory::Open(path_, 2, HostedDirectory{.shard = 0}).value()->deployment();
  EXPECT_NE(deployment, 0U);
  EXPECT_EQ(DataDirectory::Open(path_, 2, HostedDirectory{.shard = 0}).value()->deployment(), deployment);
}

}  // namespace
}  // namespace mneme
