#include "common/running_checksum.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace mneme {
namespace {

TEST(RunningChecksumTest, IsThatOfTheWholeHoweverItCame) {
  std::string bytes;
  for (int i = 0; i < 3000; ++i) bytes.push_back(static_cast<char>(i * 31));
  for (const size_t piece : {1, 7, 240, 241, 1024, 5000}) {
    RunningChecksum running;
    for (size_t at = 0; at < bytes.size(); at += piece) running.Add(std::string_view(bytes).substr(at, piece));
    EXPECT_EQ(running.Sum(), Checksum128(bytes)) << piece;
    running.Add("more");
    EXPECT_EQ(running.Sum(), Checksum128(bytes + "more"));
  }
  EXPECT_EQ(RunningChecksum().Sum(), Checksum128(""));
}

}  // namespace
}  // namespace mneme
