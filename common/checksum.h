// Checksum: XXH3, the one hash of stored files, request ids and routing.
#ifndef MNEME_COMMON_CHECKSUM_H_
#define MNEME_COMMON_CHECKSUM_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mneme {

struct Hash128 {
  uint64_t low = 0;
  uint64_t high = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};

// XXH3 with 64 and 128 bits. The values are stored on disk and decide routing: do not change the seeds.
uint64_t Checksum64(std::string_view bytes, uint64_t seed = 0);
Hash128 Checksum128(std::string_view bytes);

// splitmix64's finaliser: spreads ids and partitions over shards.
constexpr uint64_t Mix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

}  // namespace mneme

#endif  // MNEME_COMMON_CHECKSUM_H_
