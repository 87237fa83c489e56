#include "index/tail_lists.h"

#include <gtest/gtest.h>

#include "tests/index/random_partition.h"

namespace mneme {
namespace {

using testing::Asked;
using testing::RandomEntries;
using testing::RandomKeys;
using testing::TrainOn;

constexpr uint64_t kSeed = 41;
const IndexSpec kSpec{6, Metric::kL2, Dtype::kF32, 4};

class TailListsTest : public ::testing::Test {
 protected:
  TailListsTest() : entries_(RandomEntries(kSpec, 1500, random_)), codebook_(TrainOn(kSpec, entries_, 9)) {}

  IndexVersion Version() const {
    IndexVersion version;
    version.codebook = codebook_;
    version.tail = tail_.TakeSnapshot();
    return version;
  }

  // Every row that has a list is in that of its centroid, once.
  void ExpectRight(const Tail::Snapshot::Part& part, size_t count) const {
    const std::shared_ptr<const TailLists> lists = ListsOf(part);
    ASSERT_NE(lists, nullptr);
    EXPECT_EQ(lists->codebook, codebook_->number());
    EXPECT_EQ(lists->count, count);
    const RowBlock rows = BlockOf(part, 0);
    std::set<uint32_t> seen;
    for (uint32_t list = 0; list < codebook_->lists(); ++list) {
      for (const uint32_t position : lists->Of(list)) {
        EXPECT_TRUE(seen.insert(position).second);
        uint32_t assigned = 99;
        codebook_->Assign(reinterpret_cast<const float*>(rows.keys) + position * kSpec.dimension, 1, &assigned);
        EXPECT_EQ(assigned, list);
      }
    }
    EXPECT_EQ(seen.size(), count);
    EXPECT_TRUE(seen.empty() || *seen.rbegin() == count - 1);
  }

  RandomKeys random_{kSeed};
  const EntryColumns entries_;
  std::shared_ptr<Codebook> codebook_;
  Tail tail_{kSpec, 0};
};

TEST_F(TailListsTest, HoldEveryRowOnceHoweverManyCameSince) {
  size_t end = 0;
  for (const size_t more : {700, 5, 300, 200, 295}) {
    tail_.Append(entries_, end, end + more);
    end += more;
    SortTail(Version(), kSpec, 1);
    for (const auto& part : tail_.TakeSnapshot().parts) ExpectRight(part, part.count);
  }
  // A new codebook sorts them anew.
  codebook_ = Codebook::Train(kSpec, 8, std::vector<float>(6 * 64, 1.0F), 1).value();
  SortTail(Version(), kSpec, 1);
  for (const auto& part : tail_.TakeSnapshot().parts) ExpectRight(part, part.count);
}

TEST_F(TailListsTest, WaitForEnoughRowsAndForACodebook) {
  tail_.Append(entries_, 0, 90);
  tail_.Append(entries_, 90, 100);  // in a chunk that takes more
  IndexVersion version = Version();
  version.codebook = nullptr;
  SortTail(version, kSpec, 1);
  EXPECT_EQ(ListsOf(version.tail.parts.front()), nullptr);
  SortTail(Version(), kSpec, 11);
  EXPECT_EQ(ListsOf(version.tail.parts.back()), nullptr);
  SortTail(Version(), kSpec, 1);
  const auto before = ListsOf(version.tail.parts.back());
  tail_.Append(entries_, 100, 104);
  SortTail(Version(), kSpec, 5);
  EXPECT_EQ(ListsOf(version.tail.parts.back()), before);
}

TEST_F(TailListsTest, LetASearchScanTheProbedListsAlone) {
  tail_.Append(entries_, 0, entries_.count);
  const auto version = std::make_shared<const IndexVersion>(Version());
  Asked asked(kSpec, entries_, random_);
  asked.request.exact = false;
  asked.request.probes = 3;
  asked.request.k = 1;
  asked.request.filter = nullptr;
  const auto whole = Search({&version, 1}, asked.request);
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->statistics.rows_scanned, entries_.count);
  SortTail(*version, kSpec, 1);
  const auto listed = Search({&version, 1}, asked.request);
  ASSERT_TRUE(listed.ok());
  EXPECT_LT(listed->statistics.rows_scanned, entries_.count * 2 / 3);
  EXPECT_FALSE(listed->statistics.exact);
  asked.request.exact = true;
  const auto exact = Search({&version, 1}, asked.request);
  ASSERT_TRUE(exact.ok());
  EXPECT_EQ(exact->statistics.rows_scanned, entries_.count);
}

}  // namespace
}  // namespace mneme
