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
    version.tail_from = tail_from_;
    return version;
  }

  // Rows [first, end) of the tail are in the lists of their centroids, each once.
  void ExpectRight(Row first, Row end) const {
    const IndexVersion version = Version();
    const std::shared_ptr<const TailLists> lists = CurrentListsOf(version);
    ASSERT_NE(lists, nullptr);
    EXPECT_EQ(lists->first_row, first);
    EXPECT_EQ(lists->end_row, end);
    const std::vector<uint32_t> list_of = lists->ListOfEachRow();
    std::set<Row> seen;
    for (uint32_t list = 0; list < codebook_->lists(); ++list) {
      for (const uint32_t at : lists->Of(list)) {
        const Row row = first + at;
        EXPECT_TRUE(seen.insert(row).second);
        EXPECT_EQ(list_of[at], list);
        uint32_t assigned = 99;
        codebook_->Assign(reinterpret_cast<const float*>(entries_.At(row).key.data()), 1, &assigned);
        EXPECT_EQ(assigned, list) << row;
      }
      EXPECT_TRUE(std::is_sorted(lists->Of(list).begin(), lists->Of(list).end()));
    }
    EXPECT_EQ(seen.size(), end - first);
    EXPECT_EQ(*seen.begin(), first);
    EXPECT_EQ(*seen.rbegin(), end - 1);
  }

  RandomKeys random_{kSeed};
  const EntryColumns entries_;
  std::shared_ptr<Codebook> codebook_;
  Tail tail_{kSpec, 0};
  Row tail_from_ = 0;
};

TEST_F(TailListsTest, HoldEveryRowOnceHoweverManyCameSince) {
  size_t end = 0;
  for (const size_t more : {700, 5, 300, 200, 295}) {
    tail_.Append(entries_, end, end + more);
    end += more;
    SortTail(Version(), kSpec, 1);
    ExpectRight(0, end);
  }
  // A new codebook sorts them anew.
  codebook_ = Codebook::Train(kSpec, 8, std::vector<float>(6 * 64, 1.0F), 1).value();
  SortTail(Version(), kSpec, 1);
  ExpectRight(0, end);
}

TEST_F(TailListsTest, ForgetWhatASegmentTook) {
  tail_.Append(entries_, 0, 900);
  SortTail(Version(), kSpec, 1);
  for (const Row sealed : {300, 700}) {
    tail_from_ = sealed;
    tail_.DropBelow(sealed);
    tail_.Append(entries_, tail_.end_row(), tail_.end_row() + 100);
    SortTail(Version(), kSpec, 1);
    ExpectRight(sealed, tail_.end_row());
  }
  // All of them: what is left says nothing.
  tail_from_ = tail_.end_row();
  tail_.DropBelow(tail_.end_row());
  EXPECT_EQ(CurrentListsOf(Version()), nullptr);
  tail_.Append(entries_, tail_from_, tail_from_ + 50);
  SortTail(Version(), kSpec, 1);
  ExpectRight(tail_from_, tail_from_ + 50);
}

TEST_F(TailListsTest, TellWhichRowsOfAListLieInARange) {
  tail_.Append(entries_, 0, 1000);
  SortTail(Version(), kSpec, 1);
  const auto lists = CurrentListsOf(Version());
  const std::vector<std::pair<Row, Row>> ranges = {{0, 1000}, {0, 1}, {999, 1000}, {250, 600}, {5, 5}};
  for (const auto& [first, end] : ranges) {
    size_t found = 0;
    for (uint32_t list = 0; list < codebook_->lists(); ++list) {
      for (const uint32_t row : lists->Within(list, first, end)) {
        EXPECT_GE(row, first);
        EXPECT_LT(row, end);
        ++found;
      }
    }
    EXPECT_EQ(found, end - first);
  }
}

TEST_F(TailListsTest, WaitForEnoughRowsAndForACodebook) {
  tail_.Append(entries_, 0, 100);
  IndexVersion version = Version();
  version.codebook = nullptr;
  SortTail(version, kSpec, 1);
  EXPECT_EQ(ListsOf(version.tail), nullptr);
  SortTail(Version(), kSpec, 101);
  EXPECT_EQ(ListsOf(version.tail), nullptr);
  SortTail(Version(), kSpec, 100);
  const auto before = ListsOf(version.tail);
  ASSERT_NE(before, nullptr);
  tail_.Append(entries_, 100, 104);
  SortTail(Version(), kSpec, 5);
  EXPECT_EQ(ListsOf(version.tail), before);
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
