// A memory that is asked for its sums of keys by label, each answer compared with a look at every entry.
#ifndef MNEME_TESTS_ENGINE_LABEL_SUMS_FIXTURE_H_
#define MNEME_TESTS_ENGINE_LABEL_SUMS_FIXTURE_H_

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "engine/label_sums.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme::testing {

// One label as the test sums it: in extended precision, entry by entry.
struct PlainSum {
  std::vector<long double> sum;
  uint64_t count = 0;
};

// A memory whose sums by label are asked for. Its clock and all else are the deployment's.
class Sums {
 public:
  static constexpr uint32_t kDimension = 5;
  static constexpr int64_t kLabels = 6;

  explicit Sums(uint32_t shards, uint64_t seed = 1) : deployment_(shards), random_(seed) {}

  void Create(MemorySpec spec) { memory_ = deployment_.Create(spec); }
  MemorySpec Spec(Metric metric = Metric::kInnerProduct) const { return TokenMemory("sums", kDimension, metric); }

  // `count` entries with ids from `first` on.
  std::vector<PlainEntry> Entries(EntryId first, size_t count) {
    std::vector<PlainEntry> entries(count);
    for (size_t i = 0; i < count; ++i) {
      entries[i].id = first + i;
      for (uint32_t c = 0; c < kDimension; ++c) {
        entries[i].key.push_back(static_cast<float>(Below(2000)) / 100.0F - 9.0F);
      }
      entries[i].key[0] += 0.005F;  // never the zero vector
      entries[i].attributes.label = static_cast<int64_t>(Below(kLabels));
    }
    return entries;
  }
  void Insert(const std::vector<PlainEntry>& entries, PartitionId partition = 0) {
    const auto outcome = deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries), partition);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
  }
  void Delete(std::vector<EntryId> ids, PartitionId partition = 0) {
    const auto outcome = deployment_.DeleteIds(memory_, std::move(ids), partition);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
  }
  void DeleteWhere(const RowFilter& filter) {
    DeleteCommand command;
    command.partitions.all = true;
    command.filter = filter;
    ASSERT_TRUE(deployment_.Delete(memory_, command).ok());
  }
  void Empty(PartitionId partition) {
    DeleteCommand command;
    command.partitions.partitions = {partition};
    command.everything = true;
    ASSERT_TRUE(deployment_.Delete(memory_, command).ok());
  }
  void Build(bool retrain) { ASSERT_TRUE(deployment_.Build(memory_, retrain).ok()); }
  void Restart() {
    deployment_.Restart();
    memory_ = deployment_.Find("sums");
  }

  // Asks, expects what a look at every entry says, and returns how many keys were read.
  uint64_t Ask(const PartitionSelection& partitions = {}, const RowFilter& filter = {},
               const std::vector<int64_t>& wanted = {}) {
    VisitCommand command;
    command.partitions = partitions;
    command.filter = filter;
    LabelSums sums(MakeIndexSpec(memory_->spec), wanted);
    const auto read = deployment_->SumByLabel(memory_, command, sums);
    EXPECT_TRUE(read.ok()) << read.status();
    Compare(command, wanted, sums);
    return sums.rows_read();
  }

  TestDeployment& deployment() { return deployment_; }
  const MemoryHandle& memory() const { return memory_; }
  uint64_t Below(uint64_t bound) { return random_() % bound; }

 private:
  std::map<int64_t, PlainSum> Plain(const VisitCommand& command, const std::vector<int64_t>& wanted) {
    std::map<int64_t, PlainSum> plain;
    const auto visited = deployment_->Visit(memory_, command, [&](PartitionId, const EntryView& entry) {
      const int64_t label = entry.attributes.label;
      if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), label) == wanted.end()) return absl::OkStatus();
      std::vector<float> key(kDimension);
      DecodeVector(memory_->spec.key_dtype, entry.key.data(), kDimension, key.data());
      double squares = 0.0;
      for (const float x : key) squares += double{x} * double{x};
      const double norm = memory_->spec.metric == Metric::kCosine ? std::sqrt(squares) : 1.0;
      PlainSum& sum = plain[label];
      sum.sum.resize(kDimension, 0.0L);
      for (uint32_t c = 0; c < kDimension; ++c) sum.sum[c] += static_cast<float>(key[c] / norm);
      ++sum.count;
      return absl::OkStatus();
    });
    EXPECT_TRUE(visited.ok()) << visited.status();
    return plain;
  }

  void Compare(const VisitCommand& command, const std::vector<int64_t>& wanted, const LabelSums& sums) {
    const std::map<int64_t, PlainSum> plain = Plain(command, wanted);
    EXPECT_EQ(sums.sums().size(), plain.size());
    for (const auto& [label, expected] : plain) {
      const KeySum& got = sums.Of(label);
      ASSERT_EQ(got.count(), expected.count) << "label " << label;
      long double squares = 0.0L;
      for (const long double x : expected.sum) squares += x * x;
      const double tolerance = 1e-12 * static_cast<double>(std::sqrt(squares));
      for (uint32_t c = 0; c < kDimension; ++c) {
        ASSERT_NEAR(got.sum()[c], static_cast<double>(expected.sum[c]), tolerance) << "label " << label;
      }
    }
  }

  TestDeployment deployment_;
  MemoryHandle memory_;
  std::mt19937_64 random_;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_LABEL_SUMS_FIXTURE_H_
