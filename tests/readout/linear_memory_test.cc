#include "readout/linear_memory.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mneme {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

std::vector<double> Write(LinearMemory& memory, const std::vector<float>& keys, const std::vector<float>& values,
                          LinearRule rule = LinearRule::kLinear, size_t segment = 0,
                          const std::vector<float>& queries = {}, LinearOrder order = LinearOrder::kReadThenWrite) {
  LinearUpdate update{keys, values, queries, rule, order, segment};
  return memory.Apply(update).value();
}

std::vector<double> Read(const LinearMemory& memory, const std::vector<float>& queries) {
  LinearMemory copy = memory;
  return Write(copy, {}, {}, LinearRule::kLinear, 0, queries);
}

void ExpectNear(absl::Span<const double> got, const std::vector<double>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance) << "item " << i;
}

LinearMemory Golden() {
  LinearMemory memory(2, 2);
  Write(memory, {1, 0, 0, -1}, {1, 2, 3, 4});
  return memory;
}

TEST(LinearMemoryTest, GoldenOfTheFirstWrite) {
  const LinearMemory memory = Golden();
  ExpectNear(memory.matrix(), {5, 8, 2.1036383235, 3.4715177647}, 1e-10);
  ExpectNear(memory.normaliser(), {3, 1.3678794412}, 1e-10);
  ExpectNear(Read(memory, {0.5, -0.5}), {1.6466190695, 2.6466190695}, 1e-10);
  EXPECT_EQ(memory.tokens(), 2U);
}

TEST(LinearMemoryTest, GoldenOfASecondWriteByEitherRule) {
  LinearMemory linear = Golden();
  Write(linear, {1, 0}, {5, 6});
  ExpectNear(linear.matrix(), {15, 20, 7.1036383235, 9.4715177647}, 1e-10);
  ExpectNear(linear.normaliser(), {5, 2.3678794412}, 1e-10);
  LinearMemory delta = Golden();
  Write(delta, {1, 0}, {5, 6}, LinearRule::kDelta);
  ExpectNear(delta.matrix(), {11.7144852409, 14.7144852409, 5.4608809440, 6.8287603851}, 1e-9);
  ExpectNear(delta.normaliser(), {5, 2.3678794412}, 1e-10);
  ExpectNear(Read(delta, {1, 0}), {2.3358775094, 2.9316044872}, 1e-9);
}

TEST(LinearMemoryTest, GoldenReadOfASecondLinearWrite) {
  LinearMemory memory = Golden();
  Write(memory, {1, 0}, {5, 6});
  // sigma(1, 0) = (2, 1): (37.1036.., 49.4715..) / 12.3679 = (3, 4).
  ExpectNear(Read(memory, {1, 0}), {3, 4}, 1e-9);
}

TEST(LinearMemoryTest, ADeltaWriteThatIsRepeatedHalvesTheRead) {
  LinearMemory memory(2, 2);
  Write(memory, {1, 0}, {5, 6}, LinearRule::kDelta);
  ExpectNear(Read(memory, {1, 0}), {5, 6}, 1e-12);
  const std::vector<double> before(memory.matrix().begin(), memory.matrix().end());
  Write(memory, {1, 0}, {5, 6}, LinearRule::kDelta);
  ExpectNear(memory.matrix(), before, 1e-12);
  ExpectNear(Read(memory, {1, 0}), {2.5, 3}, 1e-12);
}

TEST(LinearMemoryTest, AnEmptyStateReadsZeros) {
  EXPECT_THAT(Read(LinearMemory(3, 4), {1, 2, 3, -4, -5, -6}), Each(0.0));
}

TEST(LinearMemoryTest, OrderSaysWhetherQueriesSeeTheWrite) {
  LinearMemory memory(1, 1);
  EXPECT_THAT(Write(memory, {1}, {7}, LinearRule::kLinear, 0, {1}), ElementsAre(0.0));
  LinearMemory other(1, 1);
  EXPECT_THAT(Write(other, {1}, {7}, LinearRule::kLinear, 0, {1}, LinearOrder::kWriteThenRead), ElementsAre(7.0));
}

struct Rows {
  std::vector<float> keys;
  std::vector<float> values;
};

Rows RandomRows(std::mt19937& random, size_t count, size_t key_dim, size_t value_dim) {
  std::normal_distribution<float> normal;
  Rows rows{std::vector<float>(count * key_dim), std::vector<float>(count * value_dim)};
  for (float& x : rows.keys) x = normal(random);
  for (float& x : rows.values) x = normal(random);
  return rows;
}

TEST(LinearMemoryTest, SegmentLengthMattersToDeltaAlone) {
  std::mt19937 random(1);
  const Rows rows = RandomRows(random, 60, 8, 5);
  const std::vector<float> query = RandomRows(random, 1, 8, 1).keys;
  LinearMemory whole(8, 5);
  Write(whole, rows.keys, rows.values);
  LinearMemory whole_delta(8, 5);
  Write(whole_delta, rows.keys, rows.values, LinearRule::kDelta);
  const std::vector<double> want = Read(whole, query);
  for (const size_t segment : {1, 7, 20, 59, 100}) {
    LinearMemory linear(8, 5);
    Write(linear, rows.keys, rows.values, LinearRule::kLinear, segment);
    ExpectNear(Read(linear, query), want, 1e-13);
  }
  LinearMemory delta(8, 5);
  Write(delta, rows.keys, rows.values, LinearRule::kDelta, 7);
  double difference = 0.0;
  const std::vector<double> by_seven = Read(delta, query);
  const std::vector<double> at_once = Read(whole_delta, query);
  for (size_t j = 0; j < 5; ++j) difference = std::max(difference, std::abs(by_seven[j] - at_once[j]));
  EXPECT_GT(difference, 0.01);
}

TEST(LinearMemoryTest, SegmentsOfOneCallAreTheSameAsSeparateCalls) {
  std::mt19937 random(2);
  const Rows rows = RandomRows(random, 10, 4, 3);
  LinearMemory one(4, 3);
  Write(one, rows.keys, rows.values, LinearRule::kDelta, 4);
  LinearMemory many(4, 3);
  for (const auto& [first, last] : std::vector<std::pair<int, int>>{{0, 4}, {4, 8}, {8, 10}}) {
    Write(many, {rows.keys.begin() + first * 4, rows.keys.begin() + last * 4},
          {rows.values.begin() + first * 3, rows.values.begin() + last * 3}, LinearRule::kDelta);
  }
  EXPECT_EQ(one.flat(), many.flat());
  EXPECT_EQ(one.tokens(), many.tokens());
}

TEST(LinearMemoryTest, StatesThatAreMergedAreTheStateOfTheWhole) {
  std::mt19937 random(3);
  const Rows rows = RandomRows(random, 40, 6, 4);
  LinearMemory whole(6, 4);
  Write(whole, rows.keys, rows.values);
  LinearMemory left(6, 4);
  Write(left, {rows.keys.begin(), rows.keys.begin() + 15 * 6}, {rows.values.begin(), rows.values.begin() + 15 * 4});
  LinearMemory right(6, 4);
  Write(right, {rows.keys.begin() + 15 * 6, rows.keys.end()}, {rows.values.begin() + 15 * 4, rows.values.end()});
  ASSERT_TRUE(left.Merge(right).ok());
  ExpectNear(left.flat(), {whole.flat().begin(), whole.flat().end()}, 1e-12);
  EXPECT_EQ(left.tokens(), 40U);
  EXPECT_EQ(left.Merge(LinearMemory(6, 5)).code(), absl::StatusCode::kInvalidArgument);
}

TEST(LinearMemoryTest, LinearReadsStayWithinTheStoredValues) {
  std::mt19937 random(4);
  const Rows rows = RandomRows(random, 30, 6, 1);
  LinearMemory memory(6, 1);
  Write(memory, rows.keys, rows.values);
  const auto [least, most] = std::minmax_element(rows.values.begin(), rows.values.end());
  for (const double value : Read(memory, RandomRows(random, 200, 6, 1).keys)) {
    EXPECT_GE(value, *least);
    EXPECT_LE(value, *most);
  }
}

// A key that is hot in one component: sigma is 21 there and e^-20 elsewhere.
void AppendKey(std::vector<float>& keys, size_t key_dim, size_t hot) {
  for (size_t i = 0; i < key_dim; ++i) keys.push_back(i == hot ? 20.0F : -20.0F);
}

TEST(LinearMemoryTest, NearOrthogonalKeysAreReadBack) {
  std::mt19937 random(5);
  std::vector<float> keys;
  for (size_t i = 0; i < 64; ++i) AppendKey(keys, 64, i);
  const std::vector<float> values = RandomRows(random, 64, 1, 3).values;
  LinearMemory memory(64, 3);
  Write(memory, keys, values);
  const std::vector<double> read = Read(memory, keys);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(read[i], values[i], 1e-6);
}

TEST(LinearMemoryTest, APasskeyOutlivesAHundredThousandFillers) {
  constexpr size_t kKeyDim = 32;
  const std::vector<size_t> digits = {7, 1, 3, 3, 9};
  for (const size_t fillers : {1'000, 10'000, 100'000}) {
    std::mt19937 random(6);
    std::vector<float> keys;
    std::vector<float> values;
    const auto append = [&](size_t hot, size_t digit) {
      AppendKey(keys, kKeyDim, hot);
      for (size_t j = 0; j < 10; ++j) values.push_back(j == digit ? 1.0F : 0.0F);
    };
    for (size_t i = 0; i < digits.size(); ++i) append(i, digits[i]);
    for (size_t i = 0; i < fillers; ++i) append(digits.size() + random() % (kKeyDim - digits.size()), random() % 10);
    LinearMemory memory(kKeyDim, 10);
    Write(memory, keys, values, LinearRule::kLinear, 512);
    EXPECT_EQ(memory.flat().size() * sizeof(double), 2816U);
    const std::vector<double> read = Read(memory, {keys.begin(), keys.begin() + 5 * kKeyDim});
    for (size_t i = 0; i < digits.size(); ++i) {
      const auto row = read.begin() + static_cast<std::ptrdiff_t>(i * 10);
      EXPECT_EQ(static_cast<size_t>(std::max_element(row, row + 10) - row), digits[i]) << fillers << " fillers";
    }
  }
}

TEST(LinearMemoryTest, TheFlatViewRestoresTheState) {
  const LinearMemory memory = Golden();
  const LinearMemory copy = LinearMemory::FromFlat(2, 2, memory.tokens(), memory.flat()).value();
  EXPECT_EQ(copy.flat(), memory.flat());
  EXPECT_EQ(copy.tokens(), 2U);
  EXPECT_EQ(LinearMemory::FromFlat(2, 3, 0, memory.flat()).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LinearMemoryTest, RefusesShapesThatDoNotFitAndWritesNothing) {
  LinearMemory memory(2, 2);
  const std::vector<float> two = {1, 2};
  const std::vector<float> three = {1, 2, 3};
  const std::vector<float> four = {1, 2, 3, 4};
  const LinearUpdate no_epsilon{two, two, {}, LinearRule::kLinear, LinearOrder::kReadThenWrite, 0, 0.0};
  for (const LinearUpdate& update :
       {LinearUpdate{three, two, {}}, LinearUpdate{two, three, {}}, LinearUpdate{two, four, {}},
        LinearUpdate{two, two, three}, no_epsilon}) {
    EXPECT_EQ(memory.Apply(update).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_THAT(memory.flat(), Each(0.0));
  EXPECT_EQ(memory.tokens(), 0U);
}

}  // namespace
}  // namespace mneme
