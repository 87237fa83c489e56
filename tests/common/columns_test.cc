#include "common/columns.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace mneme {
namespace {

TEST(EntryColumnsTest, OptionalColumnsStayAbsentWhileAllIsDefault) {
  EntryColumns columns;
  columns.values.width = 4;
  columns.Append({7, "kkkk", "aaaa", {}});
  columns.Append({8, "llll", "bbbb", {}});
  EXPECT_EQ(columns.count, 2U);
  EXPECT_TRUE(columns.weights.empty());
  EXPECT_TRUE(columns.labels.empty());
  EXPECT_TRUE(columns.created_ms.empty());
  EXPECT_EQ(columns.At(1).attributes, Attributes());
  EXPECT_EQ(columns.At(1).key, "llll");
  EXPECT_EQ(columns.At(1).value, "bbbb");
}

TEST(EntryColumnsTest, AColumnThatBeginsLateHoldsDefaultsBefore) {
  EntryColumns columns;
  columns.values.width = 1;
  const Attributes full{.weight = 2.0F, .score = 3.0, .label = -4, .source = 5, .position = 6, .expiry_ms = 7,
                        .created_ms = 8};
  columns.Append({1, "k", "v", {}});
  columns.Append({2, "k", "v", full});
  columns.Append({3, "k", "v", {}});
  EXPECT_EQ(columns.weights, (std::vector<float>{1.0F, 2.0F, 1.0F}));
  EXPECT_EQ(columns.labels, (std::vector<int64_t>{0, -4, 0}));
  EXPECT_EQ(columns.At(0).attributes, Attributes());
  EXPECT_EQ(columns.At(1).attributes, full);
  EXPECT_EQ(columns.At(2).attributes, Attributes());
}

TEST(EntryColumnsTest, ValuesOfAnyLengthKeepTheirBounds) {
  EntryColumns columns;
  for (const std::string value : {"", "abc", "", "z"}) columns.Append({0, "k", value, {}});
  EXPECT_EQ(columns.values.offsets, (std::vector<uint64_t>{0, 0, 3, 3, 4}));
  EXPECT_EQ(columns.At(0).value, "");
  EXPECT_EQ(columns.At(1).value, "abc");
  EXPECT_EQ(columns.At(3).value, "z");
}

TEST(EntryColumnsTest, AbsentIdsAndKeysReadAsNothing) {
  EntryColumns columns;
  columns.count = 1;
  columns.values.width = 1;
  columns.values.Append("v");
  EXPECT_EQ(columns.At(0).id, 0U);
  EXPECT_EQ(columns.At(0).key, "");
  EXPECT_EQ(columns.At(0).value, "v");
}

TEST(AlignedBufferTest, StaysAlignedAndKeepsItsBytesAsItGrows) {
  AlignedBuffer buffer;
  std::string expected;
  for (int i = 0; i < 2000; ++i) {
    const std::string piece(static_cast<size_t>(i % 7), static_cast<char>('a' + i % 26));
    buffer.Append(piece);
    expected += piece;
    ASSERT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % AlignedBuffer::kAlignment, 0U);
  }
  EXPECT_EQ(buffer.view(), expected);
  const AlignedBuffer copy = buffer.Clone();
  buffer.data()[0] = '!';
  EXPECT_EQ(copy.view(), expected);
}

TEST(SearchStatisticsTest, SumsAndIsExactOnlyWhenAllPartsAre) {
  SearchStatistics sum{1, 2, 3, 4, 5, 6, true};
  sum.Add({10, 20, 30, 40, 50, 60, true});
  EXPECT_EQ(sum.rows_total, 11U);
  EXPECT_EQ(sum.rows_scanned, 22U);
  EXPECT_EQ(sum.rows_reranked, 44U);
  EXPECT_EQ(sum.tail_rows, 66U);
  EXPECT_TRUE(sum.exact);
  sum.Add({0, 0, 0, 0, 0, 0, false});
  EXPECT_FALSE(sum.exact);
  sum.Add({});
  EXPECT_FALSE(sum.exact);
}

}  // namespace
}  // namespace mneme
