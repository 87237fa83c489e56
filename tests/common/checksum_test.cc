// The checksums are stored and decide routing: these values may never change.
#include "common/checksum.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace mneme {
namespace {

TEST(ChecksumTest, KeepsItsGoldenValues) {
  // From the XXH3 specification's own test vectors where it has them (empty input), else from xxHash 0.8.1.
  EXPECT_EQ(Checksum64(""), 0x2D06800538D394C2ULL);
  EXPECT_EQ(Checksum128(""), (Hash128{0x6001C324468D497FULL, 0x99AA06D3014798D8ULL}));
  EXPECT_EQ(Checksum64("mneme"), 0x98C3F069B8DDBDD1ULL);
  EXPECT_EQ(Checksum64("mneme", 42), 0xE50DE97B3900F7D1ULL);
  EXPECT_EQ(Checksum128("mneme"), (Hash128{0x40ADD6E5ECDA1412ULL, 0x81110FB47633C163ULL}));
  EXPECT_EQ(Checksum64(std::string(1000, 'x')), 0xC0A4877B962CBA82ULL);
}

TEST(ChecksumTest, MixSpreadsNeighbours) {
  // splitmix64 with seed 0 gives this first output.
  EXPECT_EQ(Mix64(0), 0xE220A8397B1DCDAFULL);
  std::set<uint64_t> low_bytes;
  for (uint64_t id = 0; id < 2000; ++id) low_bytes.insert(Mix64(id) % 256);
  EXPECT_EQ(low_bytes.size(), 256U);
}

}  // namespace
}  // namespace mneme
