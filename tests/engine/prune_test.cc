// Greedy merging: its choice against the plain algorithm, its writes under restarts and rival writers, and its guard.
#include "engine/prune.h"

#include <cmath>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <map>
#include <random>
#include <thread>

#include "common/limits.h"
#include "engine/merge_entries.h"
#include "engine/partition_index.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::ExactQuery;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

uint64_t Seed() {
  const char* given = std::getenv("MNEME_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::cout << "seed " << seed << " (MNEME_TEST_SEED repeats it)" << std::endl;
  return seed;
}

std::vector<PlainEntry> RandomEntries(uint64_t seed, size_t count) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<PlainEntry> entries;
  for (EntryId id = 0; id < count; ++id) {
    entries.push_back({id, {normal(random), normal(random), normal(random), normal(random)},
                       static_cast<Token>(random() % 3)});
  }
  return entries;
}

double SquaredDistance(const PlainEntry& a, const PlainEntry& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.key.size(); ++i) sum += (double{a.key[i]} - b.key[i]) * (double{a.key[i]} - b.key[i]);
  return sum;
}

// The algorithm as the paper has it: weights in the order of the entries, 0 where an entry was merged.
std::map<EntryId, float> MergePlainly(const std::vector<PlainEntry>& entries, size_t neighbours) {
  std::map<EntryId, float> weight;
  for (const PlainEntry& entry : entries) weight[entry.id] = 1;
  for (const PlainEntry& entry : entries) {
    if (weight[entry.id] == 0) continue;
    std::vector<std::pair<double, size_t>> nearest;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].id != entry.id) nearest.emplace_back(SquaredDistance(entry, entries[i]), i);
    }
    std::sort(nearest.begin(), nearest.end());
    for (size_t i = 0; i < std::min(neighbours, nearest.size()); ++i) {
      const PlainEntry& other = entries[nearest[i].second];
      if (other.token != entry.token || weight[other.id] != 1) continue;
      weight[other.id] = 0;
      ++weight[entry.id];
    }
  }
  std::erase_if(weight, [](const auto& one) { return one.second == 0; });
  return weight;
}

class PruneTest : public ::testing::Test {
 protected:
  MemoryHandle Fill(const std::vector<PlainEntry>& entries, bool with_ids = true) {
    MemoryHandle memory = deployment_.Create(TokenMemory("wiki", 4));
    EXPECT_TRUE(deployment_.Insert(memory, ColumnsOf(memory->spec, entries, with_ids)).ok());
    return memory;
  }

  static PruneCommand Command() {
    PruneCommand command;
    command.neighbours = 9;
    command.exact = true;
    return command;
  }

  std::map<EntryId, float> Weights(const MemoryHandle& memory) {
    ScanCommand scan;
    scan.page_size = 8192;
    auto page = deployment_->Scan(memory, scan);
    EXPECT_TRUE(page.ok()) << page.status();
    std::map<EntryId, float> weights;
    for (size_t i = 0; page.ok() && i < page->entries.count; ++i) {
      weights[page->entries.ids[i]] = page->entries.At(i).attributes.weight;
    }
    return weights;
  }

  TestDeployment deployment_;
};

TEST_F(PruneTest, ItMergesWhatThePlainAlgorithmMergesAndARestartKeepsIt) {
  const std::vector<PlainEntry> entries = RandomEntries(Seed(), 1500);
  const MemoryHandle memory = Fill(entries);
  const auto expected = MergePlainly(entries, 9);
  const auto pruned = deployment_->Prune(memory, Command());
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  EXPECT_EQ(pruned->entries, entries.size());
  EXPECT_EQ(pruned->merged, entries.size() - expected.size());
  EXPECT_EQ(pruned->overtaken, 0U);
  EXPECT_EQ(Weights(memory), expected);
  deployment_.Restart();
  EXPECT_EQ(Weights(deployment_.Find("wiki")), expected);
}

TEST_F(PruneTest, ASealedMemoryIsPrunedAlike) {
  const std::vector<PlainEntry> entries = RandomEntries(Seed(), 1500);
  const MemoryHandle memory = Fill(entries);
  ASSERT_TRUE(deployment_.Build(memory).ok());
  ASSERT_TRUE(deployment_->Prune(memory, Command()).ok());
  EXPECT_EQ(Weights(memory), MergePlainly(entries, 9));
}

TEST_F(PruneTest, ADryRunTellsTheSameAndWritesNothing) {
  const std::vector<PlainEntry> entries = RandomEntries(Seed(), 500);
  const MemoryHandle memory = Fill(entries);
  PruneCommand command = Command();
  command.dry_run = true;
  const auto pruned = deployment_->Prune(memory, std::move(command));
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  EXPECT_EQ(pruned->merged, entries.size() - MergePlainly(entries, 9).size());
  EXPECT_EQ(deployment_.Count(memory), entries.size());
}

TEST_F(PruneTest, OtherValuesLabelsExpiriesAndWeightsAreLeftAlone) {
  std::vector<PlainEntry> entries = {{0, {0, 0, 0, 0}, 7}, {1, {0, 0, 0, 0}, 8}};
  entries.push_back({2, {0, 0, 0, 0}, 7, {.label = 1}});
  entries.push_back({3, {0, 0, 0, 0}, 7, {.expiry_ms = 9'000'000}});
  entries.push_back({4, {0, 0, 0, 0}, 7, {.weight = 2.5F}});
  entries.push_back({5, {0, 0, 0, 0}, 7, {.source = 3}});
  const MemoryHandle memory = Fill(entries);
  ASSERT_TRUE(deployment_->Prune(memory, Command()).ok());
  const std::map<EntryId, float> expected = {{0, 2}, {1, 1}, {2, 1}, {3, 1}, {4, 2.5F}};
  EXPECT_EQ(Weights(memory), expected);
}

TEST_F(PruneTest, SurvivorsKeepTheirAttributesAndTheirAge) {
  const MemoryHandle memory = Fill({{3, {1, 2, 3, 4}, 7, {.score = 0.5, .label = 6, .source = 2, .position = 9}},
                                    {4, {1, 2, 3, 4}, 7, {.label = 6}}});
  deployment_.clock().Advance(5'000);
  ASSERT_TRUE(deployment_->Prune(memory, Command()).ok());
  std::vector<bool> found;
  const auto kept = deployment_->Get(memory, 0, {3, 4}, true, {}, {}, found);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(found, (std::vector<bool>{true, false}));
  const Attributes expected = {
      .weight = 2, .score = 0.5, .label = 6, .source = 2, .position = 9, .created_ms = 1'000'000};
  EXPECT_EQ(kept->At(0).attributes, expected);
}

TEST_F(PruneTest, ASurvivorWithAnIdOfTheServerGetsANewOne) {
  const MemoryHandle memory = Fill({{0, {1, 0, 0, 0}, 7}, {0, {1, 0, 0, 0}, 7}, {0, {9, 0, 0, 0}, 5}},
                                   /*with_ids=*/false);
  const auto before = Weights(memory);
  const auto pruned = deployment_->Prune(memory, Command());
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  EXPECT_EQ(pruned->merged, 1U);
  const auto after = Weights(memory);
  ASSERT_EQ(after.size(), 2U);
  EXPECT_EQ(after.begin()->first, std::prev(before.end())->first);  // the one that nothing merged with
  EXPECT_FALSE(before.contains(after.rbegin()->first));
  EXPECT_EQ(after.rbegin()->second, 2);
}

TEST_F(PruneTest, AFullMemoryWithACapacityLosesNothingButWhatMerged) {
  for (const bool with_ids : {false, true}) {
    MemorySpec spec = TokenMemory(with_ids ? "given" : "own", 4);
    spec.spread = Spread::kOne;
    spec.capacity = 4;
    const MemoryHandle memory = deployment_.Create(spec);
    const std::vector<PlainEntry> entries = {
        {0, {1, 0, 0, 0}, 7}, {1, {9, 0, 0, 0}, 5}, {2, {5, 0, 0, 0}, 3}, {3, {1, 0, 0, 0}, 7}};
    ASSERT_TRUE(deployment_.Insert(memory, ColumnsOf(memory->spec, entries, with_ids)).ok());
    const auto pruned = deployment_->Prune(memory, Command());
    ASSERT_TRUE(pruned.ok()) << pruned.status();
    EXPECT_EQ(pruned->merged, 1U);
    EXPECT_EQ(deployment_.Count(memory), 3U);
    const auto statistics = deployment_->Statistics(memory);
    ASSERT_TRUE(statistics.ok());
    EXPECT_EQ(statistics->entries, 3U);
    EXPECT_EQ(statistics->evicted, 0U);
  }
}

// Entry 0 is at the origin with token 1, entries 1 and 2 beside it likewise; entry 3 says token 2 there.
std::vector<PlainEntry> AtTheOrigin() {
  return {{0, {0, 0, 0, 0}, 1}, {1, {.5F, 0, 0, 0}, 1}, {2, {1, 0, 0, 0}, 1}, {3, {1, 1, 0, 0}, 2}};
}

PruneGuard GuardAtTheOrigin(double max_rise) {
  PruneGuard guard;
  guard.queries.Resize(4 * sizeof(float));
  std::fill_n(guard.queries.as<float>(), 4, 0.0F);
  guard.count = 1;
  guard.targets = {1};
  guard.lm_log_probs = {std::log(0.25F)};
  guard.k = 2;
  guard.temperature = 1.0;
  guard.knn_weight = 0.5;
  guard.max_perplexity_rise = max_rise;
  return guard;
}

TEST_F(PruneTest, TheGuardToldBeforeIsWhatQueriesSeeAfter) {
  const MemoryHandle memory = Fill(AtTheOrigin());
  PruneCommand command = Command();
  command.guard = GuardAtTheOrigin(10);
  const auto pruned = deployment_->Prune(memory, std::move(command));
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  EXPECT_EQ(pruned->merged, 2U);
  // Before, both of the two nearest say 1; after, one of weight 3 at distance 0 and token 2 at distance 2.
  EXPECT_NEAR(*pruned->perplexity_before, 1 / (0.5 * 1 + 0.5 * 0.25), 1e-6);
  const double p = 3 / (3 + std::exp(-2.0));
  EXPECT_NEAR(*pruned->perplexity_after, 1 / (0.5 * p + 0.5 * 0.25), 1e-6);
  const auto found = deployment_.Query(memory, ExactQuery({0, 0, 0, 0}, 1, 2));
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->neighbours.ids, (std::vector<EntryId>{0, 3}));
  EXPECT_EQ(found->neighbours.weights[0], 3);
}

TEST_F(PruneTest, TheGuardRefusesAndNothingIsWritten) {
  const MemoryHandle memory = Fill(AtTheOrigin());
  PruneCommand command = Command();
  command.guard = GuardAtTheOrigin(0.001);
  const auto pruned = deployment_->Prune(memory, std::move(command));
  EXPECT_TRUE(absl::IsFailedPrecondition(pruned.status())) << pruned.status();
  EXPECT_EQ(deployment_.Count(memory), 4U);
}

TEST_F(PruneTest, AGuardBeyondAllNumbersRefusesInWords) {
  const MemoryHandle memory = Fill(AtTheOrigin());
  PruneCommand command = Command();
  command.guard = GuardAtTheOrigin(10);
  command.guard->targets = {9};
  command.guard->lm_log_probs = {-1e30F};
  const auto pruned = deployment_->Prune(memory, std::move(command));
  ASSERT_TRUE(absl::IsFailedPrecondition(pruned.status())) << pruned.status();
  EXPECT_NE(pruned.status().message().find("beyond all numbers"), absl::string_view::npos) << pruned.status();
  EXPECT_EQ(deployment_.Count(memory), 4U);
}

// Batches of neighbours as another process is given them, and what it makes of them.
TEST_F(PruneTest, AGuardThatAnotherReckonsIsTheSame) {
  const MemoryHandle memory = Fill(AtTheOrigin());
  const auto dry_run = [] {
    PruneCommand command = Command();
    command.guard = GuardAtTheOrigin(10);
    command.dry_run = true;
    return command;
  };
  const auto here = deployment_->Prune(memory, dry_run());
  ASSERT_TRUE(here.ok()) << here.status();
  std::vector<NeighbourColumns> shared;
  PruneCommand command = dry_run();
  command.share = [&](const NeighbourColumns& found) {
    shared.push_back(found);
    return absl::OkStatus();
  };
  const auto part = deployment_->Prune(memory, std::move(command));
  ASSERT_TRUE(part.ok()) << part.status();
  EXPECT_EQ(part->merged, here->merged);
  EXPECT_FALSE(part->perplexity_before.has_value()) << "that is not told of a part";
  ASSERT_EQ(shared.size(), 2U) << "one query, as it is and as it would be";
  size_t next = 0;
  PruneOutcome reckoned;
  const auto search = [&](bool, size_t, size_t) { return absl::StatusOr<NeighbourColumns>(shared[next++]); };
  ASSERT_TRUE(ReckonGuard(dry_run(), search, reckoned).ok());
  EXPECT_EQ(reckoned.perplexity_before, here->perplexity_before);
  EXPECT_EQ(reckoned.perplexity_after, here->perplexity_after);
}

TEST_F(PruneTest, APartWithoutEntriesAnswersTheGuardWithNone) {
  const MemoryHandle memory = deployment_.Create(TokenMemory("none", 4));
  PruneCommand command = Command();
  command.guard = GuardAtTheOrigin(10);
  command.dry_run = true;
  size_t answers = 0;
  command.share = [&](const NeighbourColumns& found) {
    ++answers;
    EXPECT_EQ(found.queries(), 1U);
    EXPECT_EQ(found.size(), 0U);
    EXPECT_EQ(found.values.width, sizeof(Token));
    return absl::OkStatus();
  };
  EXPECT_TRUE(deployment_->Prune(memory, std::move(command)).ok());
  EXPECT_EQ(answers, 2U);
}

TEST_F(PruneTest, WhatAPartChoseIsWrittenOnlyOnceThatIsDecided) {
  const MemoryHandle memory = Fill(AtTheOrigin());
  const auto prune = [&](absl::Status decision) {
    PruneCommand command = Command();
    command.guard = GuardAtTheOrigin(0);  // which others judge
    command.share = [](const NeighbourColumns&) { return absl::OkStatus(); };
    command.decided = [&, decision] {
      EXPECT_EQ(deployment_.Count(memory), 4U);
      return decision;
    };
    return deployment_->Prune(memory, std::move(command));
  };
  EXPECT_TRUE(absl::IsCancelled(prune(absl::CancelledError("another part refused")).status()));
  EXPECT_EQ(deployment_.Count(memory), 4U);
  EXPECT_EQ(prune(absl::OkStatus())->merged, 2U);
  EXPECT_EQ(deployment_.Count(memory), 2U);
}

TEST(CheckGuardTest, SaysARiseInNumbersWhereThereAreSome) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(CheckGuard(10, 10.5, 0.5).ok());
  EXPECT_TRUE(CheckGuard(10, 9, 0).ok());
  EXPECT_EQ(CheckGuard(10, 11, 0.5).message(),
            "the guard's perplexity would rise by 1.0000, from 10.0000 to 11.0000; it may rise by 0.5, so nothing was "
            "pruned");
  for (const absl::Status& refused : {CheckGuard(10, kInfinite, 0.5), CheckGuard(kInfinite, kInfinite, 0.5),
                                      CheckGuard(kInfinite, 10, 0.5)}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(refused));
    EXPECT_EQ(refused.message().find("nan"), absl::string_view::npos) << refused;
    EXPECT_EQ(refused.message().find("inf"), absl::string_view::npos) << refused;
  }
}

TEST(CheckPrunableTest, HasABound) {
  EXPECT_TRUE(CheckPrunable(limits::kMaxPrunedEntries).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(CheckPrunable(limits::kMaxPrunedEntries + 1)));
}

// A group ends at so many merged entries, or at so many bytes of survivors; together the groups are the same merges.
TEST(MergeEntriesTest, GroupsAreBoundedByRowsAndByBytes) {
  MemoryRecord record;
  record.spec = TokenMemory("wiki", 4);
  const auto memory = std::make_shared<const MemoryRecord>(record);
  PartitionIndex index(MakeIndexSpec(memory->spec), {});
  const EntryColumns columns = ColumnsOf(memory->spec, RandomEntries(Seed(), 1000));
  index.Append(columns, 0, columns.count);
  MergeEntries merges(memory, index.MakeVersion());
  PruneCommand command;
  command.neighbours = 9;
  command.exact = true;
  ASSERT_TRUE(merges.Collect(command).ok());
  ASSERT_TRUE(merges.Choose(command, [](uint64_t) { return true; }).ok());
  const size_t entry_bytes = memory->spec.KeyBytes() + sizeof(Token);
  constexpr size_t kMany = 1'000'000;
  using Bounds = std::pair<size_t, size_t>;
  for (const auto& [rows, bytes] : {Bounds{kMany, kMany}, {20, kMany}, {kMany, 3 * entry_bytes}, {kMany, 1}}) {
    MergeEntries::Cursor cursor;
    uint64_t merged = 0;
    while (const auto group = merges.Next(cursor, rows, bytes)) {
      merged += group->merged.size();
      // The last survivor of a group may go beyond.
      EXPECT_LT(group->merged.size(), rows + 9);
      EXPECT_LT(group->survivors.keys.size() + group->survivors.values.bytes.size(), bytes + entry_bytes);
    }
    EXPECT_EQ(merged, merges.merged());
  }
}

TEST_F(PruneTest, WhereEverythingWasDeletedThereIsNothingToMerge) {
  const MemoryHandle memory = Fill(RandomEntries(Seed(), 3));
  ASSERT_TRUE(deployment_.DeleteIds(memory, {0, 1, 2}).ok());
  const auto pruned = deployment_->Prune(memory, Command());
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  EXPECT_EQ(pruned->entries, 0U);
  EXPECT_EQ(pruned->merged, 0U);
}

TEST_F(PruneTest, CancellingEndsIt) {
  const MemoryHandle memory = Fill(RandomEntries(Seed(), 500));
  PruneCommand command = Command();
  command.progress = [](const PruneProgress&) { return false; };
  EXPECT_TRUE(absl::IsCancelled(deployment_->Prune(memory, std::move(command)).status()));
  EXPECT_EQ(deployment_.Count(memory), 500U);
}

// I5: what was deleted or overwritten while pruning had already chosen does not come back, nor is its weight counted.
TEST_F(PruneTest, WhatIsWrittenBetweenChoiceAndMergeWins) {
  const std::vector<PlainEntry> entries = RandomEntries(Seed(), 1000);
  const MemoryHandle memory = Fill(entries);
  const auto expected = MergePlainly(entries, 9);
  PruneCommand command = Command();
  bool written = false;
  command.progress = [&](const PruneProgress& progress) {
    if (std::string_view(progress.stage) != "writing" || written) return true;
    written = true;
    std::vector<EntryId> gone;
    for (EntryId id = 0; id < 1000; id += 3) gone.push_back(id);
    EXPECT_TRUE(deployment_.DeleteIds(memory, gone).ok());
    EXPECT_TRUE(deployment_.Insert(memory, ColumnsOf(memory->spec, {{1, {50, 50, 50, 50}, 9}})).ok());
    return true;
  };
  const auto pruned = deployment_->Prune(memory, std::move(command));
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  ASSERT_TRUE(written);
  EXPECT_GT(pruned->overtaken, 0U);
  EXPECT_EQ(pruned->merged + pruned->overtaken, entries.size() - expected.size());
  const auto weights = Weights(memory);
  float sum = 0;
  for (const auto& [id, weight] : weights) {
    EXPECT_TRUE(id % 3 != 0) << id;
    sum += weight;
  }
  EXPECT_EQ(weights.at(1), 1);
  // Every entry that is alive counts once, wherever it went.
  EXPECT_EQ(sum, 1000 - 334);
}

TEST(PruneShardsTest, SeveralShardsMergeWithinThemselvesAndLoseNoWeight) {
  TestDeployment deployment(3);
  const MemoryHandle memory = deployment.Create(TokenMemory("wiki", 4));
  ASSERT_TRUE(deployment.Insert(memory, ColumnsOf(memory->spec, RandomEntries(Seed(), 1000))).ok());
  PruneCommand command;
  command.neighbours = 9;
  command.guard = GuardAtTheOrigin(100);
  const auto pruned = deployment->Prune(memory, std::move(command));
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  EXPECT_GT(pruned->merged, 300U);
  EXPECT_EQ(deployment.Count(memory), 1000 - pruned->merged);
  const auto all = deployment.Query(memory, ExactQuery({0, 0, 0, 0}, 1, 1000));
  ASSERT_TRUE(all.ok());
  float sum = 0;
  for (const float weight : all->neighbours.weights) sum += weight;
  EXPECT_EQ(sum, 1000);
  const double nearest_two = *pruned->perplexity_after;
  EXPECT_TRUE(std::isfinite(nearest_two) && nearest_two >= 1.0);
}

}  // namespace
}  // namespace mneme
