// The scans of codes against their plain definitions, on every instruction set of the machine.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "common/aligned_buffer.h"
#include "index/kernels/int8_scan.h"
#include "index/kernels/kth_smallest.h"
#include "index/kernels/nibble_scan.h"
#include "index/kernels/table_scan.h"
#include "tests/index/kernels/targets.h"
#include "tests/index/random_keys.h"

namespace mneme {
namespace {

using testing::OnEveryTarget;
using testing::RandomKeys;

constexpr uint64_t kSeed = 31;
constexpr float kGuardCost = -12345.0F;

// Hits of a few queries, with guards behind the room that the contract names.
struct Hits {
  explicit Hits(size_t rows)
      : room((rows + kCodeBlockRows - 1) / kCodeBlockRows * kCodeBlockRows),
        costs(kCodeQueries, std::vector<float>(room + 8, kGuardCost)),
        numbers(kCodeQueries, std::vector<uint32_t>(room + 8, 77)) {
    for (size_t q = 0; q < kCodeQueries; ++q) hits[q] = {costs[q].data(), numbers[q].data(), 0};
  }
  void ExpectGuards() const {
    for (size_t q = 0; q < kCodeQueries; ++q) {
      for (size_t i = room; i < room + 8; ++i) {
        EXPECT_EQ(costs[q][i], kGuardCost);
        EXPECT_EQ(numbers[q][i], 77U);
      }
    }
  }
  size_t room;
  std::vector<std::vector<float>> costs;
  std::vector<std::vector<uint32_t>> numbers;
  CodeHits hits[kCodeQueries];
};

// The same rows with costs that differ by rounding only; rows whose cost is that near the cut may differ.
void ExpectSame(const CodeHits& found, const CodeHits& plain, float cut, float scale) {
  const float tolerance = 1e-4F * scale;
  size_t p = 0;
  for (size_t f = 0; f < found.count; ++f) {
    while (p < plain.count && plain.rows[p] < found.rows[f]) {
      EXPECT_NEAR(plain.costs[p], cut, tolerance) << "row " << plain.rows[p] << " is missing";
      ++p;
    }
    if (p < plain.count && plain.rows[p] == found.rows[f]) {
      EXPECT_NEAR(found.costs[f], plain.costs[p], tolerance) << "row " << found.rows[f];
      ++p;
    } else {
      EXPECT_NEAR(found.costs[f], cut, tolerance) << "row " << found.rows[f] << " is too many";
    }
    EXPECT_TRUE(f == 0 || found.rows[f - 1] < found.rows[f]);
  }
  for (; p < plain.count; ++p) EXPECT_NEAR(plain.costs[p], cut, tolerance);
}

void Fill(RandomKeys& random, char* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(random.Below(256));
}

void FillFloats(RandomKeys& random, char* at, size_t count) {
  const std::vector<float> values = random.Normal(count);
  std::memcpy(at, values.data(), count * sizeof(float));
}

TEST(Int8ScanTest, EqualsItsDefinition) {
  RandomKeys random(kSeed);
  for (const size_t dimension : {1, 3, 4, 17, 64, 100, 128, 517}) {
    for (const size_t rows : {1, 15, 16, 17, 32, 33, 95}) {
      const size_t padded = 4 * Int8Groups(dimension);
      const size_t blocks = (rows + kCodeBlockRows - 1) / kCodeBlockRows;
      AlignedBuffer codes(blocks * Int8BlockBytes(dimension));
      std::memset(codes.data(), 0, codes.size());
      for (size_t row = 0; row < rows; ++row) {
        char* block = codes.data() + row / kCodeBlockRows * Int8BlockBytes(dimension);
        for (size_t i = 0; i < dimension; ++i) {
          Fill(random, block + Int8Offset(dimension, row % kCodeBlockRows, i), 1);
        }
      }
      for (size_t b = 0; b < blocks; ++b) {
        FillFloats(random, codes.data() + b * Int8BlockBytes(dimension) + kCodeBlockRows * padded, kCodeBlockRows);
      }
      AlignedBuffer query_codes(kCodeQueries * padded);
      AlignedBuffer query_values(kCodeQueries * padded * sizeof(float));
      Int8Query queries[kCodeQueries];
      float cuts[kCodeQueries];
      for (size_t q = 0; q < kCodeQueries; ++q) {
        int8_t* own = query_codes.as<int8_t>() + q * padded;
        for (size_t i = 0; i < padded; ++i) {
          own[i] = i < dimension ? static_cast<int8_t>(static_cast<int>(random.Below(255)) - 127) : 0;
          query_values.as<float>()[q * padded + i] = own[i];
        }
        queries[q] = {own, query_values.as<float>() + q * padded, 1e-4F, static_cast<float>(random.Unit())};
        cuts[q] = q == 0 ? std::numeric_limits<float>::infinity() : static_cast<float>(random.Unit()) * 2.0F - 0.5F;
      }
      for (size_t count = 1; count <= kCodeQueries; ++count) {
        Hits plain(rows);
        ScanInt8Scalar(queries, count, dimension, codes.data(), rows, cuts, plain.hits);
        const auto check = [&](const auto& scan) {
          Hits found(rows);
          scan(found);
          for (size_t q = 0; q < count; ++q) {
            ExpectSame(found.hits[q], plain.hits[q], cuts[q], 1e-4F * 255 * 127 * static_cast<float>(dimension));
          }
          found.ExpectGuards();
        };
        EXPECT_EQ(plain.hits[0].count, rows);
        check([&](Hits& h) { ScanInt8(queries, count, dimension, codes.data(), rows, cuts, h.hits); });
        OnEveryTarget([&](const char* /*target*/) {
          check([&](Hits& h) { ScanInt8Generic(queries, count, dimension, codes.data(), rows, cuts, h.hits); });
        });
      }
    }
  }
}

TEST(NibbleScanTest, EqualsItsDefinition) {
  RandomKeys random(kSeed + 1);
  for (const size_t columns : {1, 2, 3, 7, 32, 64, 255, 256, 257, 600}) {
    for (const size_t rows : {1, 16, 31, 32, 33, 64, 65, 130}) {
      const size_t blocks = (rows + kCodeBlockRows - 1) / kCodeBlockRows;
      AlignedBuffer codes(blocks * NibbleBlockBytes(columns));
      Fill(random, codes.data(), codes.size());
      for (size_t b = 0; b < blocks; ++b) {
        FillFloats(random, codes.data() + b * NibbleBlockBytes(columns) + NibblePairs(columns) * kCodeBlockRows,
                   2 * kCodeBlockRows);
      }
      AlignedBuffer tables(kCodeQueries * NibblePairs(columns) * 32);
      // The largest entries of all: sums must not run over.
      Fill(random, tables.data(), tables.size());
      if (rows % 2 == 0) std::memset(tables.data(), 0xFF, tables.size());
      NibbleQuery queries[kCodeQueries];
      float cuts[kCodeQueries];
      for (size_t q = 0; q < kCodeQueries; ++q) {
        queries[q] = {tables.as<uint8_t>() + q * NibblePairs(columns) * 32, 0.01F, -1.0F, 0.5F};
        cuts[q] = q == 0 ? std::numeric_limits<float>::infinity() : static_cast<float>(random.Unit());
      }
      for (size_t count = 1; count <= kCodeQueries; ++count) {
        Hits plain(rows);
        ScanNibblesScalar(queries, count, columns, codes.data(), rows, cuts, plain.hits);
        EXPECT_EQ(plain.hits[0].count, rows);
        OnEveryTarget([&](const char* /*target*/) {
          Hits found(rows);
          ScanNibbles(queries, count, columns, codes.data(), rows, cuts, found.hits);
          for (size_t q = 0; q < count; ++q) {
            ExpectSame(found.hits[q], plain.hits[q], cuts[q], 2.55F * static_cast<float>(columns));
          }
          found.ExpectGuards();
        });
      }
    }
  }
}

TEST(TableScanTest, EqualsItsDefinition) {
  RandomKeys random(kSeed + 2);
  for (const size_t columns : {1, 2, 5, 16, 33}) {
    for (const size_t rows : {1, 16, 31, 33, 64}) {
      const size_t blocks = (rows + kCodeBlockRows - 1) / kCodeBlockRows;
      AlignedBuffer codes(blocks * TableBlockBytes(columns));
      Fill(random, codes.data(), codes.size());
      for (size_t b = 0; b < blocks; ++b) {
        FillFloats(random, codes.data() + b * TableBlockBytes(columns) + columns * kCodeBlockRows, kCodeBlockRows);
      }
      const std::vector<float> tables = random.Normal(columns * 256);
      const TableQuery query{tables.data(), 0.25F};
      for (const float cut : {0.0F, std::numeric_limits<float>::infinity()}) {
        Hits plain(rows);
        ScanTablesScalar(query, columns, codes.data(), rows, cut, plain.hits[0]);
        OnEveryTarget([&](const char* /*target*/) {
          Hits found(rows);
          ScanTables(query, columns, codes.data(), rows, cut, found.hits[0]);
          ExpectSame(found.hits[0], plain.hits[0], cut, static_cast<float>(columns));
          found.ExpectGuards();
        });
      }
    }
  }
}

TEST(KthSmallestTest, EqualsASort) {
  RandomKeys random(kSeed + 3);
  for (const size_t count : {1, 2, 15, 16, 17, 100, 1000}) {
    std::vector<float> values = random.Normal(count);
    for (size_t i = 0; i < count; i += 3) values[i] = values[count / 2];  // ties
    if (count > 20) {
      values[3] = -std::numeric_limits<float>::infinity();
      values[5] = std::numeric_limits<float>::infinity();
      values[7] = -0.0F;
      values[8] = 0.0F;
    }
    std::vector<float> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    OnEveryTarget([&](const char* /*target*/) {
      for (size_t k = 1; k <= count; k += 1 + count / 20) {
        EXPECT_EQ(KthSmallest(values.data(), count, k), sorted[k - 1]);
      }
    });
  }
}

}  // namespace
}  // namespace mneme
