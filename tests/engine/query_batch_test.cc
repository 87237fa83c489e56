// Queries that wait together are searched together, and each is answered as if it had been alone.
#include "engine/query_batch.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <latch>
#include <mutex>
#include <random>
#include <thread>
#include <tuple>

#include "common/index_choice.h"
#include "engine/partition_index.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using testing::ColumnsOf;
using testing::ExactQuery;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

using Outcome = absl::StatusOr<QueryOutcome>;
using std::chrono::steady_clock;

// A deployment with one search thread, which a query can hold until it is released: what is asked meanwhile waits.
class QueryBatchTest : public ::testing::Test {
 protected:
  struct Asked {
    std::promise<Outcome> promise;
    std::future<Outcome> outcome = promise.get_future();
  };

  void Fill(MemorySpec spec, size_t rows, uint64_t seed) {
    memory_ = deployment_.Create(spec);
    std::mt19937_64 random(seed);
    for (PartitionId partition = 0; partition < 3; ++partition) {
      std::vector<PlainEntry> entries(rows);
      for (size_t i = 0; i < rows; ++i) {
        entries[i].id = i;
        entries[i].key = RandomKey(random);
        entries[i].token = static_cast<Token>(random() % 1000);
        entries[i].attributes.source = random() % 5;
        entries[i].attributes.label = static_cast<int64_t>(random() % 3);
        if (random() % 10 == 0) entries[i].attributes.expiry_ms = 1'500'000;
      }
      const std::vector<PlainEntry> sealed(entries.begin(), entries.begin() + static_cast<ptrdiff_t>(rows / 2));
      const std::vector<PlainEntry> tail(entries.begin() + static_cast<ptrdiff_t>(rows / 2), entries.end());
      ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(spec, sealed), partition).ok());
      ASSERT_TRUE(deployment_.Build(memory_).ok());
      ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(spec, tail), partition).ok());
      ASSERT_TRUE(deployment_.DeleteIds(memory_, {1, 3, rows - 2}, partition).ok());
    }
  }

  std::vector<float> RandomKey(std::mt19937_64& random) const {
    std::vector<float> key(memory_->spec.dimension);
    // Few different values: ties are common.
    for (float& x : key) x = static_cast<float>(random() % 7) - 3.0F;
    key[0] += 0.25F;
    return key;
  }

  QueryCommand RandomQuery(std::mt19937_64& random) const {
    const size_t count = 1 + random() % 3;
    std::vector<float> queries;
    for (size_t i = 0; i < count; ++i) {
      const std::vector<float> key = RandomKey(random);
      queries.insert(queries.end(), key.begin(), key.end());
    }
    QueryCommand command = ExactQuery(queries, count, random() % 2 == 0 ? 10 : 300);
    command.exact = random() % 2 == 0;
    command.probes = random() % 2 == 0 ? 2 : 0;
    command.approximate_distances = random() % 3 == 0;
    if (random() % 2 == 0) command.partitions.partitions = {1};
    if (random() % 4 == 0) command.partitions.all = true;
    if (random() % 3 == 0) command.filter.sources = std::vector<uint64_t>{1, 2};
    if (random() % 6 == 0) command.filter.labels = std::vector<int64_t>{2};
    if (random() % 6 == 0) command.filter.ids = std::vector<EntryId>{5, 6, 7, 400};
    command.with_keys = random() % 3 == 0;
    if (random() % 3 == 0) {
      for (size_t i = 0; i < count; ++i) command.exclude_ids.push_back(random() % 500);
    }
    if (random() % 3 == 0) {
      for (size_t i = 0; i < count; ++i) command.exclude_sources.push_back(random() % 5);
    }
    command.with_successors = random() % 4 == 0;
    return command;
  }

  // Queries of one kind ask alike, with vectors and exclusions of their own.
  QueryCommand QueryOfKind(uint64_t kind, uint64_t number) const {
    std::mt19937_64 of_kind(seed_ + kind);
    std::mt19937_64 of_query(number);
    QueryCommand command = RandomQuery(of_kind);
    const std::vector<float> key = RandomKey(of_query);
    std::memcpy(command.queries.data(), key.data(), key.size() * sizeof(float));
    for (EntryId& id : command.exclude_ids) id = of_query() % 600;
    for (uint64_t& source : command.exclude_sources) source = of_query() % 5;
    return command;
  }

  // Holds the search thread in the answer of a query of its own.
  void Hold() {
    QueryCommand command = ExactQuery(std::vector<float>(memory_->spec.dimension, 1.0F), 1, 1);
    deployment_->Query(memory_, std::move(command), [this](const Outcome&) {
      held_.count_down();
      released_.wait();
    });
    held_.wait();
  }
  void Release() { released_.count_down(); }

  // Waits until the deployment holds so many entries.
  bool ComesTo(uint64_t entries) {
    const auto end = steady_clock::now() + std::chrono::seconds(20);
    while (deployment_->Statistics().memories.entries != entries) {
      if (steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }

  std::future<Outcome>& Ask(QueryCommand command) {
    Asked& asked = asked_.emplace_back();
    const size_t number = asked_.size() - 1;
    deployment_->Query(memory_, std::move(command), [this, &asked, number](Outcome outcome) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        answered_.push_back(number);
      }
      asked.promise.set_value(std::move(outcome));
    });
    return asked.outcome;
  }

  TestDeployment deployment_{1, {.search_threads = 1}};
  const uint64_t seed_ = TestSeed();
  MemoryHandle memory_;
  std::latch held_{1};
  std::latch released_{1};
  std::deque<Asked> asked_;
  std::mutex mutex_;
  std::vector<size_t> answered_;  // numbers of Ask() in the order of their answers
};

void ExpectSame(const QueryOutcome& batched, const QueryOutcome& alone) {
  const NeighbourColumns& a = batched.neighbours;
  const NeighbourColumns& b = alone.neighbours;
  EXPECT_EQ(a.offsets, b.offsets);
  EXPECT_EQ(a.scores, b.scores);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.partitions, b.partitions);
  EXPECT_EQ(a.values.width, b.values.width);
  EXPECT_EQ(a.values.bytes, b.values.bytes);
  EXPECT_EQ(a.values.offsets, b.values.offsets);
  EXPECT_EQ(a.weights, b.weights);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.sources, b.sources);
  EXPECT_EQ(a.positions, b.positions);
  EXPECT_EQ(a.keys, b.keys);
  EXPECT_EQ(a.key_bytes, b.key_bytes);
  EXPECT_EQ(batched.successors, alone.successors);
  EXPECT_EQ(batched.has_successor, alone.has_successor);
  EXPECT_EQ(batched.coverage.shards_answered, alone.coverage.shards_answered);
  ASSERT_EQ(batched.version.parts.size(), alone.version.parts.size());
  EXPECT_EQ(batched.version.parts[0].sequence, alone.version.parts[0].sequence);
  EXPECT_EQ(batched.statistics.rows_total, alone.statistics.rows_total);
  EXPECT_EQ(batched.statistics.segments, alone.statistics.segments);
  EXPECT_EQ(batched.statistics.tail_rows, alone.statistics.tail_rows);
  EXPECT_LE(batched.statistics.rows_scanned, batched.statistics.rows_total);
}

class QueryBatchKindTest : public QueryBatchTest,
                           public ::testing::WithParamInterface<std::tuple<Metric, const char*>> {};

TEST_P(QueryBatchKindTest, AnswersEachAsIfItHadBeenAlone) {
  std::mt19937_64 random(seed_);
  MemorySpec spec = TokenMemory("batched", 8, std::get<0>(GetParam()));
  spec.index = ParseIndexChoice(std::get<1>(GetParam()), spec.dimension).value();
  spec.key_dtype = random() % 2 == 0 ? Dtype::kF32 : Dtype::kF16;
  Fill(spec, 600, random());
  // Many of few kinds, so that there is something to join.
  constexpr size_t kQueries = 240;
  constexpr uint64_t kKinds = 12;
  std::vector<QueryOutcome> alone;
  for (size_t i = 0; i < kQueries; ++i) {
    auto outcome = deployment_.Query(memory_, QueryOfKind(i % kKinds, i));
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    alone.push_back(*std::move(outcome));
  }
  Hold();
  for (size_t i = 0; i < kQueries; ++i) Ask(QueryOfKind(i % kKinds, i));
  EXPECT_EQ(deployment_->Statistics().queued_searches, kQueries);
  Release();
  for (size_t i = 0; i < kQueries; ++i) {
    SCOPED_TRACE("query " + std::to_string(i));
    const Outcome batched = asked_[i].outcome.get();
    ASSERT_TRUE(batched.ok()) << batched.status();
    ExpectSame(*batched, alone[i]);
    if (HasFailure()) return;
  }
  EXPECT_FALSE(std::is_sorted(answered_.begin(), answered_.end())) << "nothing joined anything";
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, QueryBatchKindTest,
    ::testing::Combine(::testing::Values(Metric::kL2, Metric::kInnerProduct, Metric::kCosine),
                       ::testing::Values("flat", "f16", "int8", "pq:4", "rabitq:1")),
    [](const auto& kind) {
      std::string name = "Metric" + std::to_string(static_cast<int>(std::get<0>(kind.param))) + std::get<1>(kind.param);
      std::erase(name, ':');
      return name;
    });

TEST_F(QueryBatchTest, OvertakesWhatAsksOtherwise) {
  Fill(TokenMemory("batched", 4), 300, 1);
  Hold();
  const std::vector<float> query = {1, 2, 3, 4};
  Ask(ExactQuery(query, 1, 5));
  Ask(ExactQuery(query, 1, 6));
  Ask(ExactQuery(query, 1, 5));
  Ask(ExactQuery(query, 1, 6));
  Release();
  for (auto& asked : asked_) EXPECT_TRUE(asked.outcome.get().ok());
  EXPECT_EQ(answered_, (std::vector<size_t>{0, 2, 1, 3}));
}

TEST_F(QueryBatchTest, SeesWhatWasWrittenBeforeItsTurn) {
  Fill(TokenMemory("batched", 4), 300, 1);
  Hold();
  auto& first = Ask(ExactQuery({9, 9, 9, 9}, 1, 1));
  ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(memory_->spec, {{777, {9, 9, 9, 9}, 7}})).ok());
  auto& second = Ask(ExactQuery({9, 9, 9, 9}, 1, 1));
  Release();
  const Outcome a = first.get();
  const Outcome b = second.get();
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->neighbours.ids, (std::vector<EntryId>{777}));
  EXPECT_EQ(b->neighbours.ids, (std::vector<EntryId>{777}));
  EXPECT_EQ(a->version.parts[0].sequence, b->version.parts[0].sequence);
}

TEST_F(QueryBatchTest, EachSeesWhatLivesAtItsOwnMoment) {
  Fill(TokenMemory("batched", 4), 600, 1);  // entries of segments and of tails expire at 1,500,000
  const auto ask = [] { return ExactQuery({1, 2, 3, 4}, 1, 4096); };
  const auto before = deployment_.Query(memory_, ask());
  ASSERT_TRUE(before.ok());
  Hold();
  deployment_.clock().Advance(499'998);
  Ask(ask());
  deployment_.clock().Advance(1);
  Ask(ask());
  deployment_.clock().Advance(1);
  Ask(ask());
  deployment_.clock().Advance(1);
  Ask(ask());
  Release();
  const auto after = deployment_.Query(memory_, ask());
  ASSERT_TRUE(after.ok());
  EXPECT_LT(after->neighbours.size(), before->neighbours.size());
  for (size_t i = 0; i < asked_.size(); ++i) {
    const Outcome outcome = asked_[i].outcome.get();
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->neighbours.ids, i < 2 ? before->neighbours.ids : after->neighbours.ids) << i;
  }
}

TEST(IndexVersionTest, KnowsWhetherARowExpiresBetweenTwoMoments) {
  const IndexSpec spec{1, Metric::kL2, Dtype::kF32, sizeof(Token)};
  PartitionIndex index(spec, {});
  const float key = 1.0F;
  const Token token = 1;
  const auto add = [&](int64_t expiry_ms) {
    EntryView entry;
    entry.key = {reinterpret_cast<const char*>(&key), sizeof(key)};
    entry.value = {reinterpret_cast<const char*>(&token), sizeof(token)};
    entry.attributes.expiry_ms = expiry_ms;
    index.Append(entry, 1);
  };
  for (int i = 0; i < 40; ++i) add(0);
  EXPECT_FALSE(index.MakeVersion()->ExpiresWithin(-1, 1'000'000));
  add(500);
  for (int i = 0; i < 40; ++i) add(0);
  const auto version = index.MakeVersion();
  EXPECT_TRUE(version->ExpiresWithin(499, 500));
  EXPECT_TRUE(version->ExpiresWithin(-1, 1'000));
  EXPECT_FALSE(version->ExpiresWithin(-1, 499));
  EXPECT_FALSE(version->ExpiresWithin(500, 1'000));
}

TEST_F(QueryBatchTest, EndsOneWhoseTimeIsOverAndAnswersTheOthers) {
  Fill(TokenMemory("batched", 4), 300, 1);
  Hold();
  auto cancelled = std::make_shared<std::atomic<bool>>(false);
  QueryCommand late = ExactQuery({1, 2, 3, 4}, 1, 5);
  const auto deadline = steady_clock::now() + std::chrono::milliseconds(1);
  late.limits.deadline = deadline;
  QueryCommand given_up = ExactQuery({1, 2, 3, 4}, 1, 5);
  given_up.limits.cancelled = cancelled;
  auto& a = Ask(ExactQuery({1, 2, 3, 4}, 1, 5));
  auto& b = Ask(std::move(late));
  auto& c = Ask(std::move(given_up));
  auto& d = Ask(ExactQuery({4, 3, 2, 1}, 1, 5));
  *cancelled = true;
  std::this_thread::sleep_until(deadline);
  Release();
  EXPECT_EQ(b.get().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(c.get().status().code(), absl::StatusCode::kCancelled);
  const Outcome first = a.get();
  const Outcome last = d.get();
  ASSERT_TRUE(first.ok() && last.ok());
  EXPECT_EQ(first->neighbours.size(), 5U);
  EXPECT_EQ(last->neighbours.size(), 5U);
  EXPECT_NE(first->neighbours.ids, last->neighbours.ids);
}

TEST_F(QueryBatchTest, AnswersFromAMemoryThatWasDroppedMeanwhileAndThenItsDataGoes) {
  Fill(TokenMemory("batched", 4), 300, 1);
  Hold();
  for (int i = 0; i < 5; ++i) Ask(ExactQuery({1, 2, 3, 4}, 1, 5));
  ASSERT_TRUE(deployment_->DropMemory("batched").ok());
  memory_.reset();  // the queries alone hold it
  const uint64_t held = deployment_->Statistics().memories.entries;
  // One that nobody reads goes, and with it would have gone what was dropped before it.
  MemoryHandle other = deployment_.Create(TokenMemory("other", 4));
  ASSERT_TRUE(deployment_.Insert(other, ColumnsOf(other->spec, {{1, {1, 2, 3, 4}, 7}})).ok());
  other.reset();
  ASSERT_TRUE(deployment_->DropMemory("other").ok());
  EXPECT_TRUE(ComesTo(held));
  Release();
  for (auto& asked : asked_) {
    const Outcome outcome = asked.outcome.get();
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->neighbours.size(), 5U);
  }
  EXPECT_TRUE(ComesTo(0));
}

TEST_F(QueryBatchTest, QueriesOfALeaseAreNotJoinedWithOthersThatAskAlike) {
  Fill(TokenMemory("batched", 4), 300, 1);
  const auto lease_of = [&] {
    const auto granted = deployment_->AcquireLease(memory_, {}, 60'000);
    return deployment_->leases().Find(granted->id, *memory_).value();
  };
  const std::vector<float> key = {0.5F, 0.5F, 0.5F, 0.5F};
  const auto ask = [&](const LeaseHandle& lease) {
    QueryCommand command = ExactQuery(key, 1, 1);
    command.lease = lease;
    return command;
  };
  // One nearer entry after another, and a lease before each.
  std::vector<LeaseHandle> leases;
  std::vector<EntryId> nearest;
  for (EntryId id = 5'000; id < 5'004; ++id) {
    leases.push_back(lease_of());
    nearest.push_back(deployment_.Query(memory_, ask(nullptr))->neighbours.ids.front());
    std::vector<float> nearer = key;
    nearer[0] += 0.01F * static_cast<float>(5'004 - id);
    ASSERT_TRUE(deployment_.Insert(memory_, ColumnsOf(memory_->spec, {{id, nearer, 1}})).ok());
  }
  leases.push_back(nullptr);
  nearest.push_back(5'003);
  Hold();
  for (int round = 0; round < 3; ++round) {
    for (const LeaseHandle& lease : leases) Ask(ask(lease));
  }
  Release();
  for (size_t i = 0; i < asked_.size(); ++i) {
    EXPECT_THAT(asked_[i].outcome.get()->neighbours.ids, ::testing::ElementsAre(nearest[i % leases.size()])) << i;
  }
}

// Members of one search over a version of 100,000 rows: long enough that times end while it runs.
class SearchTogetherTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kDimension = 32;

  SearchTogetherTest() {
    EntryColumns columns;
    columns.values.width = sizeof(Token);
    std::mt19937_64 random(5);
    std::string key(spec_.KeyBytes(), '\0');
    const Token token = 1;
    for (EntryId id = 0; id < 100'000; ++id) {
      for (uint32_t i = 0; i < kDimension; ++i) {
        const float x = static_cast<float>(random() % 1000);
        std::memcpy(key.data() + i * sizeof(x), &x, sizeof(x));
      }
      columns.Append({id, key, {reinterpret_cast<const char*>(&token), sizeof(token)}, {}});
    }
    PartitionIndex index(spec_, {});
    index.Append(columns, 0, columns.count);
    versions_ = {index.MakeVersion()};
    for (QueryCommand& command : commands_) command = ExactQuery(std::vector<float>(kDimension, 500.0F), 1, 100);
  }

  // Statuses in the order of the answers, with the number of the member.
  std::vector<std::pair<size_t, absl::StatusCode>> Run() {
    std::vector<std::pair<size_t, absl::StatusCode>> answers;
    std::vector<BatchMember> members;
    for (size_t i = 0; i < commands_.size(); ++i) {
      members.push_back({&commands_[i], 0, 1, [&, i](const absl::StatusOr<SearchResult>& result) {
                           answers.emplace_back(i, result.status().code());
                         }});
    }
    SearchTogether(cache_, versions_, spec_, std::move(members));
    return answers;
  }

  const IndexSpec spec_{kDimension, Metric::kL2, Dtype::kF32, sizeof(Token)};
  AnswerCache cache_{0};
  std::vector<std::shared_ptr<const IndexVersion>> versions_;
  std::array<QueryCommand, 8> commands_;
};

TEST_F(SearchTogetherTest, AnswersAMemberAsSoonAsItsTimeIsOver) {
  // The scan takes tens of milliseconds.
  commands_[6].limits.deadline = steady_clock::now() + std::chrono::microseconds(200);
  const auto answers = Run();
  ASSERT_EQ(answers.size(), 8U);
  EXPECT_EQ(answers.front(), std::pair(size_t{6}, absl::StatusCode::kDeadlineExceeded));
  for (size_t i = 1; i < answers.size(); ++i) EXPECT_EQ(answers[i].second, absl::StatusCode::kOk);
}

TEST_F(SearchTogetherTest, StopsWhenNobodyIsLeft) {
  const auto start = steady_clock::now();
  for (QueryCommand& command : commands_) command.limits.deadline = start + std::chrono::microseconds(200);
  // Long enough that the whole of it could not be missed.
  std::vector<std::shared_ptr<const IndexVersion>> many(200, versions_.front());
  versions_ = many;
  const auto answers = Run();
  ASSERT_EQ(answers.size(), 8U);
  for (const auto& [member, code] : answers) EXPECT_EQ(code, absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(2));
}

TEST_F(SearchTogetherTest, PassesOnWhatTheSearchSays) {
  for (QueryCommand& command : commands_) {
    command.exact = false;
    command.recall_target = 2.0;
  }
  const auto answers = Run();
  ASSERT_EQ(answers.size(), 8U);
  for (const auto& [member, code] : answers) EXPECT_EQ(code, absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace mneme
