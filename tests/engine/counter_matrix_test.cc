// A matrix of counts in pieces against a plain map, and what an addition to a large one touches.
#include "engine/counter_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "common/limits.h"

namespace mneme {
namespace {

using Twin = std::map<CellPlace, int64_t>;

class CounterMatrixTest : public ::testing::Test {
 protected:
  PieceReader Reader() {
    return [this](uint32_t number) -> absl::StatusOr<std::string> {
      ++reads_;
      const auto at = pieces_.find(number);
      if (at == pieces_.end()) return absl::DataLossError("no such piece");
      return at->second;
    };
  }
  // Adds, as a session would keep it; what was written.
  NextMatrix Add(std::vector<CounterCell> added) {
    std::stable_sort(added.begin(), added.end(), Before);
    const bool is_new = matrix_.payload.empty();
    auto next = AddCells(is_new ? nullptr : &matrix_, Reader(), added);
    EXPECT_TRUE(next.ok()) << next.status();
    matrix_.kind = StateKind::kCounterMatrix;
    matrix_.payload = next->payload;
    for (const auto& [number, payload] : next->pieces) {
      payload.has_value() ? void(pieces_[number] = *payload) : void(pieces_.erase(number));
    }
    for (const CounterCell& cell : added) {
      if ((twin_[cell.place] += cell.count) == 0) twin_.erase(cell.place);
    }
    return *std::move(next);
  }
  void ExpectAsTheTwin() {
    const auto cells = ReadCells(matrix_, Reader(), nullptr);
    ASSERT_TRUE(cells.ok()) << cells.status();
    Twin got;
    for (const CounterCell& cell : *cells) got[cell.place] = cell.count;
    EXPECT_TRUE(std::is_sorted(cells->begin(), cells->end(), Before));
    ASSERT_EQ(got, twin_);
    // The list names exactly the pieces that are kept, and counts their bytes.
    const auto numbers = PieceNumbers(matrix_);
    ASSERT_TRUE(numbers.ok()) << numbers.status();
    uint64_t bytes = 0;
    std::set<uint32_t> kept;
    for (const auto& [number, payload] : pieces_) {
      bytes += payload.size();
      kept.insert(number);
      EXPECT_LE(payload.size(), kMaxPieceBytes);
    }
    EXPECT_EQ(std::set<uint32_t>(numbers->begin(), numbers->end()), kept);
    EXPECT_EQ(PieceBytes(matrix_), bytes);
  }
  std::vector<CounterCell> RandomCells(size_t count, uint32_t first_row, uint32_t rows) {
    std::vector<CounterCell> cells;
    for (size_t i = 0; i < count; ++i) {
      const auto row = static_cast<uint32_t>(first_row + random_() % rows);
      cells.push_back({{row, static_cast<uint32_t>(random_() % 3000)}, static_cast<int64_t>(random_() % 7) - 2});
    }
    return cells;
  }

  std::mt19937_64 random_{3};
  StateRecord matrix_;
  std::map<uint32_t, std::string> pieces_;
  Twin twin_;
  size_t reads_ = 0;
};

TEST_F(CounterMatrixTest, RandomAdditionsAgreeWithAPlainMap) {
  for (int round = 0; round < 60; ++round) {
    switch (random_() % 4) {
      case 0: Add(RandomCells(5, 0, 1000)); break;
      case 1: Add(RandomCells(6000, 0, 300)); break;
      case 2: Add(RandomCells(20'000, static_cast<uint32_t>(random_() % 900), 3)); break;
      default: {  // everything of some rows goes
        std::vector<CounterCell> gone;
        const auto first = static_cast<uint32_t>(random_() % 200);
        for (auto at = twin_.lower_bound({first, 0}); at != twin_.end() && at->first.row < first + 150; ++at) {
          gone.push_back({at->first, -at->second});
        }
        Add(gone);
      }
    }
    ExpectAsTheTwin();
  }
  EXPECT_GT(pieces_.size(), 5U);
  std::vector<CounterCell> all;
  for (const auto& [place, count] : twin_) all.push_back({place, -count});
  Add(all);
  ExpectAsTheTwin();
  EXPECT_TRUE(pieces_.empty());
  Add({{{UINT32_MAX, UINT32_MAX}, INT64_MAX}, {{0, 0}, INT64_MIN}});
  ExpectAsTheTwin();
}

TEST_F(CounterMatrixTest, AFewCellsOfALargeMatrixTouchAFewPieces) {
  for (uint32_t row = 0; row < 2000; ++row) Add(RandomCells(500, row, 1));
  ASSERT_GT(pieces_.size(), 100U);
  reads_ = 0;
  const NextMatrix next = Add({{{3, 3}, 1}, {{1000, 7}, 1}, {{1999, 1}, 1}});
  EXPECT_LE(next.pieces.size(), 6U);
  EXPECT_EQ(reads_, 3U);
  EXPECT_LT(next.payload.size(), 16 * pieces_.size());
  reads_ = 0;
  const std::vector<uint32_t> rows = {5, 1500};
  const auto cells = ReadCells(matrix_, Reader(), &rows);
  ASSERT_TRUE(cells.ok());
  EXPECT_LE(reads_, 4U);
  size_t wanted = 0;
  for (const auto& [place, count] : twin_) wanted += place.row == 5 || place.row == 1500 ? 1 : 0;
  EXPECT_EQ(cells->size(), wanted);
}

TEST_F(CounterMatrixTest, WhatGrowsThinBecomesFewPiecesAgain) {
  for (int i = 0; i < 20; ++i) Add(RandomCells(20'000, 0, 200));
  const size_t many = pieces_.size();
  std::vector<CounterCell> gone;
  for (const auto& [place, count] : twin_) {
    if (place.column != 0) gone.push_back({place, -count});
  }
  Add(gone);
  ExpectAsTheTwin();
  EXPECT_LT(pieces_.size(), many / 10 + 2);
}

TEST_F(CounterMatrixTest, AWholePayloadIsReadAndGoesIntoPieces) {
  std::vector<CounterCell> cells;
  for (uint32_t i = 0; i < 40'000; ++i) cells.push_back({{i / 100, i % 100}, i + 1});
  for (const CounterCell& cell : cells) twin_[cell.place] = cell.count;
  matrix_ = {.kind = StateKind::kCounters, .version = 4, .payload = EncodeCells(cells)};
  const std::vector<uint32_t> rows = {7};
  EXPECT_EQ(ReadCells(matrix_, Reader(), &rows)->size(), 100U);
  const std::string whole = matrix_.payload;
  Add({});
  ExpectAsTheTwin();
  EXPECT_GT(pieces_.size(), 4U);
  const auto again = WholeMatrix(matrix_, Reader());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->kind, StateKind::kCounters);
  EXPECT_EQ(again->version, 4U);
  EXPECT_EQ(again->payload, whole);
}

TEST_F(CounterMatrixTest, ASumThatDoesNotFitIsRefusedAndDamageIsNoticed) {
  Add({{{1, 1}, INT64_MAX}});
  const std::vector<CounterCell> one = {{{1, 1}, 1}};
  EXPECT_TRUE(absl::IsInvalidArgument(AddCells(&matrix_, Reader(), one).status()));
  Add(RandomCells(30'000, 0, 50));
  for (size_t i = 0; i < matrix_.payload.size(); ++i) {
    StateRecord cut = matrix_;
    cut.payload.resize(i);
    EXPECT_TRUE(absl::IsDataLoss(PieceNumbers(cut).status())) << i;
  }
  pieces_.erase(pieces_.begin());
  EXPECT_TRUE(absl::IsDataLoss(ReadCells(matrix_, Reader(), nullptr).status()));
}

}  // namespace
}  // namespace mneme
