// Counted for d = 128 and four queries: a group of four components takes two loads and eight dot products for 32 rows,
// so a pair of query and row takes two dot products; two of them start in each cycle. A dot product takes four or five
// cycles to end, so one or two queries alone would wait for their own sums: these keep sums of even and odd groups
// apart.
#include "index/kernels/int8_scan_vnni.h"

#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // of the header itself, in GCC 12
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "index/kernels/unroll.h"

namespace mneme {
namespace {

#define MNEME_VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

bool HasVnni() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  return has;
}

MNEME_VNNI inline void Emit(__m512 costs, __mmask16 exists, size_t first, float cut, CodeHits& hits) {
  const __mmask16 within = _mm512_mask_cmp_ps_mask(exists, costs, _mm512_set1_ps(cut), _CMP_LE_OQ);
  if (within == 0) return;
  const __m512i rows = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)),
                                        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  // Compressed in the register: some processors take a hundred cycles to compress into ram.
  _mm512_storeu_ps(hits.costs + hits.count, _mm512_maskz_compress_ps(within, costs));
  _mm512_storeu_si512(hits.rows + hits.count, _mm512_maskz_compress_epi32(within, rows));
  hits.count += static_cast<size_t>(__builtin_popcount(within));
}

MNEME_VNNI inline __m512 Cost(const Int8Query& query, __m512i sum, __m512 term) {
  return _mm512_fmadd_ps(_mm512_set1_ps(query.scale), _mm512_cvtepi32_ps(sum),
                         _mm512_add_ps(_mm512_set1_ps(query.base), term));
}

// Four components of a query, for every row.
MNEME_VNNI inline __m512i Four(const int8_t* codes) {
  int four = 0;
  __builtin_memcpy(&four, codes, sizeof(four));
  return _mm512_set1_epi32(four);
}

template <size_t kQueries>
MNEME_VNNI void ScanBlocks(const Int8Query* queries, size_t groups, const char* blocks, size_t rows, const float* cuts,
                           CodeHits* hits) {
  const size_t half = 64 * groups;
  for (size_t first = 0; first < rows; first += kCodeBlockRows, blocks += 2 * half + kCodeBlockRows * sizeof(float)) {
    // The keys of this block are on their way from ram while the one before is summed.
    for (size_t b = 0; b < 2 * half && first + kCodeBlockRows < rows; b += 64) {
      __builtin_prefetch(blocks + 2 * half + b + 128);
    }
    __m512i low[kQueries];
    __m512i high[kQueries];
    MNEME_UNROLL(4)
    for (size_t q = 0; q < kQueries; ++q) low[q] = high[q] = _mm512_setzero_si512();
    size_t g = 0;
    if constexpr (kQueries <= 2) {
      __m512i odd_low[kQueries];
      __m512i odd_high[kQueries];
      MNEME_UNROLL(4)
      for (size_t q = 0; q < kQueries; ++q) odd_low[q] = odd_high[q] = _mm512_setzero_si512();
      for (; g + 2 <= groups; g += 2) {
        MNEME_UNROLL(4)
        for (size_t q = 0; q < kQueries; ++q) {
          const __m512i even = Four(queries[q].codes + 4 * g);
          const __m512i odd = Four(queries[q].codes + 4 * g + 4);
          low[q] = _mm512_dpbusd_epi32(low[q], _mm512_loadu_si512(blocks + 64 * g), even);
          high[q] = _mm512_dpbusd_epi32(high[q], _mm512_loadu_si512(blocks + half + 64 * g), even);
          odd_low[q] = _mm512_dpbusd_epi32(odd_low[q], _mm512_loadu_si512(blocks + 64 * g + 64), odd);
          odd_high[q] = _mm512_dpbusd_epi32(odd_high[q], _mm512_loadu_si512(blocks + half + 64 * g + 64), odd);
        }
      }
      MNEME_UNROLL(4)
      for (size_t q = 0; q < kQueries; ++q) {
        low[q] = _mm512_add_epi32(low[q], odd_low[q]);
        high[q] = _mm512_add_epi32(high[q], odd_high[q]);
      }
    }
    for (; g < groups; ++g) {
      const __m512i low_codes = _mm512_loadu_si512(blocks + 64 * g);
      const __m512i high_codes = _mm512_loadu_si512(blocks + half + 64 * g);
      MNEME_UNROLL(4)
      for (size_t q = 0; q < kQueries; ++q) {
        const __m512i factor = Four(queries[q].codes + 4 * g);
        low[q] = _mm512_dpbusd_epi32(low[q], low_codes, factor);
        high[q] = _mm512_dpbusd_epi32(high[q], high_codes, factor);
      }
    }
    const size_t left = rows - first;
    const __mmask16 low_exists = left >= 16 ? 0xFFFF : static_cast<__mmask16>((1U << left) - 1);
    const __mmask16 high_exists =
        left >= 32 ? 0xFFFF : left <= 16 ? __mmask16{0} : static_cast<__mmask16>((1U << (left - 16)) - 1);
    const __m512 low_terms = _mm512_loadu_ps(blocks + 2 * half);
    const __m512 high_terms = _mm512_loadu_ps(blocks + 2 * half + 16 * sizeof(float));
    MNEME_UNROLL(4)
    for (size_t q = 0; q < kQueries; ++q) {
      Emit(Cost(queries[q], low[q], low_terms), low_exists, first, cuts[q], hits[q]);
      Emit(Cost(queries[q], high[q], high_terms), high_exists, first + 16, cuts[q], hits[q]);
    }
  }
}

}  // namespace

bool ScanInt8Vnni(const Int8Query* queries, size_t count, size_t groups, const char* blocks, size_t rows,
                  const float* cuts, CodeHits* hits) {
  if (!HasVnni()) return false;
  switch (count) {
    case 1: ScanBlocks<1>(queries, groups, blocks, rows, cuts, hits); break;
    case 2: ScanBlocks<2>(queries, groups, blocks, rows, cuts, hits); break;
    case 3: ScanBlocks<3>(queries, groups, blocks, rows, cuts, hits); break;
    default: ScanBlocks<4>(queries, groups, blocks, rows, cuts, hits); break;
  }
  return true;
}

}  // namespace mneme

#else

namespace mneme {

bool ScanInt8Vnni(const Int8Query*, size_t, size_t, const char*, size_t, const float*, CodeHits*) { return false; }

}  // namespace mneme

#endif  // __x86_64__
