// The opaque bytes that the engine hands out, as docs/formats.md describes them.
#include "engine/version.h"

#include <gtest/gtest.h>

#include "common/error_reason.h"
#include "common/limits.h"
#include "tests/common/hex.h"

namespace mneme {
namespace {

using testing::Hex;

constexpr uint64_t kDeployment = 0x0123456789ABCDEF;
constexpr MemoryNumber kMemory = 7;
constexpr size_t kHeadBytes = 13;
constexpr size_t kPartBytes = 10;

const Version kVersion{kMemory, {{0, 258}, {3, 5}}};
const ScanPosition kPosition{kMemory, 3, 258, 1000};
const RememberedOutcome kOutcome{2, 1, 300, true};

absl::StatusCode VersionCode(std::string_view bytes) {
  return DecodeVersion(kDeployment, kMemory, bytes).status().code();
}
absl::StatusCode PositionCode(std::string_view bytes) {
  return DecodeScanPosition(kDeployment, kMemory, bytes).status().code();
}

TEST(VersionTest, HasItsGoldenBytes) {
  EXPECT_EQ(Hex(EncodeVersion(kDeployment, kVersion)),
            "01 ef cd ab 89 67 45 23 01 07 00 00 00 "
            "00 00 02 01 00 00 00 00 00 00 "
            "03 00 05 00 00 00 00 00 00 00");
}

TEST(VersionTest, ComesBackWhole) {
  const Version version = DecodeVersion(kDeployment, kMemory, EncodeVersion(kDeployment, kVersion)).value();
  EXPECT_EQ(version.memory, kMemory);
  ASSERT_EQ(version.parts.size(), 2U);
  EXPECT_EQ(version.parts[0].shard, 0U);
  EXPECT_EQ(version.parts[0].sequence, 258U);
  EXPECT_EQ(version.parts[1].shard, 3U);
  EXPECT_EQ(version.parts[1].sequence, 5U);
}

TEST(VersionTest, CutAnywhereIsRefusedOrHasFewerShards) {
  const std::string whole = EncodeVersion(kDeployment, kVersion);
  for (size_t size = 0; size < whole.size(); ++size) {
    const bool between_parts = size >= kHeadBytes && (size - kHeadBytes) % kPartBytes == 0;
    if (!between_parts) {
      EXPECT_EQ(VersionCode(whole.substr(0, size)), absl::StatusCode::kInvalidArgument) << size;
      continue;
    }
    const auto version = DecodeVersion(kDeployment, kMemory, whole.substr(0, size));
    ASSERT_TRUE(version.ok()) << version.status();
    EXPECT_EQ(version->parts.size(), (size - kHeadBytes) / kPartBytes);
  }
  EXPECT_EQ(VersionCode(whole + '\0'), absl::StatusCode::kInvalidArgument);
}

TEST(VersionTest, OfAnotherFormatIsMalformed) {
  std::string bytes = EncodeVersion(kDeployment, kVersion);
  for (const char format : {'\0', '\2', '\x7F'}) {
    bytes[0] = format;
    EXPECT_EQ(VersionCode(bytes), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(PositionCode(EncodeVersion(kDeployment, kVersion)), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(VersionCode(EncodeScanPosition(kDeployment, kPosition)), absl::StatusCode::kInvalidArgument);
}

TEST(VersionTest, OfAnotherDeploymentOrMemoryIsForeign) {
  const std::string bytes = EncodeVersion(kDeployment, kVersion);
  for (const absl::Status& status : {DecodeVersion(kDeployment + 1, kMemory, bytes).status(),
                                     DecodeVersion(kDeployment, kMemory + 1, bytes).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_EQ(ReasonOf(status), reason::kForeignVersion);
  }
}

TEST(VersionTest, NamesNoShardTwiceAndNoMoreThanThereCanBe) {
  const auto code = [](const std::vector<Version::Part>& parts) {
    return VersionCode(EncodeVersion(kDeployment, {kMemory, parts}));
  };
  EXPECT_EQ(code({{3, 5}, {3, 6}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{3, 5}, {0, 258}}), absl::StatusCode::kInvalidArgument);
  std::vector<Version::Part> most;
  for (uint32_t shard = 0; shard < limits::kMaxShards; ++shard) most.push_back({shard, 1});
  EXPECT_EQ(code(most), absl::StatusCode::kOk);
  most.push_back({limits::kMaxShards, 1});
  EXPECT_EQ(code(most), absl::StatusCode::kInvalidArgument);
}

TEST(ScanPositionTest, HasItsGoldenBytesAndComesBackWhole) {
  const std::string bytes = EncodeScanPosition(kDeployment, kPosition);
  EXPECT_EQ(Hex(bytes),
            "02 ef cd ab 89 67 45 23 01 07 00 00 00 "
            "03 00 00 00 02 01 00 00 00 00 00 00 e8 03 00 00 00 00 00 00");
  const ScanPosition position = DecodeScanPosition(kDeployment, kMemory, bytes).value();
  EXPECT_EQ(position.memory, kMemory);
  EXPECT_EQ(position.shard, kPosition.shard);
  EXPECT_EQ(position.partition, kPosition.partition);
  EXPECT_EQ(position.row, kPosition.row);
}

TEST(ScanPositionTest, CutOrLengthenedIsRefused) {
  const std::string whole = EncodeScanPosition(kDeployment, kPosition);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(PositionCode(whole.substr(0, size)), absl::StatusCode::kInvalidArgument) << size;
  }
  EXPECT_EQ(PositionCode(whole + '\0'), absl::StatusCode::kInvalidArgument);
}

TEST(ScanPositionTest, OfAnotherDeploymentOrMemoryIsForeign) {
  const std::string bytes = EncodeScanPosition(kDeployment, kPosition);
  EXPECT_EQ(DecodeScanPosition(kDeployment ^ 1, kMemory, bytes).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(DecodeScanPosition(kDeployment, kMemory - 1, bytes).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(OutcomeTest, HasItsGoldenBytesAndComesBackWhole) {
  const std::string bytes = EncodeOutcome(kOutcome);
  EXPECT_EQ(Hex(bytes),
            "01 02 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 2c 01 00 00 00 00 00 00 01");
  const RememberedOutcome outcome = DecodeOutcome(bytes).value();
  EXPECT_EQ(outcome.count, kOutcome.count);
  EXPECT_EQ(outcome.other, kOutcome.other);
  EXPECT_EQ(outcome.first_row, kOutcome.first_row);
  EXPECT_TRUE(outcome.gave_ids);
}

TEST(OutcomeTest, IsRefusedUnlessItsEncoderWroteIt) {
  const std::string whole = EncodeOutcome(kOutcome);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeOutcome(whole.substr(0, size)).status())) << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeOutcome(whole + '\0').status()));
  std::string other = whole;
  other.front() = '\2';
  EXPECT_TRUE(absl::IsDataLoss(DecodeOutcome(other).status()));
  other = whole;
  other.back() = '\2';
  EXPECT_TRUE(absl::IsDataLoss(DecodeOutcome(other).status()));
}

}  // namespace
}  // namespace mneme
