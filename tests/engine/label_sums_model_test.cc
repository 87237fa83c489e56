// Model-based (every third sequence with a capacity): after any sequence of inserts, upserts, deletes, builds, expiry
// and restarts the sums by label are those of a look at every entry.
#include <cstdlib>
#include <iostream>

#include "tests/engine/label_sums_fixture.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using testing::PlainEntry;
using testing::Sums;

// Every few operations a look at all of it, in any state that sealing, merging, expiry and restarts leave.
class Model {
 public:
  Model(uint32_t shards, uint64_t seed) : sums_(shards, seed) {
    MemorySpec spec = sums_.Spec(static_cast<Metric>(1 + seed % 3));
    spec.key_dtype = seed % 2 == 0 ? Dtype::kF32 : Dtype::kF16;
    if (seed % 3 == 0) {
      spec.capacity = 300 + sums_.Below(900);
      spec.spread = Spread::kOne;
    }
    sums_.Create(spec);
  }

  void Step() {
    switch (sums_.Below(20)) {
      case 0: return sums_.Restart();
      case 1:
      case 2: return sums_.Build(sums_.Below(2) == 0);
      case 3: return sums_.Below(3) == 0 ? sums_.Empty(Partition()) : sums_.deployment().clock().Advance(50);
      case 4: return DeleteLabel();
      case 5:
      case 6:
      case 7: return DeleteSome();
      case 8:
      case 9:
      case 10:
      case 11:
      case 12: return Check();
      default: return Insert();
    }
  }

  void Check() {
    read_ += sums_.Ask();
    read_ += sums_.Ask({.partitions = {1, 2}});
    read_ += sums_.Ask({.partitions = {}, .all = true}, {}, {0, 3, 77});
    const auto statistics = sums_.deployment()->Statistics(sums_.memory());
    there_ += 3 * statistics->entries;
  }

  // Rows that were read, and about as many as there were at every request.
  uint64_t read() const { return read_; }
  uint64_t there() const { return there_; }

 private:
  PartitionId Partition() { return sums_.Below(3); }

  void Insert() {
    std::vector<PlainEntry> entries = sums_.Entries(sums_.Below(4000), 1 + sums_.Below(400));
    for (PlainEntry& entry : entries) {
      if (sums_.Below(400) == 0) entry.attributes.expiry_ms = sums_.deployment().clock().NowMs() + 120;
    }
    sums_.Insert(entries, Partition());
  }
  void DeleteSome() {
    std::vector<EntryId> ids;
    const uint64_t first = sums_.Below(4000);
    for (uint64_t i = 0; i < 1 + sums_.Below(60); ++i) ids.push_back(first + i * 3);
    sums_.Delete(ids, Partition());
  }
  void DeleteLabel() {
    RowFilter filter;
    filter.labels = std::vector<int64_t>{static_cast<int64_t>(sums_.Below(Sums::kLabels))};
    sums_.DeleteWhere(filter);
  }

  Sums sums_;
  uint64_t read_ = 0;
  uint64_t there_ = 0;
};

TEST(LabelSumsModelTest, SumsAgreeWithALookAtEveryEntryAfterAnySequence) {
  const uint64_t sequences = Repetitions(8, 1000);
  const char* given = std::getenv("MNEME_TEST_SEED");
  const uint64_t first_seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  std::cout << "seeds " << first_seed << " to " << first_seed + sequences - 1 << "\n";
  uint64_t read = 0;
  uint64_t there = 0;
  for (uint64_t seed = first_seed; seed < first_seed + sequences; ++seed) {
    SCOPED_TRACE("MNEME_TEST_SEED=" + std::to_string(seed));
    Model model(seed % 2 == 0 ? 1 : 4, seed);
    for (int i = 0; i < 80 && !::testing::Test::HasFailure(); ++i) model.Step();
    model.Check();
    read += model.read();
    there += model.there();
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_LT(read * 2, there);
}

}  // namespace
}  // namespace mneme
