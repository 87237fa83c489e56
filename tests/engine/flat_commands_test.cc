// What front ends and shards say to each other: read as it was written, and nothing else read at all.
#include "engine/flat_commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/limits.h"
#include "engine/flat_catalogue.h"
#include "engine/neighbour_rows.h"
#include "tests/common/hex.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using testing::Hex;
using testing::TokenMemory;

// Writes, reads, and writes again; and refuses every cut.
template <typename T>
T Through(const T& value) {
  const std::string bytes = Flat(value);
  T read;
  EXPECT_TRUE(Unflat(bytes, read).ok());
  EXPECT_EQ(Hex(Flat(read)), Hex(bytes));
  for (size_t size = 0; size < bytes.size(); ++size) {
    T cut;
    EXPECT_EQ(Unflat(std::string_view(bytes).substr(0, size), cut).code(), absl::StatusCode::kDataLoss) << size;
  }
  T longer;
  EXPECT_EQ(Unflat(bytes + '\0', longer).code(), absl::StatusCode::kDataLoss);
  return read;
}

NeighbourColumns Neighbours() {
  NeighbourColumns neighbours;
  neighbours.offsets = {0, 1, 1, 3};
  neighbours.scores = {-0.5, -1.0, -1.0};
  neighbours.ids = {7, 8, ~uint64_t{0}};
  neighbours.partitions = {0, 0, 42};
  neighbours.values.width = 0;
  for (const char* value : {"a", "", "ccc"}) neighbours.values.Append(value);
  neighbours.weights = {1.0F, 2.0F, 0.5F};
  neighbours.labels = {-1, 0, 1};
  neighbours.sources = {1, 2, 3};
  neighbours.positions = {4, 5, 6};
  neighbours.keys.assign(12, 'k');
  neighbours.key_bytes = 4;
  return neighbours;
}

TEST(FlatCommandsTest, AQuery) {
  QueryCommand query;
  query.partitions.partitions = {0, 42};
  query.queries.Append("12345678");
  query.count = 2;
  query.k = 100;
  query.exact = true;
  query.filter.labels = {-1, 5};
  query.filter.stamp_ms = 1000;
  query.exclude_ids = {3, 4};
  query.with_attributes = false;
  query.with_ids = false;
  query.single_scores = true;
  query.at_least = {7, {{1, 99}}};
  QueryCommand read;
  ASSERT_TRUE(Unflat(Flat(query), read).ok());
  EXPECT_EQ(Flat(read), Flat(query));
  EXPECT_EQ(read.queries.view(), "12345678");
  EXPECT_EQ(read.filter.labels, query.filter.labels);
  EXPECT_FALSE(read.filter.ids.has_value());
  EXPECT_FALSE(read.with_attributes);
  EXPECT_FALSE(read.with_ids);
  EXPECT_TRUE(read.single_scores);
  EXPECT_EQ(read.at_least.parts.front().sequence, 99U);
}

TEST(FlatCommandsTest, WhatAQueryFound) {
  QueryOutcome outcome;
  outcome.neighbours = Neighbours();
  outcome.statistics.rows_total = 9;
  outcome.statistics.exact = false;
  outcome.version = {7, {{0, 258}}};
  outcome.queue_us = 3;
  const QueryOutcome read = Through(outcome);
  EXPECT_TRUE(CheckWhole(read.neighbours).ok());
  EXPECT_EQ(read.neighbours.values.At(2), "ccc");
  EXPECT_FALSE(read.statistics.exact);
}

TEST(FlatCommandsTest, WhatAShardMadeOfItStandsBesideIt) {
  const FinishedReadOut made{"tokens", 2, -0.5, 7};
  EXPECT_EQ(Through(made).answer, "tokens");
  QueryOutcome outcome;
  outcome.statistics.rows_total = 9;
  for (const std::optional<FinishedReadOut>& beside : {std::optional<FinishedReadOut>(), std::optional(made)}) {
    QueryOutcome read;
    ASSERT_TRUE(Unflat(Flat(outcome, beside), read, read.read_out).ok());
    EXPECT_EQ(read.neighbours.size(), 0U);
    EXPECT_EQ(read.statistics.rows_total, 9U);
    ASSERT_EQ(read.read_out.has_value(), beside.has_value());
    if (beside.has_value()) EXPECT_EQ(read.read_out->benefit_nats, -0.5);
  }
}

TEST(FlatCommandsTest, AttributesAreLeftOutTogether) {
  QueryOutcome outcome;
  outcome.neighbours = Neighbours();
  const size_t bytes = Flat(outcome).size();
  DropAttributes(outcome.neighbours);
  // Each column its least, its width and three items: labels on both sides of 0, sources and positions near each other.
  EXPECT_EQ(Flat(outcome).size(), bytes - 3 * (sizeof(uint64_t) + 1) - 3 * (sizeof(uint64_t) + 1 + 1));
  const QueryOutcome read = Through(outcome);
  EXPECT_TRUE(CheckWhole(read.neighbours).ok());
  EXPECT_EQ(read.neighbours.size(), 3U);
  EXPECT_TRUE(read.neighbours.labels.empty());
}

TEST(FlatCommandsTest, IdsAndPartitionsAreLeftOutTogether) {
  QueryOutcome outcome;
  outcome.neighbours = Neighbours();
  DropIds(outcome.neighbours);
  const QueryOutcome read = Through(outcome);
  EXPECT_TRUE(CheckWhole(read.neighbours).ok());
  EXPECT_EQ(read.neighbours.size(), 3U);
  EXPECT_TRUE(read.neighbours.ids.empty());
  EXPECT_TRUE(read.neighbours.partitions.empty());
}

// What a shard answers to most queries: one partition, all weights 1, no attributes.
TEST(FlatCommandsTest, ANeighbourTakesTheBytesThatTellItFromTheOthers) {
  constexpr size_t kCount = 100;
  constexpr size_t kAround = 128;
  NeighbourColumns found;
  found.offsets = {0, kCount};
  found.values.width = sizeof(Token);
  for (uint32_t i = 0; i < kCount; ++i) {
    found.scores.push_back(-0.1 * i);
    found.ids.push_back((uint64_t{1} << 40) + 1'000 * i);
    found.values.Append({reinterpret_cast<const char*>(&i), sizeof(i)});
  }
  found.partitions.assign(kCount, 42);
  found.weights.assign(kCount, 1.0F);
  const size_t bytes = Flat(found).size();
  EXPECT_LT(bytes, kCount * (sizeof(double) + sizeof(uint32_t) + sizeof(Token)) + kAround);
  EXPECT_LE(bytes, RoomFor(found));
  const NeighbourColumns read = Through(found);
  EXPECT_TRUE(CheckWhole(read).ok());
  EXPECT_EQ(read.scores, found.scores);
  EXPECT_EQ(read.ids, found.ids);
  EXPECT_EQ(read.partitions, found.partitions);
  EXPECT_EQ(read.values.bytes, found.values.bytes);
  EXPECT_EQ(read.weights, found.weights);

  RoundScores(found);
  EXPECT_EQ(Flat(found).size(), bytes - kCount * (sizeof(double) - sizeof(float)));
  EXPECT_EQ(Through(found).scores, found.scores);
  EXPECT_EQ(found.scores[1], double{-0.1F});
}

TEST(FlatCommandsTest, NeighboursThatDoNotFitTogetherAreRefused) {
  EXPECT_TRUE(CheckWhole(Neighbours()).ok());
  EXPECT_TRUE(CheckWhole(NeighbourColumns()).ok());
  const auto refuses = [](const std::function<void(NeighbourColumns&)>& change) {
    NeighbourColumns changed = Neighbours();
    change(changed);
    return absl::IsDataLoss(CheckWhole(changed));
  };
  EXPECT_TRUE(refuses([](auto& n) { n.offsets.clear(); }));
  EXPECT_TRUE(refuses([](auto& n) { n.offsets = {0, 2, 1, 3}; }));
  EXPECT_TRUE(refuses([](auto& n) { n.offsets.back() = 4; }));
  EXPECT_TRUE(refuses([](auto& n) { n.scores.pop_back(); }));
  EXPECT_TRUE(refuses([](auto& n) { n.values.offsets.back() = 99; }));
  EXPECT_TRUE(refuses([](auto& n) { n.values.width = 4; }));
  EXPECT_TRUE(refuses([](auto& n) { n.labels.push_back(0); }));
  EXPECT_TRUE(refuses([](auto& n) { n.labels.clear(); }));
  EXPECT_TRUE(refuses([](auto& n) { n.sources.clear(); }));
  EXPECT_TRUE(refuses([](auto& n) { n.ids.clear(); }));
  EXPECT_TRUE(refuses([](auto& n) { n.partitions.clear(); }));
  EXPECT_TRUE(refuses([](auto& n) { n.weights.clear(); }));
  EXPECT_TRUE(refuses([](auto& n) { n.keys.pop_back(); }));
  EXPECT_TRUE(refuses([](auto& n) { n.key_bytes = 0; }));
}

TEST(FlatCommandsTest, WhatAWriteCameTo) {
  WriteResult result;
  result.count = 3;
  result.given_ids = {1, 2, 3};
  result.sequence = 300;
  result.replayed = true;
  StateOutcome states;
  states.count = 2;
  states.answers.emplace_back().status = WithReason(absl::AbortedError("version is 3"), reason::kVersionMismatch);
  states.answers.emplace_back().columns = {"abc", ""};
  result.states = std::make_shared<const StateOutcome>(states);
  const WriteResult read = Through(result);
  ASSERT_NE(read.states, nullptr);
  EXPECT_EQ(read.slots, nullptr);
  const absl::Status& status = read.states->answers[0].status;
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(status.message(), "version is 3");
  EXPECT_EQ(ReasonOf(status), reason::kVersionMismatch);
}

TEST(FlatCommandsTest, ScansAndTheirPages) {
  ScanCommand scan;
  scan.page_size = 10;
  scan.from = ScanPosition{7, 1, 42, 1000};
  EXPECT_EQ(Through(scan).from->row, 1000U);
  ScanPage page;
  page.entries.values.width = 4;
  page.next = ScanPosition{7, 0, 0, 5};
  EXPECT_TRUE(Through(page).next.has_value());
}

TEST(FlatCommandsTest, Statistics) {
  DeploymentStatistics statistics;
  statistics.memories.entries = 5;
  statistics.memories.drift = 1.5;
  statistics.maintenance_busy = true;
  statistics.write_status = absl::ResourceExhaustedError("the disk is full");
  const DeploymentStatistics read = Through(statistics);
  EXPECT_EQ(read.memories.drift, 1.5);
  EXPECT_EQ(read.write_status, statistics.write_status);
}

TEST(FlatCommandsTest, ChangesOfTheCatalogue) {
  CatalogueChanges changes;
  changes.revision = 9;
  changes.next_number = 4;
  changes.memories.push_back({3, TokenMemory("wiki", 128), 1000, false});
  changes.aliases.push_back({2, "live", 3});
  changes.removed = {1};
  changes.replicas[2] = {{"a:1", "", "b:2"}, true};
  const CatalogueChanges read = Through(changes);
  EXPECT_EQ(read.replicas, changes.replicas);
  EXPECT_EQ(read.memories, changes.memories);
  EXPECT_EQ(read.aliases, changes.aliases);
}

TEST(FlatCommandsTest, ALengthThatBytesCannotHoldTakesNoRam) {
  std::string bytes;
  format::ByteWriter(bytes).Varint(uint64_t{1} << 60);
  std::vector<double> column;
  std::vector<std::string> texts;
  EXPECT_FALSE(Unflat(bytes, column).ok());
  EXPECT_FALSE(Unflat(bytes, texts).ok());
}

TEST(FlatCommandsTest, AColumnThatTakesNoBytesIsAsLongAsTheOneBesideItOrAbsent) {
  const auto unflat = [](uint64_t ids) {
    std::string bytes = Flat(std::vector<uint64_t>{0, 1});
    format::ByteWriter writer(bytes);
    writer.Varint(1);  // a score, a float
    writer.Fixed(uint8_t{1});
    writer.Fixed(0.5F);
    writer.Varint(ids);
    if (ids != 0) writer.Fixed(uint64_t{7});
    if (ids != 0) writer.Fixed(uint8_t{0});
    // Nothing else: partitions, values, weights, attributes, keys.
    bytes += Flat(std::vector<PartitionId>(), ValueColumn(), std::vector<float>(), std::vector<int64_t>(),
                  std::vector<uint64_t>(), std::vector<uint64_t>(), std::vector<char>(), size_t{0});
    NeighbourColumns read;
    return Unflat(bytes, read);
  };
  EXPECT_TRUE(unflat(0).ok());
  EXPECT_TRUE(unflat(1).ok());
  EXPECT_TRUE(absl::IsDataLoss(unflat(2)));
  EXPECT_TRUE(absl::IsDataLoss(unflat(uint64_t{1} << 60)));
}

TEST(FlatCommandsTest, NoMoreRealsAreReadThanAnybodyWrites) {
  const auto reads = [](uint64_t count) {
    std::string bytes;
    format::ByteWriter writer(bytes);
    writer.Varint(count);
    writer.Fixed(uint8_t{1});  // floats
    bytes.append(count * sizeof(float), '\0');
    FlatReader reader(bytes);
    std::vector<double> column;
    reader.Reals(column);
    return reader.AtEnd() && column.size() == count;
  };
  EXPECT_TRUE(reads(limits::kMaxReals));
  EXPECT_FALSE(reads(limits::kMaxReals + 1));
}

}  // namespace
}  // namespace mneme
