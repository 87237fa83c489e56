#include "index/tail.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "tests/index/random_index.h"

namespace mneme {
namespace {

using testing::RandomEntries;
using testing::RandomKeys;

constexpr uint64_t kSeed = 4;

IndexSpec Spec(size_t value_bytes, Metric metric = Metric::kCosine) { return {5, metric, Dtype::kF16, value_bytes}; }

void ExpectEntry(const RowBlock& block, size_t i, const EntryView& entry, const IndexSpec& spec) {
  EXPECT_EQ(block.ids[i], entry.id);
  EXPECT_EQ(std::string_view(block.keys + i * spec.KeyBytes(), spec.KeyBytes()), entry.key);
  EXPECT_EQ(block.ValueAt(i, spec.value_bytes), entry.value);
  EXPECT_EQ(block.AttributesAt(i), entry.attributes);
}

// Checks that the snapshot holds exactly the rows [from, end) of `entries`; row r is entry r - first.
void ExpectRows(const Tail::Snapshot& snapshot, const EntryColumns& entries, Row first, Row from,
                const IndexSpec& spec) {
  Row next = from;
  for (const Tail::Snapshot::Part& part : snapshot.parts) {
    const RowBlock block = BlockOf(part, from);
    for (size_t i = 0; i < block.count; ++i) {
      ASSERT_EQ(block.RowAt(i), next);
      ExpectEntry(block, i, entries.At(next - first), spec);
      const double norm = ExactNorm({spec.metric, spec.key_dtype, spec.dimension}, block.keys + i * spec.KeyBytes());
      EXPECT_LE(norm, block.max_norm);
      ++next;
    }
  }
  EXPECT_EQ(next, snapshot.end_row);
}

class TailOfValues : public ::testing::TestWithParam<size_t> {};

TEST_P(TailOfValues, HoldsWhatWasAppendedAndSnapshotsDoNotChange) {
  const IndexSpec spec = Spec(GetParam());
  RandomKeys random(kSeed);
  const EntryColumns entries = RandomEntries(spec, 3000, random);
  Tail tail(spec, 100);
  std::vector<Tail::Snapshot> snapshots = {tail.TakeSnapshot()};
  for (size_t begin = 0; begin < entries.count;) {
    const size_t end = std::min(entries.count, begin + 1 + random.Below(200));
    tail.Append(entries, begin, end);
    snapshots.push_back(tail.TakeSnapshot());
    EXPECT_EQ(snapshots.back().end_row, 100 + end);
    begin = end;
  }
  for (const Tail::Snapshot& snapshot : snapshots) {
    ExpectRows(snapshot, entries, 100, 100, spec);
    ExpectRows(snapshot, entries, 100, std::min<Row>(snapshot.end_row, 777), spec);
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, TailOfValues, ::testing::Values(0, 4, 24));

TEST(Tail, DropsOnlyChunksThatLieWhollyBelowTheRow) {
  const IndexSpec spec = Spec(4);
  RandomKeys random(kSeed);
  const EntryColumns entries = RandomEntries(spec, 1000, random);
  Tail tail(spec, 0);
  for (size_t i = 0; i < 1000; ++i) tail.Append(entries, i, i + 1);
  const Tail::Snapshot before = tail.TakeSnapshot();
  const uint64_t ram = tail.ram_bytes();
  tail.DropBelow(500);
  EXPECT_LE(tail.first_row(), 500U);
  EXPECT_GT(tail.first_row(), 0U);
  EXPECT_LT(tail.ram_bytes(), ram);
  ExpectRows(tail.TakeSnapshot(), entries, 0, tail.first_row(), spec);
  ExpectRows(before, entries, 0, 0, spec);
  tail.DropBelow(1000);
  EXPECT_EQ(tail.ram_bytes(), 0U);
  EXPECT_EQ(tail.end_row(), 1000U);
  tail.Append(entries, 0, 1);
  EXPECT_EQ(tail.TakeSnapshot().end_row, 1001U);
}

TEST(Tail, OfASmallPartitionStaysSmall) {
  const IndexSpec spec{16, Metric::kL2, Dtype::kF16, 4};
  RandomKeys random(kSeed);
  EntryColumns entries = RandomEntries(spec, 100, random);
  for (auto* column : {&entries.labels, &entries.expiries_ms, &entries.created_ms}) column->clear();
  for (auto* column : {&entries.sources, &entries.positions}) column->clear();
  entries.weights.clear();
  entries.scores.clear();
  Tail tail(spec, 0);
  for (size_t i = 0; i < 100; ++i) tail.Append(entries, i, i + 1);
  // 100 x (32 + 8 + 4) bytes of rows; doubling chunks take at most twice that and their own heads.
  EXPECT_LT(tail.ram_bytes(), 2 * 100 * 44U + 4096U);
}

TEST(Tail, ReadersSeeWholeSnapshotsWhileTheWriterAppends) {
  const IndexSpec spec = Spec(0);
  RandomKeys random(kSeed);
  const EntryColumns entries = RandomEntries(spec, 4000, random);
  Tail tail(spec, 0);
  std::mutex mutex;
  Tail::Snapshot published = tail.TakeSnapshot();
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  std::atomic<uint64_t> checked{0};
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&] {
      bool last = false;
      while (!last) {
        last = done.load();
        Tail::Snapshot snapshot;
        {
          const std::lock_guard<std::mutex> lock(mutex);
          snapshot = published;
        }
        // Look at the newest rows: those whose neighbours are being written.
        const Row from = snapshot.end_row > 50 ? snapshot.end_row - 50 : 0;
        ExpectRows(snapshot, entries, 0, from, spec);
        ++checked;
      }
    });
  }
  for (size_t i = 0; i < entries.count; i += 7) {
    tail.Append(entries, i, std::min(entries.count, i + 7));
    const std::lock_guard<std::mutex> lock(mutex);
    published = tail.TakeSnapshot();
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GE(checked.load(), 2U);
}

}  // namespace
}  // namespace mneme
