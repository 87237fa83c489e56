// ScanInt8 with the 8-bit dot products of AVX-512 VNNI, which the Highway of Debian 12 does not reach.
#ifndef MNEME_INDEX_KERNELS_INT8_SCAN_VNNI_H_
#define MNEME_INDEX_KERNELS_INT8_SCAN_VNNI_H_

#include <cstddef>

#include "index/kernels/int8_scan.h"

namespace mneme {

// False, with nothing done, on a machine that has no such instructions. Appends to `hits`.
bool ScanInt8Vnni(const Int8Query* queries, size_t count, size_t groups, const char* blocks, size_t rows,
                  const float* cuts, CodeHits* hits);

}  // namespace mneme

#endif  // MNEME_INDEX_KERNELS_INT8_SCAN_VNNI_H_
