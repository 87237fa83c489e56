// A register of bytes holds one pair of columns of as many rows as fit; a table of 16 bytes, repeated in every 128 bits
// of a register, is looked up for all of them by one shuffle. Sums are kept in 16 bits: `all` adds both bytes of a lane
// with the carry of the even one, `odd` the odd byte alone, and even = all - (odd << 8).
#include "index/kernels/nibble_scan.h"

#include <algorithm>

#include "index/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/nibble_scan.cc"
#define HWY_DISABLED_TARGETS MNEME_NOT_SCANNED_WITH
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "index/kernels/emit_hits-inl.h"
#include "index/kernels/unroll.h"

HWY_BEFORE_NAMESPACE();
namespace mneme {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET != HWY_SCALAR

using Bytes = hn::CappedTag<uint8_t, 64>;
using Words = hn::Repartition<uint16_t, Bytes>;
constexpr size_t kBytes = hn::MaxLanes(Bytes());
// Blocks that a register holds, and registers that a block takes.
constexpr size_t kBlocks = kBytes > kCodeBlockRows ? kBytes / kCodeBlockRows : 1;
constexpr size_t kParts = kBytes > kCodeBlockRows ? 1 : kCodeBlockRows / kBytes;
// 255 columns of 255 stay below 2^16 ... and pairs come two columns at a time.
constexpr size_t kPairsPerSum = 128;

// One pair of columns of the rows of a register: of two blocks where it is wider than one.
HWY_INLINE hn::Vec<Bytes> LoadPair(const char* const* blocks, size_t pair, size_t part) {
  const size_t at = pair * kCodeBlockRows + part * kBytes;
#if HWY_MAX_BYTES == 64
  const hn::Half<Bytes> half;
  (void)part;
  return hn::Combine(Bytes(), hn::LoadU(half, reinterpret_cast<const uint8_t*>(blocks[1] + at)),
                     hn::LoadU(half, reinterpret_cast<const uint8_t*>(blocks[0] + at)));
#else
  return hn::LoadU(Bytes(), reinterpret_cast<const uint8_t*>(blocks[0] + at));
#endif
}

// Adds the sums of even and odd bytes to those of rows 0 to 15 and 16 to 31 of each block.
HWY_INLINE void AddSums(hn::Vec<Words> all, hn::Vec<Words> odd, size_t part, uint32_t* sums) {
  HWY_ALIGN uint16_t first[kBytes / 2];
  HWY_ALIGN uint16_t second[kBytes / 2];
  hn::Store(hn::Sub(all, hn::ShiftLeft<8>(odd)), Words(), first);
  hn::Store(odd, Words(), second);
  for (size_t j = 0; j < kBytes / 2; ++j) {
    const size_t block = j / 16;
    const size_t row = part * (kBytes / 2) % 16 + j % 16;
    sums[block * kCodeBlockRows + row] += first[j];
    sums[block * kCodeBlockRows + 16 + row] += second[j];
  }
}

template <size_t kQueries>
HWY_INLINE void SumPairs(const NibbleQuery* queries, const char* const* blocks, size_t part, size_t begin, size_t end,
                         uint32_t sums[][2 * kCodeBlockRows]) {
  hn::Vec<Words> all[kQueries];
  hn::Vec<Words> odd[kQueries];
  MNEME_UNROLL(4)
  for (size_t q = 0; q < kQueries; ++q) all[q] = odd[q] = hn::Zero(Words());
  const auto low_mask = hn::Set(Bytes(), uint8_t{15});
  for (size_t pair = begin; pair < end; ++pair) {
    const auto codes = LoadPair(blocks, pair, part);
    const auto low = hn::And(codes, low_mask);
    const auto high = hn::And(hn::BitCast(Bytes(), hn::ShiftRight<4>(hn::BitCast(Words(), codes))), low_mask);
    MNEME_UNROLL(4)
    for (size_t q = 0; q < kQueries; ++q) {
      const uint8_t* tables = queries[q].tables + pair * 32;
      const auto a = hn::BitCast(Words(), hn::TableLookupBytes(hn::LoadDup128(Bytes(), tables), low));
      const auto b = hn::BitCast(Words(), hn::TableLookupBytes(hn::LoadDup128(Bytes(), tables + 16), high));
      all[q] = hn::Add(all[q], hn::Add(a, b));
      odd[q] = hn::Add(odd[q], hn::Add(hn::ShiftRight<8>(a), hn::ShiftRight<8>(b)));
    }
  }
  MNEME_UNROLL(4)
  for (size_t q = 0; q < kQueries; ++q) AddSums(all[q], odd[q], part, sums[q]);
}

void Costs(const NibbleQuery& query, const char* attributes, const uint32_t* sums, float* costs) {
  const hn::CappedTag<float, kCodeBlockRows> d;
  const hn::RebindToSigned<decltype(d)> di;
  const float* terms = reinterpret_cast<const float*>(attributes);
  const float* factors = terms + kCodeBlockRows;
  for (size_t i = 0; i < kCodeBlockRows; i += hn::Lanes(d)) {
    const auto sum = hn::ConvertTo(d, hn::LoadU(di, reinterpret_cast<const int32_t*>(sums) + i));
    const auto product = hn::MulAdd(hn::Set(d, query.scale), sum, hn::Set(d, query.offset));
    const auto own = hn::Add(hn::Set(d, query.base), hn::LoadU(d, terms + i));
    hn::StoreU(hn::MulAdd(hn::LoadU(d, factors + i), product, own), d, costs + i);
  }
}

template <size_t kQueries>
void ScanBlocks(const NibbleQuery* queries, size_t columns, const char* block, size_t rows, const float* cuts,
                CodeHits* hits) {
  const size_t pairs = NibblePairs(columns);
  const size_t block_bytes = NibbleBlockBytes(columns);
  for (size_t first = 0; first < rows; first += kBlocks * kCodeBlockRows, block += kBlocks * block_bytes) {
    // An odd last block fills the register twice.
    const size_t blocks = std::min(kBlocks, (rows - first + kCodeBlockRows - 1) / kCodeBlockRows);
    const char* const pointers[2] = {block, blocks == 2 ? block + block_bytes : block};
    uint32_t sums[kQueries][2 * kCodeBlockRows] = {};
    for (size_t part = 0; part < kParts; ++part) {
      for (size_t begin = 0; begin < pairs; begin += kPairsPerSum) {
        SumPairs<kQueries>(queries, pointers, part, begin, std::min(pairs, begin + kPairsPerSum), sums);
      }
    }
    for (size_t b = 0; b < blocks; ++b) {
      const size_t start = first + b * kCodeBlockRows;
      for (size_t q = 0; q < kQueries; ++q) {
        float costs[kCodeBlockRows];
        Costs(queries[q], pointers[b] + pairs * kCodeBlockRows, sums[q] + b * kCodeBlockRows, costs);
        EmitHits(costs, start, std::min(kCodeBlockRows, rows - start), cuts[q], hits[q]);
      }
    }
  }
}

void Scan(const NibbleQuery* queries, size_t count, size_t columns, const char* blocks, size_t rows, const float* cuts,
          CodeHits* hits) {
  switch (count) {
    case 1: return ScanBlocks<1>(queries, columns, blocks, rows, cuts, hits);
    case 2: return ScanBlocks<2>(queries, columns, blocks, rows, cuts, hits);
    case 3: return ScanBlocks<3>(queries, columns, blocks, rows, cuts, hits);
    default: return ScanBlocks<4>(queries, columns, blocks, rows, cuts, hits);
  }
}

#else  // no shuffle of bytes

void Scan(const NibbleQuery* queries, size_t count, size_t columns, const char* blocks, size_t rows, const float* cuts,
          CodeHits* hits) {
  ScanNibblesScalar(queries, count, columns, blocks, rows, cuts, hits);
}

#endif

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mneme
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mneme {

HWY_EXPORT(Scan);

void ScanNibbles(const NibbleQuery* queries, size_t count, size_t columns, const char* blocks, size_t rows,
                 const float* cuts, CodeHits* hits) {
  for (size_t q = 0; q < count; ++q) hits[q].count = 0;
  HWY_DYNAMIC_DISPATCH(Scan)(queries, count, columns, blocks, rows, cuts, hits);
}

void ScanNibblesScalar(const NibbleQuery* queries, size_t count, size_t columns, const char* blocks, size_t rows,
                       const float* cuts, CodeHits* hits) {
  const size_t pairs = NibblePairs(columns);
  for (size_t q = 0; q < count; ++q) {
    hits[q].count = 0;
    for (size_t row = 0; row < rows; ++row) {
      const char* block = blocks + row / kCodeBlockRows * NibbleBlockBytes(columns);
      const size_t in_block = row % kCodeBlockRows;
      uint32_t sum = 0;
      for (size_t column = 0; column < 2 * pairs; ++column) {
        const uint8_t byte = static_cast<uint8_t>(block[NibbleOffset(in_block, column)]);
        sum += queries[q].tables[column * 16 + (column % 2 == 0 ? byte & 15 : byte >> 4)];
      }
      const char* attributes = block + pairs * kCodeBlockRows + in_block * sizeof(float);
      const float term = FloatAt(attributes);
      const float factor = FloatAt(attributes + kCodeBlockRows * sizeof(float));
      const float product = queries[q].offset + queries[q].scale * static_cast<float>(sum);
      KeepWithin(queries[q].base + term + factor * product, row, cuts[q], hits[q]);
    }
  }
}

}  // namespace mneme
#endif  // HWY_ONCE
