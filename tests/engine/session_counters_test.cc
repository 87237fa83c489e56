// Counter matrices of sessions, which lie in pieces: forks, moves and restarts against plain maps, and the bounds.
#include <map>
#include <random>

#include "common/limits.h"
#include "engine/counter_cells.h"
#include "engine/session_bytes.h"
#include "tests/engine/working_memory_fixture.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;
using SessionCountersTest = testing::WorkingMemoryTest;
// A session is on one shard, and filling one takes long: once.
class FullSessionTest : public testing::WorkingMemoryTest {};

using CounterTwin = std::map<std::pair<uint32_t, uint32_t>, int64_t>;

CounterTwin TwinOf(const StateAnswer& answer) {
  CounterTwin twin;
  if (answer.columns.size() != 4) return twin;
  const auto* rows = reinterpret_cast<const uint32_t*>(answer.columns[0].data());
  const auto* offsets = reinterpret_cast<const uint64_t*>(answer.columns[1].data());
  const auto* columns = reinterpret_cast<const uint32_t*>(answer.columns[2].data());
  const auto* counts = reinterpret_cast<const int64_t*>(answer.columns[3].data());
  for (size_t i = 0; i < answer.columns[0].size() / sizeof(uint32_t); ++i) {
    for (uint64_t at = offsets[i]; at < offsets[i + 1]; ++at) twin[{rows[i], columns[at]}] = counts[at];
  }
  return twin;
}

TEST_P(SessionCountersTest, CountersOfForksAgreeWithPlainMaps) {
  std::mt19937_64 random(31);
  const auto below = [&](uint64_t bound) { return random() % bound; };
  struct Matrix {
    CounterTwin cells;
    uint64_t version = 0;
  };
  std::map<std::string, std::map<std::string, Matrix>> model;
  for (int round = 0; round < 250; ++round) {
    const std::string session = absl::StrCat("text", below(2), below(3) == 0 ? "" : absl::StrCat("/", below(4)));
    const std::string name = absl::StrCat("c", below(2));
    const uint64_t what = below(10);
    if (what < 6) {
      CountersAdd add;
      const auto first = static_cast<uint32_t>(below(400));
      for (uint64_t i = below(4) == 0 ? 9000 : 30; i > 0; --i) {
        add.rows.push_back(first + static_cast<uint32_t>(below(40)));
        add.columns.push_back(static_cast<uint32_t>(below(2000)));
        add.counts.push_back(static_cast<int64_t>(below(9)) - 2);
      }
      Matrix& matrix = model[session][name];
      for (size_t i = 0; i < add.rows.size(); ++i) {
        const auto at = std::pair(add.rows[i], add.columns[i]);
        if ((matrix.cells[at] += add.counts[i]) == 0) matrix.cells.erase(at);
      }
      ASSERT_EQ(One(session, name, std::move(add)).version, ++matrix.version);
    } else if (what == 6) {
      ASSERT_EQ(One(session, name, RemoveState{}).found, model.contains(session) && model[session].contains(name));
      if (model.contains(session)) model[session].erase(name);
    } else if (what == 7) {
      const bool there = Reset({session}) == 1;
      ASSERT_EQ(there, model.contains(session));
      model.erase(session);
    } else if (what == 8 && model.contains(session)) {  // out and in again
      const auto bytes = deployment_->working_memory().Get(memory_, session, {});
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      ASSERT_TRUE(Put({session, *DecodeSessionBytes(*bytes), 0}).ok());
      ASSERT_EQ(*deployment_->working_memory().Get(memory_, session, {}), *bytes);
    } else if (model.contains(session)) {
      const std::string to = absl::StrCat(RootOf(session), "/", below(4));
      if (to == session) continue;
      ASSERT_TRUE(Fork({session, to, true}).ok());
      model[to] = std::map<std::string, Matrix>(model[session]);
    }
    if (round % 50 != 49) continue;
    deployment_.Restart();
    memory_ = deployment_.Find("wiki");
    for (const auto& [of, matrices] : model) {
      for (const auto& [each, matrix] : matrices) {
        const StateAnswer answer = Read(of, each, CountersGet{});
        ASSERT_EQ(answer.version, matrix.version) << of << " " << each << " round " << round;
        ASSERT_EQ(TwinOf(answer), matrix.cells) << of << " " << each << " round " << round;
        const StateAnswer some = Read(of, each, CountersGet{{77, 5, 300}});
        ASSERT_EQ(some.columns[0].size(), 3 * sizeof(uint32_t));
        CounterTwin wanted = matrix.cells;
        std::erase_if(wanted, [](const auto& cell) {
          return cell.first.first != 77 && cell.first.first != 5 && cell.first.first != 300;
        });
        ASSERT_EQ(TwinOf(some), wanted);
      }
    }
  }
  // A chain deeper than the bases that a session may have: its pieces are gathered.
  CountersAdd many;
  for (uint32_t i = 0; i < 60'000; ++i) {
    many.rows.push_back(i / 100);
    many.columns.push_back(i % 100);
  }
  One("deep", "c", many);
  for (uint32_t i = 0; i < 40; ++i) {
    const std::string at = i == 0 ? "deep" : absl::StrCat("deep/", i);
    One(at, "c", CountersAdd{{i * 10}, {7}, {1000}});
    ASSERT_TRUE(Fork({at, absl::StrCat("deep/", i + 1), false}).ok());
  }
  const CounterTwin last = TwinOf(Read("deep/40", "c", CountersGet{}));
  EXPECT_EQ(last.size(), 60'000U);
  EXPECT_EQ(last.at({390, 7}), 1001);
  EXPECT_EQ(TwinOf(Read("deep/20", "c", CountersGet{{390}})).at({390, 7}), 1);
  for (const std::string& session : List()) Reset({session});
  ExpectNothingStored();
}

TEST(CounterCellsTest, CellsThatWouldWrapAreRefused) {
  const std::string huge("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 10);  // 2^64 - 1
  const std::string first("\x02\x05\x05\x02", 4);                             // two cells, the first at row 5, column 5
  EXPECT_TRUE(DecodeCells(first + std::string("\x01\x00\x02", 3)).ok());
  EXPECT_TRUE(absl::IsDataLoss(DecodeCells(first + huge + std::string("\x00\x02", 2)).status())) << "row 4";
  EXPECT_TRUE(absl::IsDataLoss(DecodeCells(first + std::string("\x00", 1) + huge + std::string("\x02", 1)).status()))
      << "column 5 again";
}

TEST_P(FullSessionTest, ACounterMatrixMayFillItsSession) {
  CountersAdd add;
  uint32_t row = 0;
  StateAnswer answer;
  do {  // five bytes a cell
    add = {};
    for (uint32_t i = 0; i < limits::kMaxIncrements; ++i) {
      add.rows.push_back(row);
      add.columns.push_back(i * 200);
      add.counts.push_back(20'000);
    }
    ++row;
    answer = One("s", "c", add);
  } while (answer.status.ok());
  EXPECT_TRUE(absl::IsResourceExhausted(answer.status)) << answer.status;
  EXPECT_THAT(answer.status.message(), HasSubstr("the bound is"));
  const auto page = deployment_->working_memory().List(memory_, "", "", 1, {});
  EXPECT_GT(page->sessions[0].bytes, 2 * limits::kMaxStateBytes - limits::kMaxStateBytes / 4);
  EXPECT_LE(page->sessions[0].bytes, limits::kMaxSessionBytes);
  const StateAnswer all = Read("s", "c", CountersGet{});
  EXPECT_TRUE(absl::IsResourceExhausted(all.status)) << "more cells than an answer holds";
  EXPECT_EQ(TwinOf(Read("s", "c", CountersGet{{0, row}})).size(), limits::kMaxIncrements);
  const auto bytes = deployment_->working_memory().Get(memory_, "s", {});
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_LE(bytes->size(), limits::kMaxMessageBytes);
  ASSERT_TRUE(Put({"t", *DecodeSessionBytes(*bytes), 0}).ok()) << "what was got may be put";
}

TEST_P(SessionCountersTest, AMatrixThatAnOlderServerWroteWholeGoesOn) {
  One("s", "c", CountersAdd{{1, 1, 9}, {2, 5, 0}, {}});
  const std::string payload("\x03\x01\x02\x02\x00\x02\x02\x08\x00\x02", 10);
  Plant("s", "c", {.kind = StateKind::kCounters, .version = 1, .payload = payload});
  const CounterTwin before = {{{1, 2}, 1}, {{1, 5}, 1}, {{9, 0}, 1}};
  EXPECT_EQ(TwinOf(Read("s", "c", CountersGet{})), before);
  ASSERT_TRUE(Fork({"s", "s/1", false}).ok());
  EXPECT_EQ(One("s", "c", CountersAdd{{9}, {0}, {4}}).version, 2U);
  EXPECT_EQ(TwinOf(Read("s", "c", CountersGet{{9}})), (CounterTwin{{{9, 0}, 5}}));
  EXPECT_EQ(TwinOf(Read("s/1", "c", CountersGet{})), before);
  Reset({"s", "s/1"});
  ExpectNothingStored();
}

INSTANTIATE_TEST_SUITE_P(Shards, SessionCountersTest, ::testing::Values(1, 4));
INSTANTIATE_TEST_SUITE_P(Shards, FullSessionTest, ::testing::Values(4));

}  // namespace
}  // namespace mneme
