// Writes the rows of one block that are within the cut. Included once per Highway target.
#if defined(MNEME_INDEX_KERNELS_EMIT_HITS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MNEME_INDEX_KERNELS_EMIT_HITS_INL_H_
#undef MNEME_INDEX_KERNELS_EMIT_HITS_INL_H_
#else
#define MNEME_INDEX_KERNELS_EMIT_HITS_INL_H_
#endif

#include "hwy/highway.h"
#include "index/kernels/code_block.h"

HWY_BEFORE_NAMESPACE();
namespace mneme {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// `costs` [kCodeBlockRows] of the rows from `first` on, of which `rows` exist.
HWY_INLINE void EmitHits(const float* costs, size_t first, size_t rows, float cut, CodeHits& hits) {
  const hn::CappedTag<float, kCodeBlockRows> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const auto limit = hn::Set(d, cut);
  for (size_t i = 0; i < rows; i += hn::Lanes(d)) {
    const auto cost = hn::LoadU(d, costs + i);
    auto within = hn::Le(cost, limit);
    if (hn::AllFalse(d, within)) continue;
    if (rows - i < hn::Lanes(d)) within = hn::And(within, hn::FirstN(d, rows - i));
    // Compressed in the register: some processors take a hundred cycles to compress into ram.
    hn::StoreU(hn::Compress(hn::Iota(du, static_cast<uint32_t>(first + i)), hn::RebindMask(du, within)), du,
               hits.rows + hits.count);
    hn::StoreU(hn::Compress(cost, within), d, hits.costs + hits.count);
    hits.count += hn::CountTrue(d, within);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace mneme
HWY_AFTER_NAMESPACE();

#endif  // toggle
