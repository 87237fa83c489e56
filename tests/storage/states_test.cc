// Working memory in both stores: random writes against each other, and what one reader sees.
#include "storage/states.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "storage/memory_entry_store.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;

StatePtr StateOf(uint64_t version, std::string payload) {
  return std::make_shared<const StateRecord>(StateRecord{.version = version, .payload = std::move(payload)});
}

class StatesTest : public ::testing::Test {
 protected:
  StatesTest() { Open(); }

  void Open() {
    rocksdb_.reset();
    auto opened = OpenRocksDbEntryStore({directory_ / "db", &resources_, nullptr});
    ASSERT_TRUE(opened.ok()) << opened.status();
    rocksdb_ = *std::move(opened);
  }
  void Commit(StateWrites writes) {
    for (EntryStore* store : {rocksdb_.get(), memory_.get()}) {
      StoreBatch batch;
      batch.sequence = store->applied() + 1;
      batch.states = writes;
      ASSERT_TRUE(store->Commit(batch).ok());
    }
  }
  // Everything of memories 1 to 3, as text.
  static std::string Dump(const StateReader& reader) {
    std::string out = absl::StrCat("memories ", reader.Memories()->size(), "\n");
    const auto expiries = reader.ScanExpiries(0, 1000);
    for (const StateExpiry& each : *expiries) {
      absl::StrAppend(&out, each.expiry_ms, " ", each.memory, " ", each.space, " ", each.session, " ", each.name, "\n");
    }
    const auto later = reader.ScanExpiries(20, 3);
    absl::StrAppend(&out, later->size(), " from ", later->empty() ? 0 : later->front().expiry_ms, " on\n");
    for (MemoryNumber memory = 1; memory <= 3; ++memory) {
      const auto sessions = reader.ScanSessions(memory, "", "", 1000);
      for (const NamedSession& each : *sessions) {
        absl::StrAppend(&out, memory, " ", each.session, " ", each.record.number, " ", each.record.states, "\n");
        EXPECT_EQ(*reader.FindSession({memory, each.session}), each.record);
      }
      for (uint64_t number = 1; number <= 4; ++number) {
        const StateSpace space{memory, number};
        absl::StrAppend(&out, memory, "/", number, " references ", *reader.FindReferences(space), "\n");
        EXPECT_TRUE(reader
                        .ScanStates(space,
                                    [&](std::string_view name, StateRecord state) {
                                      absl::StrAppend(&out, "  ", std::string(name), " ",
                                                      state.version, " ", state.payload, "\n");
                                      EXPECT_EQ(*reader.FindState({space, std::string(name)}), state);
                                      return true;
                                    })
                        .ok());
        for (uint32_t piece = 1; piece <= 2; ++piece) {
          for (int n = 0; n < 6; ++n) {
            const auto found = reader.FindState({space, absl::StrCat("n", n), piece});
            if (found->has_value()) absl::StrAppend(&out, "  piece ", piece, " of ", n, " ", (*found)->payload, "\n");
          }
        }
      }
    }
    return out;
  }

  TemporaryDirectory directory_;
  StoreResources resources_{1 << 20, 1 << 20};
  std::unique_ptr<EntryStore> rocksdb_;
  std::unique_ptr<EntryStore> memory_ = NewMemoryEntryStore();
};

TEST_F(StatesTest, RandomWritesGiveTheSameInBothStoresAndAfterARestart) {
  std::mt19937_64 random(7);
  const auto below = [&](uint64_t bound) { return random() % bound; };
  for (int round = 0; round < 200; ++round) {
    StateWrites writes;
    const MemoryNumber memory = static_cast<MemoryNumber>(1 + below(3));
    const StateSpace space{memory, 1 + below(4)};
    if (below(8) == 0) writes.dropped_spaces.push_back(space);
    const SessionKey session{memory, absl::StrCat("s", below(5))};
    if (below(3) != 0) writes.sessions.emplace_back(session, SessionRecord{.number = 1 + below(4), .states = below(9)});
    if (below(8) == 0) writes.sessions.emplace_back(session, std::nullopt);
    if (writes.dropped_spaces.empty()) {
      for (uint64_t i = below(4); i > 0; --i) {
        writes.states.emplace_back(StateKey{space, absl::StrCat("n", below(6))},
                                   StateOf(below(100), std::string(below(40), 'x')));
      }
      if (below(4) == 0) writes.states.emplace_back(StateKey{space, absl::StrCat("n", below(6))}, nullptr);
      for (uint32_t piece = 1; piece <= 2; ++piece) {
        const StateKey key{space, absl::StrCat("n", below(6)), piece};
        writes.states.emplace_back(key, below(3) == 0 ? nullptr : StateOf(0, std::string(below(40), 'p')));
      }
    }
    if (below(4) == 0) writes.references.emplace_back(space, below(3));
    const auto expiry = [&] {
      const int64_t at = static_cast<int64_t>(1 + below(40));
      return below(2) == 0 ? StateExpiry{at, memory, 0, "s", ""} : StateExpiry{at, memory, 7, "s", "n"};
    };
    if (below(2) == 0) writes.added_expiries = {expiry()};
    if (below(2) == 0) writes.removed_expiries = {expiry()};
    Commit(writes);
    if (round % 50 == 49) {
      Open();
      const MemoryNumber gone = static_cast<MemoryNumber>(1 + below(3));
      ASSERT_TRUE(rocksdb_->DropMemory(gone).ok());
      ASSERT_TRUE(memory_->DropMemory(gone).ok());
    }
    ASSERT_EQ(Dump(*rocksdb_->ReadStates()), Dump(*memory_->ReadStates())) << "round " << round;
  }
}

TEST_F(StatesTest, AReaderSeesOneMoment) {
  Commit({.states = {{{{1, 1}, "n"}, StateOf(1, "old")}}});
  for (EntryStore* store : {rocksdb_.get(), memory_.get()}) {
    const auto before = store->ReadStates();
    StoreBatch batch;
    batch.sequence = store->applied() + 1;
    batch.states.dropped_spaces = {{1, 1}};
    ASSERT_TRUE(store->Commit(batch).ok());
    EXPECT_EQ((*before->FindState({{1, 1}, "n"}))->payload, "old");
    EXPECT_FALSE(store->ReadStates()->FindState({{1, 1}, "n"})->has_value());
  }
}

TEST_F(StatesTest, ALargeSpaceGoesWhole) {
  StateWrites writes;
  for (int i = 0; i < 3000; ++i) writes.states.emplace_back(StateKey{{1, 1}, absl::StrCat(i)}, StateOf(1, ""));
  writes.states.emplace_back(StateKey{{1, 2}, "n"}, StateOf(1, ""));
  Commit(writes);
  Commit({.dropped_spaces = {{1, 1}}});
  EXPECT_EQ(Dump(*rocksdb_->ReadStates()), Dump(*memory_->ReadStates()));
  EXPECT_FALSE(rocksdb_->ReadStates()->FindState({{1, 1}, "17"})->has_value());
  EXPECT_TRUE(rocksdb_->ReadStates()->FindState({{1, 2}, "n"})->has_value());
}

TEST_F(StatesTest, SessionsAreScannedByPrefixAndPage) {
  StateWrites writes;
  for (const char* name : {"a", "b/1", "b/2", "b/3", "c"}) {
    writes.sessions.emplace_back(SessionKey{2, name}, SessionRecord{.number = 1});
  }
  Commit(writes);
  for (EntryStore* store : {rocksdb_.get(), memory_.get()}) {
    const auto names = [&](const char* prefix, const char* after, size_t limit) {
      std::vector<std::string> out;
      const auto found = store->ReadStates()->ScanSessions(2, prefix, after, limit);
      for (const NamedSession& each : *found) out.push_back(each.session);
      return out;
    };
    EXPECT_THAT(names("", "", 9), ElementsAre("a", "b/1", "b/2", "b/3", "c"));
    EXPECT_THAT(names("b/", "", 2), ElementsAre("b/1", "b/2"));
    EXPECT_THAT(names("b/", "b/2", 2), ElementsAre("b/3"));
    EXPECT_THAT(names("b/", "z", 2), ElementsAre());
  }
}

}  // namespace
}  // namespace mneme
