#include "index/kernels/table_scan.h"

#include <algorithm>

#include "index/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "index/kernels/table_scan.cc"
#define HWY_DISABLED_TARGETS MNEME_NOT_SCANNED_WITH
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "index/kernels/emit_hits-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mneme {
namespace HWY_NAMESPACE {
namespace {

void Scan(const TableQuery& query, size_t columns, const char* block, size_t rows, float cut, CodeHits& hits) {
  const hn::CappedTag<float, kCodeBlockRows> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<uint8_t, decltype(d)> du8;
  for (size_t first = 0; first < rows; first += kCodeBlockRows, block += TableBlockBytes(columns)) {
    const uint8_t* codes = reinterpret_cast<const uint8_t*>(block);
    const float* terms = reinterpret_cast<const float*>(block + columns * kCodeBlockRows);
    float costs[kCodeBlockRows];
    for (size_t i = 0; i < kCodeBlockRows; i += hn::Lanes(d)) {
      // Two sums: a lookup takes longer than an addition, but not by much.
      auto even = hn::Add(hn::Set(d, query.base), hn::LoadU(d, terms + i));
      auto odd = hn::Zero(d);
      size_t m = 0;
      for (; m + 2 <= columns; m += 2) {
        const auto a = hn::PromoteTo(di, hn::LoadU(du8, codes + m * kCodeBlockRows + i));
        const auto b = hn::PromoteTo(di, hn::LoadU(du8, codes + (m + 1) * kCodeBlockRows + i));
        even = hn::Add(even, hn::GatherIndex(d, query.tables + m * 256, a));
        odd = hn::Add(odd, hn::GatherIndex(d, query.tables + (m + 1) * 256, b));
      }
      if (m < columns) {
        const auto a = hn::PromoteTo(di, hn::LoadU(du8, codes + m * kCodeBlockRows + i));
        even = hn::Add(even, hn::GatherIndex(d, query.tables + m * 256, a));
      }
      hn::StoreU(hn::Add(even, odd), d, costs + i);
    }
    EmitHits(costs, first, std::min(kCodeBlockRows, rows - first), cut, hits);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mneme
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mneme {

HWY_EXPORT(Scan);

void ScanTables(const TableQuery& query, size_t columns, const char* blocks, size_t rows, float cut, CodeHits& hits) {
  hits.count = 0;
  HWY_DYNAMIC_DISPATCH(Scan)(query, columns, blocks, rows, cut, hits);
}

void ScanTablesScalar(const TableQuery& query, size_t columns, const char* blocks, size_t rows, float cut,
                      CodeHits& hits) {
  hits.count = 0;
  for (size_t row = 0; row < rows; ++row) {
    const char* block = blocks + row / kCodeBlockRows * TableBlockBytes(columns);
    float cost = query.base + FloatAt(block + columns * kCodeBlockRows + row % kCodeBlockRows * sizeof(float));
    for (size_t m = 0; m < columns; ++m) {
      cost += query.tables[m * 256 + static_cast<uint8_t>(block[m * kCodeBlockRows + row % kCodeBlockRows])];
    }
    KeepWithin(cost, row, cut, hits);
  }
}

}  // namespace mneme
#endif  // HWY_ONCE
