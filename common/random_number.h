// RandomNumber: a number that nobody else is likely to have drawn, in this process or another.
#ifndef MNEME_COMMON_RANDOM_NUMBER_H_
#define MNEME_COMMON_RANDOM_NUMBER_H_

#include <cstdint>

namespace mneme {

// Of all 64 bits, from the system's entropy; never 0. Thread-safe. Takes microseconds: what is drawn for every write
// comes of a generator.
uint64_t RandomNumber();

}  // namespace mneme

#endif  // MNEME_COMMON_RANDOM_NUMBER_H_
