// Restores onto another number of shards: who asks sees what he saw before, under the ids that he knows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "tests/engine/restore_fixture.h"

namespace mneme::testing {
namespace {

namespace fs = std::filesystem;

class ReshardTest : public RestoreTest, public ::testing::WithParamInterface<std::tuple<uint32_t, uint32_t>> {};
INSTANTIATE_TEST_SUITE_P(Shards, ReshardTest, ShardPairs());

TEST_P(ReshardTest, WhatIsSeenIsTheSameAndStaysTheSameUnderTheSameWrites) {
  const auto [shards, onto] = GetParam();
  auto old = Make(shards);
  CreateMemories(*old);
  for (uint64_t i = Repetitions(400, 4'000); i > 0; --i) {
    old->clock().Advance(static_cast<int64_t>(Any(3)));
    Step({old.get()}, /*give_ids=*/true);
  }
  ASSERT_TRUE(Observe(*old, {1, 0, 0, 0, 1, 0, 0, 0, 1}, {1, 2, 3}, "").ok());
  const std::string before = Digest(*old);
  auto restored = Restored(*old, onto);
  ASSERT_EQ(Digest(*restored), before);
  restored->Restart();
  ASSERT_EQ(Digest(*restored), before);

  // Both go on alike: ids of before are found, what makes room in a ring is the oldest, slots and counters go on.
  for (uint64_t i = Repetitions(100, 1'000); i > 0; --i) Step({old.get(), restored.get()}, /*give_ids=*/false);
  for (auto* each : {old.get(), restored.get()}) {
    ASSERT_TRUE(Observe(*each, {0.9F, 0.1F, 0, 0, 0.9F, 1, 1, 1, 1}, {5, 6, 7}, "").ok());
    ASSERT_TRUE(each->Build(each->Find("wiki")).ok());
  }
  ASSERT_EQ(Digest(*restored), Digest(*old));

  // Ids that are given now were never given before, and what it has is backed up and restored again.
  for (uint64_t i = Repetitions(100, 1'000); i > 0; --i) Step({restored.get()}, /*give_ids=*/true);
  const std::string later = Digest(*restored);
  for (const uint32_t next : {3U, onto}) {
    const auto all_given = all_given_;
    const auto given = given_;
    auto again = Restored(*restored, next);
    ASSERT_EQ(Digest(*again), later) << next;
    for (int i = 0; i < 60; ++i) Step({again.get()}, /*give_ids=*/true);
    all_given_ = all_given;  // another life may give what this one gave
    given_ = given;
  }
}

TEST_P(ReshardTest, EntriesAreFoundByTheIdsThatTheServerGave) {
  const auto [shards, onto] = GetParam();
  auto old = Make(shards);
  CreateMemories(*old);
  const MemoryHandle wiki = old->Find("wiki");
  std::vector<EntryId> ids;
  for (uint32_t batch = 0; batch < 20; ++batch) {
    std::vector<PlainEntry> entries;
    for (uint32_t i = 0; i < 10; ++i) {
      entries.push_back({0, {static_cast<float>(batch), static_cast<float>(i), 0}, batch * 10 + i});
      entries.back().attributes.source = batch;
    }
    const auto done = old->Insert(wiki, ColumnsOf(wiki->spec, entries, /*with_ids=*/false), 0, absl::StrCat(batch));
    ASSERT_TRUE(done.ok());
    ids.insert(ids.end(), done->given_ids.begin(), done->given_ids.end());
  }
  auto restored = Restored(*old, onto);
  const MemoryHandle memory = restored->Find("wiki");
  std::vector<bool> found;
  const EntryColumns entries = (*restored)->Get(memory, 0, ids, true, {}, {}, found).value();
  ASSERT_EQ(entries.count, 200U);
  for (uint32_t i = 0; i < 200; ++i) {
    EXPECT_EQ(entries.ids[i], ids[i]);
    Token token = 0;
    std::memcpy(&token, entries.values.At(i).data(), sizeof(token));
    EXPECT_EQ(token, i);
  }
  // Extra candidates, excluded ids, successors, and a filter.
  QueryCommand query = ExactQuery({3, 4, 0}, 1, 1);
  query.exclude_ids = {ids[34]};
  query.extra_ids = {ids[34], ids[77], ids[78]};
  query.extra_offsets = {0, 3};
  query.with_successors = true;
  const auto near = restored->Query(memory, std::move(query));
  ASSERT_TRUE(near.ok()) << near.status();
  std::set<EntryId> names(near->neighbours.ids.begin(), near->neighbours.ids.end());
  EXPECT_TRUE(names.contains(ids[77]) && names.contains(ids[78]) && !names.contains(ids[34]));
  for (size_t i = 0; i < near->neighbours.ids.size(); ++i) {
    const auto at = std::find(ids.begin(), ids.end(), near->neighbours.ids[i]) - ids.begin();
    EXPECT_EQ(near->has_successor[i], at % 10 == 9 ? 0 : 1) << at;
  }
  RowFilter filter;
  filter.ids = std::vector<EntryId>{ids[5], ids[6], ids[150]};
  std::sort(filter.ids->begin(), filter.ids->end());
  EXPECT_EQ(restored->Count(memory, {}, filter), 3U);

  // A lease goes on to show what is deleted by id.
  const auto lease = (*restored)->AcquireLease(memory, {}, 60'000);
  ASSERT_TRUE(lease.ok()) << lease.status();
  const auto deleted = restored->DeleteIds(memory, {ids[0], ids[77], ids[199], ids[77]});
  ASSERT_TRUE(deleted.ok());
  EXPECT_EQ(deleted->deleted, 3U);
  EXPECT_EQ(restored->DeleteIds(memory, {ids[0], ids[1]})->deleted, 1U);
  EXPECT_EQ(restored->Count(memory), 196U);
  (void)(*restored)->Get(memory, 0, {ids[0], ids[1], ids[2], ids[77], ids[199]}, false, {}, {}, found).value();
  EXPECT_EQ(found, (std::vector<bool>{false, false, true, false, false}));
  for (const bool leased : {false, true}) {
    QueryCommand pinned = ExactQuery({3, 4, 0}, 1, 0);
    pinned.extra_ids = {ids[77], ids[78]};
    pinned.extra_offsets = {0, 2};
    if (leased) pinned.lease = (*restored)->leases().Find(lease->id, *memory).value();
    const auto seen = restored->Query(memory, std::move(pinned));
    ASSERT_TRUE(seen.ok()) << seen.status();
    EXPECT_EQ(seen->neighbours.size(), leased ? 2U : 1U);
  }
  restored->Restart();
  EXPECT_EQ(restored->Count(restored->Find("wiki")), 196U);
  EXPECT_EQ(restored->DeleteIds(restored->Find("wiki"), {ids[0], ids[2]})->deleted, 1U);
}

TEST_P(ReshardTest, WhatExpiresGoesInItsTime) {
  const auto [shards, onto] = GetParam();
  auto old = Make(shards);
  CreateMemories(*old);
  const MemoryHandle wiki = old->Find("wiki");
  std::vector<PlainEntry> entries;
  const int64_t now_ms = old->clock().NowMs();
  for (uint32_t i = 0; i < 40; ++i) {
    entries.push_back({i, {1, 2, 3}, i, {.expiry_ms = i % 2 == 0 ? now_ms + 1000 : 0}});
  }
  ASSERT_TRUE(old->Insert(wiki, ColumnsOf(wiki->spec, entries)).ok());
  for (int i = 0; i < 20; ++i) {
    const std::string session = absl::StrCat("s", i);
    ASSERT_TRUE(Apply(*old, {{session, "a", RegisterPut{"1", i % 2 == 0 ? now_ms + 1000 : 0}},
                             {session, "b", RegisterPut{"2"}}}, "", i % 4 == 1 ? now_ms + 1000 : 0).ok());
  }
  auto restored = Restored(*old, onto);
  EXPECT_EQ(restored->Count(restored->Find("wiki")), 40U);
  restored->clock().Advance(60'000);
  EXPECT_EQ(restored->Count(restored->Find("wiki")), 20U);
  const auto removed = [&] {
    const DeploymentStatistics statistics = (*restored)->Statistics();
    return std::tuple(statistics.expired_sessions, statistics.expired_states, statistics.memories.expired);
  };
  const std::tuple<uint64_t, uint64_t, uint64_t> all = {5, 10, 20};
  for (int i = 0; i < 1500 && removed() != all; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(removed(), all);
}

TEST_F(RestoreTest, AnIndexIsBuiltAgainFromTheStoreBeforeItIsServed) {
  auto old = Make(2);
  CreateMemories(*old);
  const MemoryHandle wiki = old->Find("wiki");
  std::vector<PlainEntry> entries;
  for (EntryId id = 0; id < 3000; ++id) {
    entries.push_back({id, {static_cast<float>(id % 17), static_cast<float>(id % 101), 1}, 1});
  }
  ASSERT_TRUE(old->Insert(wiki, ColumnsOf(wiki->spec, entries)).ok());
  ASSERT_TRUE(old->Insert(wiki, ColumnsOf(wiki->spec, entries), 7).ok());
  ASSERT_TRUE(old->Build(wiki).ok());
  ASSERT_TRUE(old->Insert(wiki, ColumnsOf(wiki->spec, entries), 2).ok());  // without one
  for (const uint32_t onto : {1, 3}) {
    auto restored = Restored(*old, onto);
    const MemoryHandle memory = restored->Find("wiki");
    const MemoryStatistics statistics = (*restored)->Statistics(memory).value();
    EXPECT_EQ(statistics.entries, 9000U);
    EXPECT_EQ(statistics.segments, 1U + onto);
    EXPECT_EQ(statistics.tail_rows, 3000U);
    EXPECT_EQ(Digest(*restored), Digest(*old));
  }
}

TEST_F(RestoreTest, WhatIsGivenUpLeavesNothing) {
  auto old = Make(2);
  CreateMemories(*old);
  for (int i = 0; i < 200; ++i) Step({old.get()}, /*give_ids=*/true);
  const MemoryHandle wiki = old->Find("wiki");
  std::vector<PlainEntry> entries;
  for (EntryId id = 0; id < 30'000; ++id) entries.push_back({id, {1, 2, 3}, 1});
  ASSERT_TRUE(old->Insert(wiki, ColumnsOf(wiki->spec, entries), 5).ok());
  ASSERT_TRUE((*old)->backups()->Create(0, Go).ok());
  const std::string target = directory_ / "target";
  const auto restore = [&](const BackupProgressSink& progress) {
    return RestoreBackup(backups_, 0, {target, PlacementOn(3)}, progress).status();
  };
  std::vector<std::string> stages;  // of each step
  ASSERT_TRUE(restore([&](const BackupProgress& progress) {
                EXPECT_LE(progress.bytes_done, progress.bytes_total);
                stages.push_back(progress.stage);
                return true;
              }).ok());
  fs::remove_all(target);
  const auto restoring = static_cast<size_t>(std::find(stages.begin(), stages.end(), "restoring") - stages.begin());
  ASSERT_GT(stages.size(), restoring + 3);
  std::vector<size_t> lasts = {0, Any(restoring), Any(restoring)};
  for (size_t step = restoring; step < stages.size(); step += kSanitized ? 4 : 1) lasts.push_back(step);
  for (const size_t last : lasts) {
    size_t steps = 0;
    const absl::Status given_up = restore([&](const BackupProgress&) { return steps++ < last; });
    EXPECT_EQ(given_up.code(), absl::StatusCode::kCancelled) << last << ": " << given_up;
    EXPECT_FALSE(fs::exists(target)) << last;
  }
}

TEST_F(RestoreTest, AnImpossibleNumberOfShardsIsRefused) {
  auto old = Make(1);
  CreateMemories(*old);
  ASSERT_TRUE((*old)->backups()->Create(0, Go).ok());
  const std::string target = directory_ / "target";
  for (const uint32_t shards : {0U, limits::kMaxShards + 1}) {
    Placement placement = PlacementOn(1);
    placement.shards = shards;
    EXPECT_EQ(RestoreBackup(backups_, 0, {target, placement}, Go).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_FALSE(fs::exists(target));
  }
}

}  // namespace
}  // namespace mneme::testing
