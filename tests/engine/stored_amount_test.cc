// What a memory, or one partition of it, is said to hold, without its entries being read.
#include <optional>
#include <random>
#include <utility>

#include "tests/engine/deployment_fixture.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

class StoredAmountTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  StoredAmountTest() : deployment_(GetParam()) { memory_ = deployment_.Create(TokenMemory("wiki", 64)); }

  void Put(EntryId first, size_t count, PartitionId partition) {
    std::vector<PlainEntry> entries;
    for (EntryId id = first; id < first + count; ++id) {
      std::vector<float> key(64);
      for (float& component : key) component = normal_(random_);
      entries.push_back({id, std::move(key), 1});
    }
    ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries), partition).ok());
  }
  StoredAmount Stored(std::optional<PartitionId> partition = std::nullopt) {
    const auto stored = deployment_->CountStored(memory_, partition, {});
    EXPECT_TRUE(stored.ok()) << stored.status();
    return stored.value_or(StoredAmount());
  }

  TestDeployment deployment_;
  MemoryHandle memory_;
  std::mt19937 random_{7};  // NOLINT: the same keys each time
  std::normal_distribution<float> normal_;
};

TEST_P(StoredAmountTest, CountsLiveEntriesOfAMemoryAndOfEachPartition) {
  EXPECT_EQ(Stored().entries, 0U);
  Put(1, 30, 0);
  Put(1, 20, 7);
  Put(25, 10, 0);  // six of them take the place of others
  EXPECT_EQ(Stored(0).entries, 34U);
  EXPECT_EQ(Stored(7).entries, 20U);
  EXPECT_EQ(Stored(8).entries, 0U);
  EXPECT_EQ(Stored().entries, 54U);
  ASSERT_TRUE(deployment_.DeleteIds(memory_, {1, 2, 3}, 7).ok());
  EXPECT_EQ(Stored(7).entries, 17U) << "at once";
  deployment_.Restart();
  memory_ = deployment_.Find("wiki");
  EXPECT_EQ(Stored(0).entries, 34U) << "nothing is kept but the entries themselves";
  EXPECT_EQ(Stored(7).entries, 17U);
  EXPECT_EQ(Stored().entries, 51U);
}

TEST_P(StoredAmountTest, BytesGrowWithWhatIsWrittenThereAlone) {
  const MemoryHandle other = deployment_.Create(TokenMemory("other", 64));
  constexpr EntryId kRows = kSanitized ? 8'000 : 40'000;
  for (EntryId first = 0; first < kRows; first += 4'000) Put(first, 4'000, 7);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  const uint64_t keys = kRows * 64 * sizeof(float);
  for (const std::optional<PartitionId> partition : {std::optional<PartitionId>(), std::optional<PartitionId>(7)}) {
    EXPECT_GT(Stored(partition).bytes, keys / 4) << "an estimate of the store's, which may compress";
    EXPECT_LT(Stored(partition).bytes, keys * 4);
  }
  EXPECT_LT(Stored(8).bytes, keys / 100);
  EXPECT_LT(deployment_->CountStored(other, std::nullopt, {})->bytes, keys / 100);
}

INSTANTIATE_TEST_SUITE_P(Shards, StoredAmountTest, ::testing::Values(1U, 3U),
                         [](const auto& shards) { return "Shards" + std::to_string(shards.param); });

}  // namespace
}  // namespace mneme
