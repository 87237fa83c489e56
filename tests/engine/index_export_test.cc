// What an export promises: every live entry of one version once, in the list where a search looks for it.
#include "engine/index_export.h"

#include <gmock/gmock.h>

#include <atomic>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

constexpr uint32_t kDimension = 4;
constexpr int64_t kMinute = 60'000;

class IndexExportTest : public ::testing::TestWithParam<std::tuple<uint32_t, Metric>> {
 protected:
  IndexExportTest()
      : deployment_(std::get<0>(GetParam()),
                    {.search_threads = 1, .thresholds = {.flat_rows = 300, .seal_rows = 9000}}),
        memory_(deployment_.Create(TokenMemory("wiki", kDimension, std::get<1>(GetParam())))) {}

  uint32_t shards() const { return std::get<0>(GetParam()); }
  // Entries of these ids at random places; every seventh expires.
  void Put(EntryId first, EntryId end, PartitionId partition = 0) {
    std::vector<PlainEntry> entries;
    for (EntryId id = first; id < end; ++id) {
      PlainEntry entry{id, {}, 1, {}};
      for (uint32_t i = 0; i < kDimension; ++i) entry.key.push_back(normal_(random_));
      if (id % 7 == 0) entry.attributes.expiry_ms = deployment_.clock().NowMs() + kMinute;
      live_[id] = entry.key;
      entries.push_back(std::move(entry));
    }
    ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries), partition).ok());
  }
  void Forget(EntryId first, EntryId end) {
    std::vector<EntryId> ids;
    for (EntryId id = first; id < end; ++id) {
      ids.push_back(id);
      live_.erase(id);
    }
    ASSERT_TRUE(deployment_.DeleteIds(memory_, ids).ok());
  }
  LeaseHandle TakeLease(PartitionId partition = 0) {
    const auto granted = deployment_->AcquireLease(memory_, {.partitions = {{partition}, false}}, 10 * kMinute);
    EXPECT_TRUE(granted.ok()) << granted.status();
    return deployment_->leases().Find(granted->id, *memory_).value();
  }
  // The cost of a key and a centroid by which a key joins its list.
  double Cost(const float* key, const float* centroid) const {
    double cost = 0.0;
    for (uint32_t i = 0; i < kDimension; ++i) {
      const double apart = double{key[i]} - centroid[i];
      cost += std::get<1>(GetParam()) == Metric::kCosine ? -double{key[i]} * centroid[i] : apart * apart;
    }
    return cost;
  }
  // Reads everything, a few entries at a time, and compares it with `live`.
  void ExpectAll(IndexExport& exported, const HeldLease& lease,
                 const std::map<EntryId, std::vector<float>>& live) const {
    EXPECT_EQ(exported.entries(), live.size());
    ASSERT_EQ(exported.list_sizes().size(), exported.lists());
    uint64_t list = 0;
    uint64_t in_list = 0;
    std::map<EntryId, std::vector<float>> seen;
    for (auto rows = exported.Next(lease, 7); !rows.ids.empty(); rows = exported.Next(lease, 7)) {
      ASSERT_EQ(rows.keys.size(), rows.ids.size() * kDimension);
      for (size_t i = 0; i < rows.ids.size(); ++i) {
        while (list < exported.lists() && in_list == exported.list_sizes()[list]) ++list, in_list = 0;
        ASSERT_LT(list, exported.lists());
        ++in_list;
        const float* key = rows.keys.data() + i * kDimension;
        EXPECT_TRUE(seen.emplace(rows.ids[i], std::vector<float>(key, key + kDimension)).second) << rows.ids[i];
        double least = INFINITY;
        for (uint64_t other = 0; other < exported.lists(); ++other) {
          least = std::min(least, Cost(key, exported.Centroid(lease, other)));
        }
        // Of several shards each has centroids of its own.
        if (shards() == 1) {
          EXPECT_NEAR(Cost(key, exported.Centroid(lease, list)), least, 1e-5);
        }
      }
    }
    ASSERT_EQ(seen.size(), live.size());
    for (const auto& [id, key] : live) {
      double squares = 0.0;
      for (const float x : key) squares += double{x} * x;
      const double length = std::get<1>(GetParam()) == Metric::kCosine ? std::sqrt(squares) : 1.0;
      ASSERT_TRUE(seen.contains(id)) << id;
      for (uint32_t i = 0; i < kDimension; ++i) EXPECT_NEAR(seen[id][i], key[i] / length, 1e-6);
    }
  }

  std::mt19937_64 random_{7};
  std::normal_distribution<float> normal_;
  TestDeployment deployment_;
  MemoryHandle memory_;
  std::map<EntryId, std::vector<float>> live_;
};

TEST_P(IndexExportTest, HasEachLiveEntryOfItsVersionOnceInItsList) {
  Put(0, 4000);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  Put(4000, 5000);
  Forget(100, 300);
  Forget(4100, 4200);
  Put(50, 60);  // overwritten
  const auto expected = live_;
  const LeaseHandle lease = TakeLease();
  const auto exported = IndexExport::New(memory_->spec, Held(*lease), {});
  ASSERT_TRUE(exported.ok()) << exported.status();
  // What comes and goes meanwhile is of another version.
  Put(5000, 5100);
  Forget(1000, 1500);
  ASSERT_TRUE(deployment_.Build(memory_, /*retrain=*/true).ok());
  deployment_.clock().Advance(2 * kMinute);
  ExpectAll(**exported, Held(*lease), expected);
}

TEST_P(IndexExportTest, LeavesOutWhatHasExpired) {
  Put(0, 3000);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  deployment_.clock().Advance(2 * kMinute);
  std::erase_if(live_, [](const auto& entry) { return entry.first % 7 == 0; });
  const LeaseHandle lease = TakeLease();
  const auto exported = IndexExport::New(memory_->spec, Held(*lease), {});
  ASSERT_TRUE(exported.ok()) << exported.status();
  ExpectAll(**exported, Held(*lease), live_);
}

TEST_P(IndexExportTest, ShardsWithTheSameCentroidsShareTheirLists) {
  Put(0, 4000);
  std::vector<float> centroids;
  for (size_t i = 0; i < 12 * kDimension; ++i) centroids.push_back(normal_(random_));
  ASSERT_TRUE(deployment_->BuildIndexOn(memory_, {centroids, {}}, [](const BuildProgress&) { return true; }).ok());
  const LeaseHandle lease = TakeLease();
  const auto exported = IndexExport::New(memory_->spec, Held(*lease), {});
  ASSERT_TRUE(exported.ok()) << exported.status();
  EXPECT_EQ((*exported)->lists(), 12U);
  ExpectAll(**exported, Held(*lease), live_);
}

TEST_P(IndexExportTest, IsOfOnePartition) {
  Put(10'000, 11'000);
  live_.clear();
  Put(0, 1000, 5);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  const LeaseHandle lease = TakeLease(5);
  const auto exported = IndexExport::New(memory_->spec, Held(*lease), {});
  ASSERT_TRUE(exported.ok()) << exported.status();
  ExpectAll(**exported, Held(*lease), live_);
}

TEST_P(IndexExportTest, WithoutAnIndexThereIsNothingToExport) {
  Put(0, 100);
  for (const PartitionId partition : {0, 9}) {
    const auto status = IndexExport::New(memory_->spec, Held(*TakeLease(partition)), {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(status.message().find("build it first"), absl::string_view::npos) << status;
  }
}

TEST_P(IndexExportTest, StopsWhenItIsToldTo) {
  Put(0, 3000);
  ASSERT_TRUE(deployment_.Build(memory_).ok());
  CallLimits limits;
  limits.cancelled = std::make_shared<std::atomic<bool>>(true);
  EXPECT_EQ(IndexExport::New(memory_->spec, Held(*TakeLease()), limits).status().code(), absl::StatusCode::kCancelled);
}

INSTANTIATE_TEST_SUITE_P(ShardsAndMetrics, IndexExportTest,
                         ::testing::Combine(::testing::Values(1, 3),
                                            ::testing::Values(Metric::kL2, Metric::kInnerProduct, Metric::kCosine)));

// A shard may have so few entries that it gets no index.
TEST(IndexExportOfFew, GoesIntoTheListsOfAnotherShard) {
  TestDeployment deployment(2, {.search_threads = 1});
  const MemoryHandle memory = deployment.Create(TokenMemory("wiki", 1));
  std::vector<PlainEntry> entries;
  for (EntryId id = 0; id < 511; ++id) entries.push_back({id, {static_cast<float>(id % 10)}, 1, {}});
  ASSERT_TRUE(deployment.Insert(memory, ColumnsOf(memory->spec, entries)).ok());
  // However they fall, one shard has the 256 that an index needs, and the other has not.
  ASSERT_TRUE(deployment.Build(memory).ok());
  const auto granted = deployment->AcquireLease(memory, {}, kMinute);
  ASSERT_TRUE(granted.ok());
  const LeaseHandle lease = deployment->leases().Find(granted->id, *memory).value();
  const HeldLease& held = Held(*lease);
  size_t with = 0;
  for (const auto& [shard, snapshot] : held.snapshots) with += snapshot.versions.front()->codebook != nullptr ? 1 : 0;
  ASSERT_EQ(with, 1U);
  const auto exported = IndexExport::New(memory->spec, held, {});
  ASSERT_TRUE(exported.ok()) << exported.status();
  std::set<EntryId> seen;
  for (auto rows = (*exported)->Next(held, 100); !rows.ids.empty(); rows = (*exported)->Next(held, 100)) {
    seen.insert(rows.ids.begin(), rows.ids.end());
  }
  EXPECT_EQ(seen.size(), 511U);
}

// The entries of each list, in order.
std::vector<std::vector<EntryId>> ListsOf(IndexExport& exported, const HeldLease& lease) {
  std::vector<std::vector<EntryId>> lists;
  for (const uint64_t size : exported.list_sizes()) {
    std::vector<EntryId>& list = lists.emplace_back();
    while (list.size() < size) {
      const auto rows = exported.Next(lease, size - list.size());
      if (rows.ids.empty()) return {};
      list.insert(list.end(), rows.ids.begin(), rows.ids.end());
    }
  }
  return lists;
}

// As a front end puts the shards of other processes together.
TEST(IndexExportOfFew, IsTheSameShardByShard) {
  TestDeployment deployment(2, {.search_threads = 1});
  const MemoryHandle memory = deployment.Create(TokenMemory("wiki", 1));
  std::vector<PlainEntry> entries;
  for (EntryId id = 0; id < 511; ++id) entries.push_back({id, {static_cast<float>(id % 10)}, 1, {}});
  entries[7].attributes.expiry_ms = deployment.clock().NowMs() + kMinute;
  ASSERT_TRUE(deployment.Insert(memory, ColumnsOf(memory->spec, entries)).ok());
  ASSERT_TRUE(deployment.Build(memory).ok());
  const auto granted = deployment->AcquireLease(memory, {}, kMinute);
  ASSERT_TRUE(granted.ok());
  const LeaseHandle lease = deployment->leases().Find(granted->id, *memory).value();
  const auto whole = IndexExport::New(memory->spec, Held(*lease), {});
  ASSERT_TRUE(whole.ok()) << whole.status();
  const auto expected = ListsOf(**whole, Held(*lease));
  ASSERT_FALSE(expected.empty());

  HeldLease with;
  HeldLease without;
  for (const auto& [shard, snapshot] : Held(*lease).snapshots) {
    HeldLease& part = snapshot.versions.front()->codebook != nullptr ? with : without;
    part.stamp_ms = lease->stamp_ms;
    part.snapshots[shard] = snapshot;
  }
  const ExportHead indexed = DescribeExport(memory->spec, with, 0, {}).value();
  const ExportHead few = DescribeExport(memory->spec, without, 0, {}).value();
  EXPECT_EQ(indexed.lists, expected.size());
  EXPECT_EQ(few.lists, 0U);
  EXPECT_EQ(indexed.entries + few.entries, 511U);
  EXPECT_EQ(IndexExport::New(memory->spec, without, {}).status().code(), absl::StatusCode::kFailedPrecondition);
  const ExportPiece centroids = CentroidsFrom(memory->spec, with, 0);
  EXPECT_EQ(centroids.centroids.size(), indexed.lists);
  const auto given = Codebook::OfCentroids(MakeIndexSpec(memory->spec), centroids.centroids);
  const auto first = IndexExport::New(memory->spec, with, {});
  const auto second = IndexExport::New(memory->spec, without, {}, {0, given});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ((*second)->entries(), few.entries);
  auto joined = ListsOf(**first, with);
  const auto more = ListsOf(**second, without);
  ASSERT_EQ(joined.size(), more.size());
  for (size_t list = 0; list < joined.size(); ++list) {
    joined[list].insert(joined[list].end(), more[list].begin(), more[list].end());
  }
  EXPECT_EQ(joined, expected);
  // By another shard's clock, which is later.
  const int64_t later = lease->stamp_ms + 2 * kMinute;
  EXPECT_EQ(DescribeExport(memory->spec, with, later, {})->entries +
                DescribeExport(memory->spec, without, later, {})->entries,
            510U);
  const auto of_later = IndexExport::New(memory->spec, without, {}, {later, given});
  EXPECT_EQ((*of_later)->entries(), DescribeExport(memory->spec, without, later, {})->entries);
}

}  // namespace
}  // namespace mneme
