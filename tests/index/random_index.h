// A random partition, once as an index version of segments and tail and once as plain entries for a brute-force search.
#ifndef MNEME_TESTS_INDEX_RANDOM_INDEX_H_
#define MNEME_TESTS_INDEX_RANDOM_INDEX_H_

#include <gtest/gtest.h>

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "index/kernels/exact_distance.h"
#include "index/search.h"
#include "tests/index/random_keys.h"

namespace mneme::testing {

// Entries with every attribute now and then, so that some runs have no column and others have one.
inline EntryColumns RandomEntries(const IndexSpec& spec, size_t count, RandomKeys& random) {
  const std::vector<float> keys = random.Adversarial(count, spec.dimension, spec.key_dtype);
  const std::string packed = Encode(spec.key_dtype, keys);
  std::vector<EntryId> ids(count);
  for (size_t i = 0; i < count; ++i) ids[i] = 10 * i + random.Below(10);
  std::shuffle(ids.begin(), ids.end(), random.random());
  const bool plain = random.Below(4) == 0;
  EntryColumns entries;
  entries.values.width = spec.value_bytes;
  for (size_t i = 0; i < count; ++i) {
    EntryView entry;
    entry.id = ids[i];
    entry.key = std::string_view(packed).substr(i * spec.KeyBytes(), spec.KeyBytes());
    const std::string value(spec.value_bytes != 0 ? spec.value_bytes : random.Below(40),
                            static_cast<char>('a' + random.Below(26)));
    entry.value = value;
    if (!plain && random.Below(3) != 0) {
      entry.attributes.weight = 0.5F + static_cast<float>(random.Unit());
      entry.attributes.score = random.Unit();
      entry.attributes.label = static_cast<int64_t>(random.Below(5)) - 2;
      entry.attributes.source = random.Below(6);
      entry.attributes.position = random.Below(1000);
      entry.attributes.expiry_ms = random.Below(4) == 0 ? static_cast<int64_t>(1 + random.Below(1000)) : 0;
      entry.attributes.created_ms = static_cast<int64_t>(random.Below(1000));
    }
    entries.Append(entry);
  }
  return entries;
}

inline std::shared_ptr<Codebook> TrainOn(const IndexSpec& spec, const EntryColumns& entries, uint32_t lists) {
  std::vector<float> sample(entries.count * spec.dimension);
  DecodeVector(spec.key_dtype, entries.keys.data(), sample.size(), sample.data());
  // Huge keys would each claim a list.
  std::vector<float> tame;
  for (size_t i = 0; i < entries.count; ++i) {
    if (ExactNorm({spec.metric, spec.key_dtype, spec.dimension}, entries.At(i).key.data()) > 1000.0) continue;
    tame.insert(tame.end(), sample.begin() + static_cast<ptrdiff_t>(i * spec.dimension),
                sample.begin() + static_cast<ptrdiff_t>((i + 1) * spec.dimension));
  }
  auto codebook = Codebook::Train(spec, 7, tame, lists);
  EXPECT_TRUE(codebook.ok()) << codebook.status();
  return codebook.value();
}

// A scratch directory that goes when the test does.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = ::testing::TempDir() + "/mneme_index_XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~ScratchDirectory() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Rows [first, end) of `entries` as a segment file, without those in `dead`.
inline std::shared_ptr<const Segment> Seal(const IndexSpec& spec, const EntryColumns& entries,
                                           const std::shared_ptr<const Codebook>& codebook, Row first, Row end,
                                           const std::set<Row>& dead, const ScratchDirectory& scratch) {
  const std::string path = scratch.File("segment");
  const EnvelopeIdentity identity{1, 2, 3, 4};
  SegmentBuilder builder(spec, codebook, first, end);
  const auto for_each = [&](const auto& visit) {
    for (Row row = first; row < end; ++row) {
      if (dead.count(row) == 0) visit(row, entries.At(row));
    }
  };
  for_each([&](Row row, const EntryView& entry) { builder.Add(row, entry); });
  absl::Status written = builder.Begin(path, identity);
  EXPECT_TRUE(written.ok()) << written;
  for_each([&](Row row, const EntryView& entry) { builder.Place(row, entry); });
  written = builder.Finish({});
  EXPECT_TRUE(written.ok()) << written;
  auto segment = Segment::Open(path, spec, identity);
  EXPECT_TRUE(segment.ok()) << segment.status();
  return segment.value();
}

// A neighbour as the oracle finds it.
struct Expected {
  double score = 0.0;
  EntryId id = 0;
  PartitionId partition = 0;
  const EntryColumns* entries = nullptr;
  size_t row = 0;

  friend bool operator<(const Expected& a, const Expected& b) {
    return std::tuple(-a.score, a.id, a.partition) < std::tuple(-b.score, b.id, b.partition);
  }
};

inline void ExpectRow(const NeighbourColumns& found, size_t i, const Expected& expected, const IndexSpec& spec) {
  const EntryView entry = expected.entries->At(expected.row);
  EXPECT_EQ(found.scores[i], expected.score);
  EXPECT_EQ(found.ids[i], entry.id);
  EXPECT_EQ(found.partitions[i], expected.partition);
  EXPECT_EQ(found.values.At(i), entry.value);
  EXPECT_EQ(found.weights[i], entry.attributes.weight);
  EXPECT_EQ(found.labels[i], entry.attributes.label);
  EXPECT_EQ(found.sources[i], entry.attributes.source);
  EXPECT_EQ(found.positions[i], entry.attributes.position);
  if (found.key_bytes != 0) {
    EXPECT_EQ(std::string_view(found.keys.data() + i * spec.KeyBytes(), spec.KeyBytes()), entry.key);
  }
}

// Everything of two answers, byte for byte.
inline void ExpectSameAnswer(const NeighbourColumns& a, const NeighbourColumns& b) {
  EXPECT_EQ(a.offsets, b.offsets);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.partitions, b.partitions);
  EXPECT_EQ(a.values.bytes, b.values.bytes);
  EXPECT_EQ(a.values.offsets, b.values.offsets);
  EXPECT_EQ(a.weights, b.weights);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.sources, b.sources);
  EXPECT_EQ(a.positions, b.positions);
  EXPECT_EQ(a.keys, b.keys);
  ASSERT_EQ(a.scores.size(), b.scores.size());
  EXPECT_TRUE(a.scores.empty() ||
              std::memcmp(a.scores.data(), b.scores.data(), a.scores.size() * sizeof(double)) == 0);
}

}  // namespace mneme::testing

#endif  // MNEME_TESTS_INDEX_RANDOM_INDEX_H_
