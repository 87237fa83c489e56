// The instruction sets that kernels leave out, for HWY_DISABLED_TARGETS.
#ifndef MNEME_INDEX_KERNELS_TARGETS_H_
#define MNEME_INDEX_KERNELS_TARGETS_H_

// Vectors of unknown length cannot be kept in arrays; such machines use the narrower fixed ones.
#define MNEME_UNKNOWN_LENGTHS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
// Scans leave out SSSE3, too: machines with no more than that are gone.
#define MNEME_NOT_SCANNED_WITH (MNEME_UNKNOWN_LENGTHS | HWY_SSSE3)

#endif  // MNEME_INDEX_KERNELS_TARGETS_H_
