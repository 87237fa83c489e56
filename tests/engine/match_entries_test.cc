// Matches of two memories through a deployment: the same whether they are known or made, and made anew when a side
// changes.
#include "engine/match_entries.h"

#include <random>

#include "gmock/gmock.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;
using testing::ColumnsOf;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

class MatchEntriesTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  MatchEntriesTest() : deployment_(GetParam()) {}

  void Create(uint32_t dimension) {
    command_.source.memory = deployment_.Create(TokenMemory("source", dimension, Metric::kInnerProduct));
    command_.target.memory = deployment_.Create(TokenMemory("target", dimension, Metric::kInnerProduct));
    for (MatchSide* side : {&command_.source, &command_.target}) {
      side->components.resize(dimension);
      for (uint32_t c = 0; c < dimension; ++c) side->components[c] = c;
    }
    command_.csls_k = 2;
  }
  void Insert(const MatchSide& side, const std::vector<PlainEntry>& entries, PartitionId partition = 0) {
    const auto outcome = deployment_.Insert(side.memory, ColumnsOf(side.memory->spec, entries), partition);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
  }
  std::vector<PlainEntry> Random(EntryId first, size_t count) {
    std::vector<PlainEntry> entries(count);
    for (size_t i = 0; i < count; ++i) {
      entries[i].id = first + i;
      for (int c = 0; c < 4; ++c) entries[i].key.push_back(static_cast<float>(random_() % 2000) / 1000.0F - 1.0F);
    }
    return entries;
  }
  void InsertRandom() {
    Create(4);
    Insert(command_.source, Random(0, 60));
    Insert(command_.target, Random(0, 90));
  }

  MatchOutcome Match() {
    auto outcome = deployment_->Match(command_);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.ok() ? *outcome : MatchOutcome();
  }
  // What a deployment that knows nothing answers.
  MatchOutcome MatchAnew() {
    deployment_.Restart();
    command_.source.memory = deployment_.Find("source");
    command_.target.memory = deployment_.Find("target");
    return Match();
  }
  void ExpectMade(bool made, const MatchOutcome& outcome) {
    EXPECT_EQ(outcome.products != 0, made);
    EXPECT_EQ(outcome.rows_read != 0, made);
  }
  static void ExpectSame(const MatchOutcome& a, const MatchOutcome& b) {
    EXPECT_EQ(a.entries->source_ids, b.entries->source_ids);
    EXPECT_EQ(a.entries->target_ids, b.entries->target_ids);
    EXPECT_EQ(a.entries->match.best_column, b.entries->match.best_column);
    EXPECT_EQ(a.entries->match.best_row, b.entries->match.best_row);
    EXPECT_EQ(a.entries->match.best_score, b.entries->match.best_score);  // to the bit
    EXPECT_EQ(a.entries->match.best_row_score, b.entries->match.best_row_score);
    EXPECT_EQ(a.entries->match.row_means, b.entries->match.row_means);
    EXPECT_EQ(a.entries->match.column_means, b.entries->match.column_means);
    EXPECT_EQ(a.entries->match.mutual, b.entries->match.mutual);
  }

  TestDeployment deployment_;
  MatchCommand command_;
  std::mt19937_64 random_{4};
};
INSTANTIATE_TEST_SUITE_P(Shards, MatchEntriesTest, ::testing::Values(1, 4));

// MEMORIES 4, CSLS: S of three by three, K = 2.
TEST_P(MatchEntriesTest, TheGoldenOfCsls) {
  Create(3);
  Insert(command_.source, {{10, {0.9F, 0.8F, 0.1F}}, {11, {0.85F, 0.2F, 0.3F}}, {12, {0.4F, 0.5F, 0.6F}}});
  Insert(command_.target, {{0, {1, 0, 0}}, {1, {0, 1, 0}}, {2, {0, 0, 1}}});
  const MatchOutcome got = Match();
  EXPECT_THAT(got.entries->source_ids, ElementsAre(10, 11, 12));
  EXPECT_THAT(got.entries->match.best_column, ElementsAre(1, 0, 2));
  EXPECT_THAT(got.entries->match.best_score, Pointwise(DoubleNear(1e-7), {0.05, 0.125, 0.1}));
  EXPECT_THAT(got.entries->match.row_means, Pointwise(DoubleNear(1e-7), {0.85, 0.575, 0.55}));
  EXPECT_THAT(got.entries->match.column_means, Pointwise(DoubleNear(1e-7), {0.875, 0.65, 0.45}));
  EXPECT_THAT(got.entries->match.mutual, ElementsAre(true, true, true));
  EXPECT_EQ(got.products, 2U * 3 * 3 * 3);
}

TEST_P(MatchEntriesTest, WhatIsKnownCostsNoProductAndIsTheSameToTheBit) {
  InsertRandom();
  const MatchOutcome made = Match();
  EXPECT_EQ(made.products, 2U * 60 * 90 * 4);
  EXPECT_EQ(made.rows_read, 150U);
  const MatchOutcome known = Match();
  ExpectMade(false, known);
  ExpectSame(known, made);
  ExpectSame(MatchAnew(), made);
}

TEST_P(MatchEntriesTest, AWriteToEitherSideMakesItAnew) {
  InsertRandom();
  Match();
  Insert(command_.source, Random(200, 1));
  ExpectMade(true, Match());
  ASSERT_TRUE(deployment_.DeleteIds(command_.target.memory, {4}).ok());
  const MatchOutcome after = Match();
  ExpectMade(true, after);
  EXPECT_EQ(after.entries->target_ids.size(), 89U);
  ExpectMade(false, Match());
  Insert(command_.target, Random(5, 1));  // an upsert
  const MatchOutcome upserted = Match();
  ExpectMade(true, upserted);
  ExpectSame(MatchAnew(), upserted);
}

TEST_P(MatchEntriesTest, AnotherMemoryAndMaintenanceMakeNothingAnew) {
  InsertRandom();
  Insert(command_.target, Random(100, 2000));
  const MatchOutcome made = Match();
  const MemoryHandle other = deployment_.Create(TokenMemory("other", 4, Metric::kInnerProduct));
  ASSERT_TRUE(deployment_.Insert(other, ColumnsOf(other->spec, Random(0, 5))).ok());
  ASSERT_TRUE(deployment_.Build(command_.target.memory).ok());
  const MatchOutcome known = Match();
  ExpectMade(false, known);
  ExpectSame(known, made);
}

TEST_P(MatchEntriesTest, EveryParameterCounts) {
  InsertRandom();
  Match();
  const MatchCommand plain = command_;
  const auto differs = [&](const char* what) {
    SCOPED_TRACE(what);
    ExpectMade(true, Match());
    ExpectMade(false, Match());
    command_ = plain;
    ExpectMade(false, Match());
  };
  command_.csls_k = 3;
  differs("csls_k");
  command_.form = CslsForm::kMuse;
  differs("form");
  command_.source.components = {0, 1, 2, 2};
  differs("components");
  command_.target.selection.filter.ids = command_.source.selection.filter.ids = std::vector<EntryId>{1, 2, 3};
  differs("filter");
  Insert(command_.source, Random(0, 5), 7);
  command_.source.selection.partitions.partitions = {7};
  differs("partitions");
}

TEST_P(MatchEntriesTest, WhatExpiredSinceIsMatchedNoMore) {
  InsertRandom();
  std::vector<PlainEntry> dying = Random(500, 1);
  dying[0].attributes.expiry_ms = deployment_.clock().NowMs() + 10;
  Insert(command_.target, dying);
  EXPECT_EQ(Match().entries->target_ids.size(), 91U);
  deployment_.clock().Advance(9);
  ExpectMade(false, Match());
  deployment_.clock().Advance(1);
  const MatchOutcome after = Match();
  ExpectMade(true, after);
  EXPECT_EQ(after.entries->target_ids.size(), 90U);
}

TEST_P(MatchEntriesTest, ADroppedMemoryIsForgottenWithItsMatches) {
  InsertRandom();
  Match();
  EXPECT_GT(deployment_->Statistics().match_cache_bytes, 0U);
  ASSERT_TRUE(deployment_->DropMemory("source").ok());
  EXPECT_EQ(deployment_->Statistics().match_cache_bytes, 0U);
}

TEST(MatchCacheTest, TheLeastRecentlyUsedGoFirst) {
  const auto entries = std::make_shared<const MatchedEntries>();
  const auto key = [](uint32_t csls_k) {
    MatchKey made;
    made.csls_k = csls_k;
    return made;
  };
  MatchCache measure;
  measure.Keep(key(1), entries);
  MatchCache cache(2 * measure.ram_bytes());
  cache.Keep(key(1), entries);
  cache.Keep(key(2), entries);
  EXPECT_NE(cache.Find(key(1), {}, {}), nullptr);
  cache.Keep(key(3), entries);
  EXPECT_NE(cache.Find(key(1), {}, {}), nullptr);
  EXPECT_EQ(cache.Find(key(2), {}, {}), nullptr);
  EXPECT_EQ(cache.ram_bytes(), 2 * measure.ram_bytes());
}

}  // namespace
}  // namespace mneme
