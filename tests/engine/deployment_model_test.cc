// Model-based (every third sequence with a capacity): random inserts, upserts, deletes by id, source and partition,
// builds, retrains and restarts, compared with a map and a brute-force search after every few operations.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <tuple>

#include "engine/routing.h"
#include "index/kernels/exact_distance.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::ExactQuery;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

constexpr uint32_t kDimension = 5;
constexpr PartitionId kPartitions = 3;

class Model {
 public:
  Model(uint32_t shards, uint64_t seed) : deployment_(shards), random_(seed) {
    MemorySpec spec = TokenMemory("model", kDimension, static_cast<Metric>(1 + seed % 3));
    spec.key_dtype = seed % 2 == 0 ? Dtype::kF32 : Dtype::kF16;
    if (seed % 3 == 0) {
      spec.capacity = 1 + random_() % 400;
      spec.spread = Spread::kOne;
    }
    memory_ = deployment_.Create(spec);
  }

  void Step() {
    const uint64_t kind = Below(20);
    if (kind == 0) return Restart();
    if (kind == 1) return Build();
    if (kind == 2) return DropPartition();
    if (kind == 3) return DeleteSource();
    if (kind <= 6) return DeleteIds();
    if (kind <= 10) return Check();
    if (kind == 11) return InsertWithoutIds();
    Insert();
  }

  void Check() {
    for (PartitionId partition = 0; partition < kPartitions; ++partition) CheckPartition(partition);
    CheckTogether();
  }

 private:
  using Key = std::pair<PartitionId, EntryId>;

  uint64_t Below(uint64_t bound) { return random_() % bound; }

  PlainEntry RandomEntry() {
    PlainEntry entry;
    entry.id = Below(3000);
    for (uint32_t i = 0; i < kDimension; ++i) entry.key.push_back(static_cast<float>(Below(9)) - 4.0F);
    entry.key[0] += 0.5F;  // never the zero vector: cosine refuses it at the edge
    entry.token = static_cast<Token>(Below(1000));
    entry.attributes.source = Below(4);
    return entry;
  }

  void Insert() {
    const PartitionId partition = Below(kPartitions);
    std::vector<PlainEntry> entries(1 + Below(200));
    for (PlainEntry& entry : entries) entry = RandomEntry();
    const auto outcome = deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries), partition);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    for (const PlainEntry& entry : entries) Arrive(partition, entry);
    EvictOldest(partition);
  }

  void Arrive(PartitionId partition, const PlainEntry& entry) {
    truth_[{partition, entry.id}] = entry;
    arrivals_[{partition, entry.id}] = ++arrived_;
  }

  // What a capacity must do: the entries that arrived first go, an upsert having arrived anew.
  void EvictOldest(PartitionId partition) {
    if (memory_->spec.capacity == 0) return;
    std::vector<std::pair<uint64_t, Key>> by_age;
    for (const auto& [key, entry] : truth_) {
      if (key.first == partition) by_age.emplace_back(arrivals_.at(key), key);
    }
    std::sort(by_age.begin(), by_age.end());
    for (size_t i = 0; i + memory_->spec.capacity < by_age.size(); ++i) truth_.erase(by_age[i].second);
  }

  void InsertWithoutIds() {
    const PartitionId partition = Below(kPartitions);
    std::vector<PlainEntry> entries(1 + Below(50));
    for (PlainEntry& entry : entries) entry = RandomEntry();
    const auto outcome = deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries, false), partition,
                                            "request " + std::to_string(random_()));
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    ASSERT_EQ(outcome->given_ids.size(), entries.size());
    for (size_t i = 0; i < entries.size(); ++i) {
      entries[i].id = outcome->given_ids[i];
      ASSERT_FALSE(truth_.contains({partition, entries[i].id})) << "an id was given twice";
      Arrive(partition, entries[i]);
    }
    EvictOldest(partition);
  }

  void DeleteIds() {
    const PartitionId partition = Below(kPartitions);
    std::vector<EntryId> ids;
    for (const auto& [key, entry] : truth_) {
      if (key.first == partition && Below(6) == 0) ids.push_back(key.second);
    }
    ids.push_back(5000 + Below(10));  // never there
    uint64_t there = 0;
    for (const EntryId id : ids) there += truth_.erase({partition, id});
    const auto outcome = deployment_.DeleteIds(memory_, ids, partition);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->deleted, there);
  }

  void DeleteSource() {
    DeleteCommand command;
    command.partitions.all = true;
    command.filter = RowFilter{};
    command.filter->sources = std::vector<uint64_t>{Below(4)};
    const uint64_t source = command.filter->sources->front();
    const uint64_t there = std::erase_if(
        truth_, [&](const auto& entry) { return entry.second.attributes.source == source; });
    const auto outcome = deployment_.Delete(memory_, command);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->deleted, there);
  }

  void DropPartition() {
    const PartitionId partition = Below(kPartitions);
    DeleteCommand command;
    command.partitions.partitions = {partition};
    command.everything = true;
    const uint64_t there = std::erase_if(truth_, [&](const auto& entry) { return entry.first.first == partition; });
    const auto outcome = deployment_.Delete(memory_, command);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->deleted, there);
  }

  void Build() {
    const absl::Status status = deployment_.Build(memory_, /*retrain=*/Below(2) == 0);
    ASSERT_TRUE(status.ok()) << status;
  }

  void Restart() {
    deployment_.Restart();
    memory_ = deployment_.Find("model");
  }

  // (score descending, id, partition) of everything in `partitions`, by brute force over the stored keys.
  std::vector<std::tuple<double, EntryId, PartitionId>> Brute(const std::vector<float>& query,
                                                              const std::vector<PartitionId>& partitions) const {
    std::vector<std::tuple<double, EntryId, PartitionId>> all;
    std::string key(memory_->spec.KeyBytes(), '\0');
    for (const auto& [at, entry] : truth_) {
      if (std::find(partitions.begin(), partitions.end(), at.first) == partitions.end()) continue;
      EncodeVector(memory_->spec.key_dtype, entry.key.data(), kDimension, key.data());
      const double score =
          ExactScoreScalar({memory_->spec.metric, memory_->spec.key_dtype, kDimension}, query.data(), key.data());
      all.emplace_back(-score, at.second, at.first);
    }
    std::sort(all.begin(), all.end());
    return all;
  }

  void Compare(const PartitionSelection& selection, const std::vector<PartitionId>& partitions) {
    const std::vector<float> query = RandomEntry().key;
    const uint32_t k = 1 + static_cast<uint32_t>(Below(400));
    QueryCommand command = ExactQuery(query, 1, k);
    command.partitions = selection;
    const auto outcome = deployment_.Query(memory_, std::move(command));
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    auto expected = Brute(query, partitions);
    if (expected.size() > k) expected.resize(k);
    const NeighbourColumns& found = outcome->neighbours;
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto& [minus_score, id, partition] = expected[i];
      ASSERT_EQ(found.ids[i], id) << "rank " << i;
      ASSERT_EQ(found.partitions[i], partition) << "rank " << i;
      ASSERT_EQ(found.scores[i], -minus_score) << "rank " << i;
      Token token = 0;
      std::memcpy(&token, found.values.At(i).data(), sizeof(token));
      ASSERT_EQ(token, truth_.at({partition, id}).token);
    }
  }

  void CheckPartition(PartitionId partition) {
    Compare({.partitions = {partition}}, {partition});
    const uint64_t live = static_cast<uint64_t>(
        std::count_if(truth_.begin(), truth_.end(), [&](const auto& entry) { return entry.first.first == partition; }));
    EXPECT_EQ(deployment_.Count(memory_, {.partitions = {partition}}), live);
  }

  void CheckTogether() {
    std::vector<PartitionId> all(kPartitions);
    for (PartitionId partition = 0; partition < kPartitions; ++partition) all[partition] = partition;
    Compare({.partitions = {}, .all = true}, all);
    const auto statistics = deployment_->Statistics(memory_);
    ASSERT_TRUE(statistics.ok());
    EXPECT_EQ(statistics->entries, truth_.size());
  }

  TestDeployment deployment_;
  MemoryHandle memory_;
  std::mt19937_64 random_;
  std::map<Key, PlainEntry> truth_;
  std::map<Key, uint64_t> arrivals_;
  uint64_t arrived_ = 0;
};

TEST(DeploymentModelTest, AnswersAgreeWithABruteForceTwinAfterAnySequence) {
  const uint64_t sequences = Repetitions(24, 2000);
  const int operations = FullTests() ? 200 : 60;
  const char* given = std::getenv("MNEME_TEST_SEED");
  const uint64_t first_seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  std::cout << "seeds " << first_seed << " to " << first_seed + sequences - 1 << ", " << operations << " operations\n";
  for (uint64_t seed = first_seed; seed < first_seed + sequences; ++seed) {
    SCOPED_TRACE("MNEME_TEST_SEED=" + std::to_string(seed));
    Model model(seed % 2 == 0 ? 1 : 3, seed);
    for (int i = 0; i < operations && !::testing::Test::HasFailure(); ++i) model.Step();
    model.Check();
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace mneme
