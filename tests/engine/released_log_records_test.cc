// Records of logs that releases wrote (tests/data/formats/RELEASE/log_records.txt, one a line) are read for good: a
// topic keeps them for as long as its operator says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "absl/strings/escaping.h"
#include "engine/log_record.h"
#include "tests/common/hex.h"

namespace mneme {
namespace {

using testing::Hex;

// How many kinds the first release had.
constexpr uint8_t kKinds = 14;

// What is read of a record, as this program writes it.
std::string Rewritten(const std::string& record) {
  const auto read = DecodeLogRecord(record);
  EXPECT_TRUE(read.ok()) << read.status() << ": " << Hex(record);
  return read.ok() ? EncodeLogRecord(*read) : "";
}

// The kinds of the records of a release, all of which are read.
std::set<uint8_t> KindsOf(const std::filesystem::path& records) {
  std::set<uint8_t> kinds;
  std::ifstream file(records);
  for (std::string line; std::getline(file, line);) {
    const std::string record(absl::HexStringToBytes(line));
    const std::string rewritten = Rewritten(record);
    if (rewritten.empty()) continue;
    EXPECT_EQ(rewritten[1], record[1]) << "of another kind: " << line;
    // One of another version is written otherwise, and says the same ever after.
    if (rewritten[0] == record[0]) {
      EXPECT_EQ(Hex(rewritten), Hex(record));
    } else {
      EXPECT_EQ(Hex(Rewritten(rewritten)), Hex(rewritten));
    }
    kinds.insert(static_cast<uint8_t>(record[1]));
  }
  return kinds;
}

TEST(ReleasedLogRecordsTest, EveryKindOfEveryReleaseIsRead) {
  const std::string folder = std::string(std::getenv("MNEME_TEST_DATA")) + "/formats";
  int releases = 0;
  for (const auto& release : std::filesystem::directory_iterator(folder)) {
    if (!release.is_directory()) continue;
    SCOPED_TRACE(release.path().string());
    const std::set<uint8_t> kinds = KindsOf(release.path() / "log_records.txt");
    for (uint8_t kind = 1; kind <= kKinds; ++kind) EXPECT_TRUE(kinds.contains(kind)) << "kind " << int{kind};
    ++releases;
  }
  EXPECT_GE(releases, 1);
}

}  // namespace
}  // namespace mneme
