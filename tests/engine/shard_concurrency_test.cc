// Searches, inserts, deletes, builds and retrains at once: every answer is of one version (I3), and nothing that was
// acknowledged as deleted appears (I5). Run under TSan.
#include <array>
#include <atomic>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "common/index_choice.h"
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

// A deployment that seals and merges a few rows in the background all the time, while entries come, change and go,
// another memory is made and dropped, and several threads ask one query each, so that they are searched together.
class BusyLifeTest : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr EntryId kKept = 200;     // ids below are overwritten again and again, the token counting the rounds
  static constexpr EntryId kDeleted = 200;  // and as many above are deleted one after the other
  static constexpr int kRounds = 40;

  BusyLifeTest() {
    MemorySpec spec = TokenMemory("life", 8);
    spec.index = ParseIndexChoice(GetParam(), spec.dimension).value();
    memory_ = deployment_.Create(spec);
    for (auto& round : acknowledged_) round = 0;
  }

  PlainEntry EntryOf(EntryId id, int round) const {
    PlainEntry entry{id, std::vector<float>(8, 1.0F), static_cast<Token>(round)};
    entry.key[id % 8] += static_cast<float>((id * 31 + static_cast<EntryId>(round) * 17) % 50);
    entry.attributes.source = id;
    return entry;
  }

  void PutAll(int round) {
    for (EntryId first = 0; first < kKept; first += 50) {
      std::vector<PlainEntry> entries;
      for (EntryId id = first; id < first + 50; ++id) entries.push_back(EntryOf(id, round));
      ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries)).ok());
      for (EntryId id = first; id < first + 50; ++id) acknowledged_[id] = round;
    }
  }

  void DeleteOthers() {
    for (EntryId id = kKept; id < kKept + kDeleted; ++id) {
      DeleteCommand command;
      if (id % 2 == 0) {
        command.ids = std::vector<EntryId>{id};
      } else {
        command.filter = RowFilter{};
        command.filter->sources = std::vector<uint64_t>{id};
      }
      const auto outcome = deployment_.Delete(memory_, std::move(command));
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      ASSERT_EQ(outcome->deleted, 1U) << id;
      deleted_to_ = id + 1;
    }
  }

  void Search(size_t searcher) {
    for (size_t i = searcher; !over_; ++i) {
      std::array<int, kKept> least;
      for (EntryId id = 0; id < kKept; ++id) least[id] = acknowledged_[id];
      const EntryId deleted_to = deleted_to_;
      QueryCommand command = ExactQuery({1, 1, 1, 1, 1, 1, 1, static_cast<float>(i % 5)}, 1, 1000);
      command.exact = i % 3 == 0;
      command.probes = i % 3 == 1 ? 1 : 0;
      const auto outcome = deployment_.Query(memory_, std::move(command));
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      // There are fewer than k, so that every answer holds all.
      std::map<EntryId, Token> found;
      for (size_t n = 0; n < outcome->neighbours.size(); ++n) {
        Token token = 0;
        std::memcpy(&token, outcome->neighbours.values.At(n).data(), sizeof(token));
        ASSERT_TRUE(found.emplace(outcome->neighbours.ids[n], token).second) << "an entry appears twice";
      }
      for (EntryId id = 0; id < kKept; ++id) {
        ASSERT_TRUE(found.contains(id)) << id << " is missing";
        ASSERT_GE(found[id], static_cast<Token>(least[id])) << id << " is older than was acknowledged";
      }
      for (EntryId id = kKept; id < deleted_to; ++id) ASSERT_FALSE(found.contains(id)) << id << " was deleted";
      ++searched_;
    }
  }

  void MakeAndDropAnother() {
    for (int i = 0; !over_; ++i) {
      const MemoryHandle other = deployment_.Create(TokenMemory("other", 8));
      for (int batch = 0; batch < 4; ++batch) {
        std::vector<PlainEntry> entries;
        for (EntryId id = 0; id < 60; ++id) entries.push_back(EntryOf(id, i));
        ASSERT_TRUE(deployment_.Insert(other, ColumnsOf(other->spec, entries)).ok());
      }
      ASSERT_TRUE(deployment_->DropMemory("other").ok());
    }
  }

  TestDeployment deployment_{
      1, {.search_threads = 2, .thresholds = {.flat_rows = 60, .seal_rows = 120, .min_indexed_rows = 32}}};
  MemoryHandle memory_;
  std::array<std::atomic<int>, kKept> acknowledged_;
  std::atomic<EntryId> deleted_to_{kKept};
  std::atomic<bool> over_{false};
  std::atomic<size_t> searched_{0};
};

TEST_P(BusyLifeTest, EveryAnswerShowsWhatWasAcknowledged) {
  PutAll(1);
  std::vector<PlainEntry> others;
  for (EntryId id = kKept; id < kKept + kDeleted; ++id) others.push_back(EntryOf(id, 0));
  ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(memory_->spec, others)).ok());

  std::vector<std::thread> threads;
  for (size_t searcher = 0; searcher < 4; ++searcher) threads.emplace_back([this, searcher] { Search(searcher); });
  threads.emplace_back([this] { MakeAndDropAnother(); });
  threads.emplace_back([this] {
    for (int i = 0; !over_; ++i) {
      const absl::Status status = deployment_.Build(memory_, /*retrain=*/i % 2 == 0);
      ASSERT_TRUE(status.ok()) << status;
    }
  });
  std::thread deleter([this] { DeleteOthers(); });
  for (int round = 2; round <= kRounds; ++round) PutAll(round);
  deleter.join();
  over_ = true;
  for (std::thread& thread : threads) thread.join();

  EXPECT_GT(searched_.load(), 0U);
  EXPECT_EQ(deployment_.Count(memory_), kKept);
  deployment_.Restart();
  memory_ = deployment_.Find("life");
  EXPECT_EQ(deployment_.Count(memory_), kKept);
}

INSTANTIATE_TEST_SUITE_P(Codecs, BusyLifeTest,
                         ::testing::Values("IVF4,flat", "IVF4,int8", "IVF4,pq:4x4", "IVF4,rabitq:1"),
                         [](const auto& codec) {
                           std::string name = codec.param;
                           std::erase_if(name, [](char c) { return c == ',' || c == ':'; });
                           return name;
                         });

}  // namespace
}  // namespace mneme
