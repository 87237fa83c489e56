// Searches, inserts, deletes, builds and retrains at once: every answer is of one version (I3), and nothing that was
// acknowledged as deleted appears (I5). Run under TSan.
#include <atomic>
#include <set>
#include <thread>

#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::ExactQuery;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

// Writers insert pairs of entries in one batch: an answer that holds one of a pair must hold the other.
constexpr EntryId kPairOffset = 1'000'000;

class ConcurrencyTest : public ::testing::Test {
 protected:
  ConcurrencyTest() { memory_ = deployment_.Create(TokenMemory("busy", 4)); }

  void InsertPairs(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      std::vector<PlainEntry> entries;
      for (EntryId i = 0; i < 32; ++i) {
        const EntryId id = static_cast<EntryId>(round) * 32 + i;
        const float x = static_cast<float>(id % 97);
        entries.push_back({id, {x, 1, 0, 0}, 1});
        entries.push_back({id + kPairOffset, {x, 1, 0, 0}, 2});
      }
      ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries)).ok());
    }
  }

  void DeletePairs(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      const EntryId id = static_cast<EntryId>(round) * 7;
      const auto outcome = deployment_.DeleteIds(memory_, {id, id + kPairOffset});
      ASSERT_TRUE(outcome.ok());
      if (outcome->deleted == 2) gone_below_ = round;
    }
  }

  void Search(const std::atomic<bool>& stop) {
    while (!stop) {
      const auto outcome = deployment_.Query(memory_, ExactQuery({40, 0, 0, 0}, 1, 4096));
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      const std::set<EntryId> ids(outcome->neighbours.ids.begin(), outcome->neighbours.ids.end());
      ASSERT_EQ(ids.size(), outcome->neighbours.size()) << "an entry appears twice";
      if (ids.size() == 4096) continue;  // cut in the middle of a pair, perhaps
      for (const EntryId id : ids) {
        ASSERT_TRUE(ids.contains(id < kPairOffset ? id + kPairOffset : id - kPairOffset)) << id;
      }
    }
  }

  TestDeployment deployment_;
  MemoryHandle memory_;
  std::atomic<int> gone_below_{0};
};

TEST_F(ConcurrencyTest, EveryAnswerIsOfOneVersionWhileEverythingChanges) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> searchers;
  for (int i = 0; i < 2; ++i) searchers.emplace_back([&] { Search(stop); });
  std::thread builder([&] {
    for (int i = 0; !stop; ++i) {
      const absl::Status status = deployment_.Build(memory_, i % 2 == 0);
      ASSERT_TRUE(status.ok()) << status;
    }
  });
  std::thread deleter([&] { DeletePairs(200); });
  InsertPairs(60);
  deleter.join();
  stop = true;
  builder.join();
  for (std::thread& searcher : searchers) searcher.join();
  EXPECT_GT(gone_below_.load(), 0);
  const uint64_t before = deployment_.Count(memory_);
  deployment_.Restart();
  memory_ = deployment_.Find("busy");
  EXPECT_EQ(deployment_.Count(memory_), before);
}

}  // namespace
}  // namespace mneme
