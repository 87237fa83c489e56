#include "readout/rare_events.h"

#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <map>
#include <random>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/index/shared_data.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using ::testing::SizeIs;

ObserveOptions Quiet() {
  ObserveOptions options;
  options.seed = 0;
  return options;
}

Observation Learn(RareEvents& table, const std::vector<float>& query, int64_t label) {
  return table.Observe(query, {label}, Quiet()).value()[0];
}

void ExpectKey(const RareEvents& table, uint32_t slot, double x, double y) {
  EXPECT_NEAR(table.key(slot)[0], x, 1e-6);
  EXPECT_NEAR(table.key(slot)[1], y, 1e-6);
}

TEST(RareEventsTest, GoldenTraceOfSixSteps) {
  RareEvents table(3, 2);
  EXPECT_FALSE(Learn(table, {1, 0}, 1).slot.has_value());
  ExpectKey(table, 0, 1, 0);

  Observation step = Learn(table, {0.6F, 0.8F}, 1);
  EXPECT_EQ(step.value, 1);
  EXPECT_TRUE(step.correct);
  EXPECT_EQ(step.action, ObserveAction::kMerged);
  EXPECT_NEAR(step.similarity, 0.6, 1e-7);
  ExpectKey(table, 0, 0.894427191, 0.447213595);
  EXPECT_EQ(table.tick() - table.last_used()[0], 0);
  EXPECT_EQ(table.tick(), 2);

  step = Learn(table, {0, 1}, 2);
  EXPECT_EQ(step.value, 1);
  EXPECT_EQ(step.written_slot, 1U);
  step = Learn(table, {-1, 0}, 3);
  EXPECT_EQ(step.value, 2);
  EXPECT_EQ(step.written_slot, 2U);
  EXPECT_FALSE(step.evicted.has_value());

  step = Learn(table, {0, -1}, 2);
  EXPECT_EQ(step.value, 3);
  EXPECT_EQ(step.written_slot, 0U);
  ASSERT_TRUE(step.evicted.has_value());
  EXPECT_EQ(step.evicted->value, 1);
  EXPECT_EQ(step.evicted->age, 3);

  step = Learn(table, {0, 1}, 3);
  EXPECT_EQ(step.value, 2);
  EXPECT_EQ(step.slot, 1U);
  EXPECT_FALSE(step.correct);
  EXPECT_EQ(step.written_slot, 1U);
  EXPECT_EQ(table.values()[1], 3);
  ExpectKey(table, 1, 0, 1);
}

// The rule in its simplest form: every similarity in double, a full scan for each step, no noise.
class Oracle {
 public:
  explicit Oracle(size_t capacity) : capacity_(capacity) {}

  struct Slot {
    std::vector<float> key;
    int64_t value;
    int64_t used;
  };

  Observation Observe(const std::vector<float>& unit, int64_t label, size_t choose_k, double alpha, int64_t tick) {
    std::vector<std::pair<double, uint32_t>> order;
    for (uint32_t s = 0; s < slots.size(); ++s) {
      double sum = 0.0;
      for (size_t i = 0; i < unit.size(); ++i) sum += double{unit[i]} * double{slots[s].key[i]};
      order.emplace_back(-sum, s);
    }
    std::sort(order.begin(), order.end());
    Observation out;
    std::optional<double> pos, neg;
    std::optional<uint32_t> recent;
    for (uint32_t s = 0; s < slots.size(); ++s) {
      if (slots[s].value == label && (!recent || slots[s].used > slots[*recent].used)) recent = s;
    }
    for (size_t i = 0; i < order.size(); ++i) {
      const auto [minus, s] = order[i];
      const bool matches = slots[s].value == label;
      if (i >= choose_k && !(recent == s)) continue;
      std::optional<double>& best = matches ? pos : neg;
      if (!best) best = -minus;
    }
    out.pos = pos.value_or(0.0);
    out.neg = neg.value_or(0.0);
    out.loss = std::max(0.0, out.neg - out.pos + alpha) - alpha;
    if (!order.empty()) {
      out.slot = order[0].second;
      out.similarity = -order[0].first;
      out.value = slots[*out.slot].value;
      out.correct = out.value == label;
    }
    uint32_t written = 0;
    if (out.correct) {
      written = *out.slot;
      std::vector<double> sum(unit.size());
      double square = 0.0;
      for (size_t i = 0; i < unit.size(); ++i) {
        sum[i] = static_cast<double>(unit[i]) + static_cast<double>(slots[written].key[i]);
        square += sum[i] * sum[i];
      }
      if (square > 0.0) {
        for (size_t i = 0; i < unit.size(); ++i) slots[written].key[i] = static_cast<float>(sum[i] / std::sqrt(square));
      }
    } else if (slots.size() < capacity_) {
      written = static_cast<uint32_t>(slots.size());
      slots.push_back({unit, label, tick});
    } else {
      for (uint32_t s = 1; s < slots.size(); ++s) {
        if (slots[s].used < slots[written].used) written = s;
      }
      slots[written] = {unit, label, tick};
    }
    slots[written].used = tick;
    out.written_slot = written;
    return out;
  }

  std::vector<Slot> slots;

 private:
  size_t capacity_;
};

std::vector<float> Unit(const std::vector<float>& row) {
  double square = 0.0;
  for (const float x : row) square += static_cast<double>(x) * static_cast<double>(x);
  std::vector<float> unit;
  for (const float x : row) unit.push_back(static_cast<float>(static_cast<double>(x) / std::sqrt(square)));
  return unit;
}

TEST(RareEventsTest, BatchesAreTheRuleAppliedItemByItem) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  for (const auto& [capacity, choose_k, dim] :
       std::vector<std::tuple<size_t, size_t, size_t>>{{3, 2, 2}, {50, 7, 5}, {300, 256, 17}, {400, 3, 4}}) {
    RareEvents table(capacity, dim);
    Oracle oracle(capacity);
    ObserveOptions options = Quiet();
    options.choose_k = choose_k;
    for (int64_t tick = 1; tick <= 40; ++tick) {
      const size_t count = 1 + random() % 80;
      std::vector<float> queries;
      std::vector<int64_t> labels;
      for (size_t q = 0; q < count; ++q) {
        labels.push_back(static_cast<int64_t>(random() % 6) - 2);
        // A third of the small integers are exact ties.
        const bool tied = random() % 3 == 0;
        for (size_t i = 0; i < dim; ++i) queries.push_back(tied ? static_cast<float>(i == 0) : normal(random));
      }
      const std::vector<Observation> got = table.Observe(queries, labels, options).value();
      for (size_t q = 0; q < count; ++q) {
        const Observation want = oracle.Observe(
            Unit({queries.begin() + static_cast<std::ptrdiff_t>(q * dim),
                  queries.begin() + static_cast<std::ptrdiff_t>((q + 1) * dim)}),
            labels[q], std::min(choose_k, capacity), options.alpha, tick);
        ASSERT_EQ(got[q].slot, want.slot) << "tick " << tick << " item " << q;
        ASSERT_EQ(got[q].similarity, want.similarity);
        ASSERT_EQ(got[q].correct, want.correct);
        ASSERT_EQ(got[q].written_slot, want.written_slot) << "tick " << tick << " item " << q;
        ASSERT_EQ(got[q].pos, want.pos) << "tick " << tick << " item " << q;
        ASSERT_EQ(got[q].neg, want.neg) << "tick " << tick << " item " << q;
        ASSERT_EQ(got[q].loss, want.loss);
      }
    }
    for (uint32_t s = 0; s < table.size(); ++s) {
      ASSERT_EQ(table.values()[s], oracle.slots[s].value);
      ASSERT_EQ(table.key(s), absl::MakeConstSpan(oracle.slots[s].key));
    }
  }
}

TEST(RareEventsTest, AnOppositeQueryLeavesTheKey) {
  RareEvents table(2, 2);
  Learn(table, {1, 0}, 4);
  const Observation out = Learn(table, {-1, 0}, 4);
  EXPECT_EQ(out.action, ObserveAction::kMerged);
  EXPECT_EQ(out.similarity, -1.0);
  ExpectKey(table, 0, 1, 0);
}

TEST(RareEventsTest, Label0DoesNotMatchASlotThatWasNeverUsed) {
  RareEvents table(4, 2);
  EXPECT_EQ(Learn(table, {1, 0}, 0).action, ObserveAction::kInserted);
  EXPECT_EQ(Learn(table, {1, 0}, 0).action, ObserveAction::kMerged);
}

TEST(RareEventsTest, RefusesAZeroQueryAndBadOptionsAndWritesNothing) {
  RareEvents table(4, 2);
  const std::vector<float> batch = {1, 0, 0, 0};
  const std::vector<int64_t> labels = {1, 2};
  const auto code = [&](const ObserveOptions& options, absl::Span<const float> queries,
                        absl::Span<const int64_t> of) { return table.Observe(queries, of, options).status().code(); };
  const std::vector<float> good = {1, 0, 0, 1};
  ObserveOptions options = Quiet();
  EXPECT_EQ(code(options, batch, labels), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(options, absl::MakeConstSpan(good).first(3), labels), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(options, absl::MakeConstSpan(good).first(2), labels), absl::StatusCode::kInvalidArgument);
  options.choose_k = 0;
  EXPECT_EQ(code(options, good, labels), absl::StatusCode::kInvalidArgument);
  options = Quiet();
  options.alpha = 0.0;
  EXPECT_EQ(code(options, good, labels), absl::StatusCode::kInvalidArgument);
  options = Quiet();
  options.age_noise = -1.0;
  EXPECT_EQ(code(options, good, labels), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(table.size(), 0U);
  EXPECT_EQ(table.tick(), 0);
}

TEST(RareEventsTest, WithoutLearningOrLabelsNothingIsWritten) {
  RareEvents table(4, 2);
  Learn(table, {1, 0}, 5);
  ObserveOptions options = Quiet();
  EXPECT_EQ(table.Observe({0.0F, 1.0F}, {}, options).value()[0].action, ObserveAction::kNone);
  options.learn = false;
  const Observation out = table.Observe({0.0F, 1.0F}, {6}, options).value()[0];
  EXPECT_EQ(out.value, 5);
  EXPECT_FALSE(out.written_slot.has_value());
  EXPECT_EQ(table.size(), 1U);
  EXPECT_EQ(table.tick(), 1);
}

TEST(RareEventsTest, TheMaskIsASoftmaxOverThePool) {
  RareEvents table(3, 2);
  ASSERT_TRUE(table.Observe({1.0F, 0.0F, 0.0F, 1.0F, -1.0F, 0.0F}, {1, 2, 3}, Quiet()).ok());
  ObserveOptions options = Quiet();
  options.want_mask = true;
  options.choose_k = 2;
  const auto mask = table.Observe({1.0F, 0.0F}, {}, options).value()[0].mask;
  ASSERT_THAT(mask, SizeIs(2));
  EXPECT_EQ(mask[0].first, 0U);
  EXPECT_EQ(mask[1].first, 1U);
  EXPECT_NEAR(mask[0].second, 1.0 / (1.0 + std::exp(-1.0)), 1e-12);  // t = max(1, ln 0.4 / 0.1) = 1
  EXPECT_NEAR(mask[0].second + mask[1].second, 1.0, 1e-12);
}

TEST(RareEventsTest, NoiseIsSettledByTheSeedAndStaysWithinItsReach) {
  const auto evicted = [](uint64_t seed) {
    RareEvents table(100, 2);
    std::vector<float> queries;
    for (int i = 0; i < 100; ++i) {
      queries = {std::cos(0.01F * static_cast<float>(i)), std::sin(0.01F * static_cast<float>(i))};
      Learn(table, queries, i);
    }
    ObserveOptions options;
    options.seed = seed;
    options.age_noise = 8.0;
    return *table.Observe({-1.0F, 0.0F}, {1000}, options).value()[0].written_slot;
  };
  EXPECT_EQ(evicted(0), 0U);
  std::set<uint32_t> slots;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    EXPECT_EQ(evicted(seed), evicted(seed));
    slots.insert(evicted(seed));
  }
  EXPECT_GT(slots.size(), 4U);
  EXPECT_LT(*slots.rbegin(), 16U);
}

TEST(RareEventsTest, ColumnsRestoreTheTable) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  RareEvents table(20, 3);
  const auto step = [&](RareEvents& of, const std::vector<float>& query, int64_t label) {
    ObserveOptions options;
    options.seed = 9;
    return of.Observe(query, {label}, options).value()[0].written_slot;
  };
  for (int i = 0; i < 60; ++i) step(table, {normal(random), normal(random), normal(random)}, random() % 30);
  RareEvents copy =
      RareEvents::FromColumns(20, 3, table.tick(), table.keys(), table.values(), table.last_used()).value();
  for (int i = 0; i < 60; ++i) {
    const std::vector<float> query = {normal(random), normal(random), normal(random)};
    ASSERT_EQ(step(copy, query, i % 30), step(table, query, i % 30));
  }
  EXPECT_EQ(RareEvents::FromColumns(2, 3, 0, table.keys(), table.values(), table.last_used()).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RareEvents::FromColumns(20, 3, 0, table.keys(), table.values(), table.last_used()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// The 1797 lines of digits.csv.gz: 64 pixels and a label. Empty when it is neither in tests/data nor shared.
std::vector<std::vector<float>> Digits() {
  std::vector<std::string> candidates;
  if (const char* path = std::getenv("MNEME_TEST_DATA")) {
    candidates.push_back(std::string(path) + "/digits/digits.csv.gz");
  }
  if (const auto path = testing::SharedData()) candidates.push_back(*path + "/digits/digits.csv.gz");
  std::vector<std::vector<float>> rows;
  for (const std::string& path : candidates) {
    gzFile file = gzopen(path.c_str(), "rb");  // reads plain files as they are
    if (file == nullptr) continue;
    char line[1024];
    while (gzgets(file, line, sizeof(line)) != nullptr) {
      std::istringstream items(line);
      rows.emplace_back();
      for (std::string item; std::getline(items, item, ',');) rows.back().push_back(std::stof(item));
    }
    gzclose(file);
    break;
  }
  return rows;
}

TEST(RareEventsTest, DigitsStream) {
  const std::vector<std::vector<float>> rows = Digits();
  if (rows.empty()) GTEST_SKIP() << "digits.csv is absent (tests/data, MNEME_SHARED_DATA): the stream was NOT checked";
  ASSERT_THAT(rows, SizeIs(1797));
  for (const auto& [slots, accuracy] : std::map<size_t, double>{{10, 0.8242}, {50, 0.9544}, {200, 0.9549}}) {
    RareEvents table(slots, 64);
    size_t correct = 0;
    for (const std::vector<float>& row : rows) {
      ASSERT_THAT(row, SizeIs(65));
      correct += Learn(table, {row.begin(), row.end() - 1}, static_cast<int64_t>(row.back()) + 1).correct ? 1 : 0;
    }
    EXPECT_NEAR(static_cast<double>(correct) / 1797.0, accuracy, 5e-5) << slots << " slots";
    if (slots == 200) {
      EXPECT_EQ(table.size(), 81U);
    }
  }
}

TEST(RareEventsTest, OmniglotStream) {
  const auto data = testing::SharedData();
  if (!data.has_value()) GTEST_SKIP() << "rare_omniglot is absent (set MNEME_SHARED_DATA): NOT checked";
  const std::string root = *data + "/rare_omniglot/";
  const std::vector<float> embeddings = testing::ToFloats(testing::ReadNpy<uint16_t>(root + "emb64.npy"));
  const auto labels = testing::ReadNpy<int32_t>(root + "label.npy");
  const auto order = testing::ReadNpy<int32_t>(root + "stream_order.npy");
  const auto predictions = testing::ReadNpy<int32_t>(root + "kaiser8192_pred.npy");
  const auto slots = testing::ReadNpy<int32_t>(root + "kaiser8192_slot.npy");
  RareEvents table(8192, 64);
  size_t correct = 0, same = 0, same_slot = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const auto row = static_cast<size_t>(order[i]);
    const Observation out = Learn(table, {embeddings.begin() + static_cast<std::ptrdiff_t>(row * 64),
                                          embeddings.begin() + static_cast<std::ptrdiff_t>(row * 64 + 64)},
                                  labels[row]);
    correct += out.correct ? 1 : 0;
    same += (out.slot.has_value() ? out.value : -1) == predictions[i] ? 1 : 0;
    same_slot += static_cast<int32_t>(*out.written_slot) == slots[i] ? 1 : 0;
  }
  std::printf("omniglot: accuracy %.5f, %zu of 4000 predictions and %zu slots the same, %zu slots used\n",
              static_cast<double>(correct) / 4000.0, same, same_slot, table.size());
  EXPECT_NEAR(static_cast<double>(correct) / 4000.0, 0.76575, 0.005);
  EXPECT_NEAR(static_cast<double>(table.size()), 937.0, 5.0);
  EXPECT_GE(same, 3960U);
}

// Printed, not asserted: the machine may be busy.
TEST(RareEventsTest, ItemsPerSecondAt8192By128) {
  constexpr size_t kDim = 128, kBatch = 64;
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  RareEvents table(8192, kDim);
  std::vector<float> queries(8192 * kDim);
  for (float& x : queries) x = normal(random);
  std::vector<int64_t> labels(8192);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int64_t>(i);
  ASSERT_TRUE(table.Observe(queries, labels, Quiet()).ok());
  ASSERT_EQ(table.size(), 8192U);
  for (int64_t& label : labels) label = static_cast<int64_t>(random() % 1000);  // some right, most replace the oldest
  ObserveOptions options;
  options.seed = 1;
  const auto start = std::chrono::steady_clock::now();
  size_t items = 0;
  for (size_t first = 0; first + kBatch <= (kSanitized ? 256 : 4096); first += kBatch, items += kBatch) {
    ASSERT_TRUE(table.Observe(absl::MakeConstSpan(queries).subspan(first * kDim, kBatch * kDim),
                              absl::MakeConstSpan(labels).subspan(first, kBatch), options).ok());
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("rare events: %.0f items/s at 8192 x 128 in batches of 64\n", static_cast<double>(items) / seconds);
}

}  // namespace
}  // namespace mneme
