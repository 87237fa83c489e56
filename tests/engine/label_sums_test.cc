// Sums of keys by label through a deployment: what is read for them, and that they are right each time.
#include <algorithm>
#include <atomic>
#include <thread>

#include "engine/label_sum_cache.h"
#include "tests/engine/label_sums_fixture.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::PlainEntry;
using testing::Sums;
using testing::TokenMemory;

constexpr uint32_t kDimension = Sums::kDimension;

class LabelSumsTest : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Shards, LabelSumsTest, ::testing::Values(1, 4));

TEST_P(LabelSumsTest, TheSecondRequestReadsOnlyWhatWasWrittenSince) {
  Sums sums(GetParam());
  sums.Create(sums.Spec());
  sums.Insert(sums.Entries(0, 6000));
  EXPECT_EQ(sums.Ask(), 6000U);
  EXPECT_EQ(sums.Ask(), 0U);
  EXPECT_EQ(sums.Ask({}, {}, {1, 3, 99}), 0U);
  sums.Insert(sums.Entries(6000, 10));
  EXPECT_EQ(sums.Ask(), 10U);
  sums.Delete({1, 5, 9, 6001});
  EXPECT_EQ(sums.Ask(), 4U);
  sums.Insert(sums.Entries(100, 3));  // upserts: three come, three go
  EXPECT_EQ(sums.Ask(), 6U);
  sums.Insert(sums.Entries(7000, 5));
  sums.Delete({7000, 7001});  // came and went between two requests
  EXPECT_EQ(sums.Ask(), 3U);
  EXPECT_EQ(sums.Ask(), 0U);
}

TEST_P(LabelSumsTest, SealingAndMergingReadNothingAgain) {
  Sums sums(GetParam());
  sums.Create(sums.Spec(Metric::kCosine));
  sums.Insert(sums.Entries(0, 4000));
  EXPECT_EQ(sums.Ask(), 4000U);
  sums.Build(/*retrain=*/false);
  EXPECT_EQ(sums.Ask(), 0U);
  sums.Insert(sums.Entries(4000, 40));
  sums.Delete({7});  // its key is in a segment
  sums.Build(/*retrain=*/true);
  const uint64_t read = sums.Ask();  // a merge may have dropped the dead row, and its shard is read again
  EXPECT_GT(read, 0U);
  EXPECT_LE(read, 4040U);
  EXPECT_EQ(sums.Ask(), 0U);
}

TEST_P(LabelSumsTest, ManyChangesAreReadInOnePass) {
  Sums sums(GetParam());
  sums.Create(sums.Spec());
  sums.Insert(sums.Entries(0, 4000));
  sums.Ask();
  sums.Insert(sums.Entries(4000, 4000));
  EXPECT_EQ(sums.Ask(), 8000U);
}

TEST_P(LabelSumsTest, AFilterIsScannedAndChangesNothingThatIsKept) {
  Sums sums(GetParam());
  sums.Create(sums.Spec());
  sums.Insert(sums.Entries(0, 3000));
  sums.Ask();
  RowFilter filter;
  filter.labels = std::vector<int64_t>{2};
  EXPECT_EQ(sums.Ask({}, filter), 3000U);
  EXPECT_EQ(sums.Ask(), 0U);
}

TEST_P(LabelSumsTest, WhatExpiresIsGoneWithTheFirstRequestAfterIt) {
  Sums sums(GetParam());
  sums.Create(sums.Spec());
  std::vector<PlainEntry> entries = sums.Entries(0, 4000);
  for (size_t i = 0; i < entries.size(); i += 4) {
    entries[i].attributes.expiry_ms = sums.deployment().clock().NowMs() + 100;
  }
  sums.Insert(entries);
  sums.Ask();
  sums.deployment().clock().Advance(99);
  EXPECT_EQ(sums.Ask(), 0U);
  sums.deployment().clock().Advance(1);
  EXPECT_GT(sums.Ask(), 0U);
  EXPECT_EQ(sums.Ask(), 0U);
  sums.Insert(sums.Entries(9000, 2));
  EXPECT_LE(sums.Ask(), 4002U);  // the expired rows may have been removed meanwhile
}

TEST_P(LabelSumsTest, AKeyThatDwarfsAllOthersLeavesNoTrace) {
  Sums sums(GetParam());
  sums.Create(sums.Spec());
  sums.Insert(sums.Entries(0, 2000));
  sums.Ask();
  std::vector<PlainEntry> huge = sums.Entries(5000, 8);
  for (PlainEntry& entry : huge) std::fill(entry.key.begin(), entry.key.end(), 0.7e13F);
  sums.Insert(huge);
  EXPECT_EQ(sums.Ask(), 8U);
  sums.Delete({5000, 5001, 5002, 5003, 5004, 5005, 5006, 5007});
  EXPECT_EQ(sums.Ask(), 8U);
}

TEST_P(LabelSumsTest, ADroppedMemoryLeavesNoSums) {
  Sums sums(GetParam());
  sums.Create(sums.Spec());
  sums.Insert(sums.Entries(0, 3000));
  EXPECT_EQ(sums.deployment()->Statistics().label_sum_bytes, 0U);  // nobody asked
  sums.Ask();
  EXPECT_GT(sums.deployment()->Statistics().label_sum_bytes, 0U);
  ASSERT_TRUE(sums.deployment()->DropMemory("sums").ok());
  EXPECT_EQ(sums.deployment()->Statistics().label_sum_bytes, 0U);
}

TEST_P(LabelSumsTest, ReadersAndWritersAtTheSameTimeSeeWholeBatches) {
  Sums sums(GetParam());
  sums.Create(sums.Spec());
  const PartitionId partition = 3;  // whole on one shard, so that a batch is seen whole
  sums.Insert(sums.Entries(0, 2000), partition);
  std::atomic<bool> done{false};
  const auto read = [&] {
    while (!done) {
      VisitCommand command;
      command.partitions.partitions = {partition};
      LabelSums got(MakeIndexSpec(sums.memory()->spec), {});
      ASSERT_TRUE(sums.deployment()->SumByLabel(sums.memory(), command, got).ok());
      uint64_t entries = 0;
      for (const auto& [label, sum] : got.sums()) entries += sum.count();
      ASSERT_EQ(entries % 10, 0U);
    }
  };
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) readers.emplace_back(read);
  for (int batch = 0; batch < 60; ++batch) {
    const EntryId first = 2000 + 10 * static_cast<EntryId>(batch);
    sums.Insert(sums.Entries(first, 10), partition);
    if (batch % 3 == 0) {
      std::vector<EntryId> ids(10);
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = first - 10 + i;
      sums.Delete(ids, partition);
    }
    if (batch == 30) sums.Build(/*retrain=*/false);
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  sums.Ask({.partitions = {partition}});
}

TEST(LabelSumsLimitsTest, AsManyLabelsAsAMessageHoldsAndNotOneMore) {
  IndexSpec spec;
  spec.dimension = 16'384;  // 512 labels of it are 64 MiB
  spec.key_dtype = Dtype::kF16;
  const std::vector<char> key(spec.KeyBytes(), '\0');
  LabelSums all(spec, {});
  for (int64_t label = 0; label < 512; ++label) ASSERT_TRUE(all.Add(label, key.data()).ok());
  const absl::Status refused = all.Add(512, key.data());
  EXPECT_TRUE(absl::IsOutOfRange(refused)) << refused;
  EXPECT_EQ(all.sums().size(), 512U);
  EXPECT_TRUE(all.Add(5, key.data()).ok());
  LabelSums named(spec, {512});
  EXPECT_TRUE(named.Add(512, key.data()).ok());
  EXPECT_TRUE(named.Add(513, key.data()).ok());  // passed over
  EXPECT_EQ(named.sums().size(), 1U);
}

// Partitions by hand, to see what a small budget does.
class LabelSumCacheTest : public ::testing::Test {
 protected:
  LabelSumCacheTest() {
    const MemorySpec memory = TokenMemory("budget", kDimension);
    spec_ = MakeIndexSpec(memory);
    Sums source(1);
    columns_ = ColumnsOf(memory, source.Entries(0, 400));
  }

  std::shared_ptr<const IndexVersion> NewPartition() {
    PartitionIndex index(spec_, PartitionHead());
    index.Append(columns_, 0, columns_.count);
    return index.MakeVersion();
  }
  uint64_t Ask(LabelSumCache& cache, PartitionId partition, const IndexVersion& version) {
    LabelSums sums(spec_, {});
    EXPECT_TRUE(cache.AddSums({0, {1, partition}}, version, {spec_, 0, {}}, sums).ok());
    EXPECT_EQ(sums.sums().size(), static_cast<size_t>(Sums::kLabels));
    return sums.rows_read();
  }

  IndexSpec spec_;
  EntryColumns columns_;
};

TEST_F(LabelSumCacheTest, TheLeastRecentlyUsedGoFirst) {
  const auto one = NewPartition();
  const auto two = NewPartition();
  const auto three = NewPartition();
  LabelSumCache measure;
  Ask(measure, 1, *one);
  LabelSumCache cache(2 * measure.ram_bytes());
  Ask(cache, 1, *one);
  Ask(cache, 2, *two);
  EXPECT_EQ(Ask(cache, 1, *one), 0U);
  EXPECT_EQ(Ask(cache, 3, *three), 400U);
  EXPECT_EQ(cache.ram_bytes(), 2 * measure.ram_bytes());
  EXPECT_EQ(Ask(cache, 1, *one), 0U);
  EXPECT_EQ(Ask(cache, 2, *two), 400U);
}

TEST_F(LabelSumCacheTest, ANewHistoryAndAnOlderVersionAreReadWhole) {
  PartitionIndex index(spec_, PartitionHead());
  index.Append(columns_, 0, columns_.count);
  const auto older = index.MakeVersion();
  index.MarkDead({3});
  const auto newer = index.MakeVersion();
  LabelSumCache cache;
  EXPECT_EQ(Ask(cache, 1, *newer), 400U);
  EXPECT_EQ(Ask(cache, 1, *older), 400U);
  EXPECT_EQ(Ask(cache, 1, *newer), 0U);  // what is kept is of the newer still
  EXPECT_EQ(Ask(cache, 1, *NewPartition()), 400U);
}

}  // namespace
}  // namespace mneme
