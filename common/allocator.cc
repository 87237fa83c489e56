#include "common/allocator.h"

#include <malloc.h>

namespace mneme {
namespace {

constexpr int kLargestMapped = 32 << 20;  // the most that glibc takes
constexpr int kKept = 256 << 20;

}  // namespace

void KeepFreedRam() {
  mallopt(M_MMAP_THRESHOLD, kLargestMapped);
  mallopt(M_TRIM_THRESHOLD, kKept);
}

void GiveBackFreedRam() { malloc_trim(0); }

}  // namespace mneme
