// How large the randomised tests are, and from which seed: printed by each, so that a failure can be repeated.
#ifndef MNEME_TESTS_STORAGE_TEST_SCALE_H_
#define MNEME_TESTS_STORAGE_TEST_SCALE_H_

#include <cstdint>
#include <cstdlib>
#include <iostream>

namespace mneme {

inline bool FullTests() {
  const char* full = std::getenv("MNEME_TEST_FULL");
  return full != nullptr && *full == '1';
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// How often a randomised test repeats. A sanitizer, ten times slower, looks at every path but not for rare states: it
// makes a fifth of the repetitions.
inline uint64_t Repetitions(uint64_t bounded, uint64_t full) {
  if (FullTests()) return full;
  return kSanitized ? (bounded + 4) / 5 : bounded;
}

// MNEME_TEST_SEED, or a fixed one.
inline uint64_t TestSeed() {
  const char* seed = std::getenv("MNEME_TEST_SEED");
  const uint64_t value = seed != nullptr ? std::strtoull(seed, nullptr, 0) : 20240607;
  std::cout << (FullTests() ? "full" : "bounded") << " form, MNEME_TEST_SEED=" << value << std::endl;
  return value;
}

}  // namespace mneme

#endif  // MNEME_TESTS_STORAGE_TEST_SCALE_H_
