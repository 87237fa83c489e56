#include "common/option_text.h"

#include <gtest/gtest.h>

#include <limits>

namespace mneme {
namespace {

constexpr uint64_t kLargest = std::numeric_limits<uint64_t>::max();

TEST(OptionTextTest, AWholeNumberIsDecimalAndInItsBounds) {
  const auto read = [](const char* text) { return ReadNumber<uint64_t>(text, 1, kLargest); };
  EXPECT_EQ(read("1"), 1U);
  EXPECT_EQ(read("18446744073709551615"), kLargest);
  EXPECT_EQ(read("010"), 10U) << "not eight";
  for (const char* text : {"", " ", "-", "0", "-1", "18446744073709551616", "0x10", "1e3", "1.0", "1 2", "nan"}) {
    EXPECT_EQ(read(text), std::nullopt) << text;
  }
  EXPECT_EQ(ReadNumber<uint32_t>("4294967296", 0, std::numeric_limits<uint32_t>::max()), std::nullopt);
  EXPECT_EQ(ReadNumber<int64_t>("-3", -3, 3), -3);
  EXPECT_EQ(ReadNumber<int64_t>("-4", -3, 3), std::nullopt);
}

TEST(OptionTextTest, ANumberIsFinite) {
  constexpr double kMost = std::numeric_limits<double>::max();
  EXPECT_EQ(ReadNumber<double>("2.5e-1", 0, 1), 0.25);
  for (const char* text : {"", "nan", "-nan", "inf", "-inf", "1e999", "one", "1,5", "0x"}) {
    EXPECT_EQ(ReadNumber<double>(text, -kMost, kMost), std::nullopt) << text;
  }
  EXPECT_EQ(ReadNumber<double>("0", std::numeric_limits<double>::min(), kMost), std::nullopt);
}

TEST(OptionTextTest, BoundsSayWhatIsTaken) {
  EXPECT_EQ(NumberBound<uint32_t>(1, 256), "a whole number in [1, 256]");
  EXPECT_EQ(NumberBound<int64_t>(-3, 3), "a whole number in [-3, 3]");
  EXPECT_EQ(NumberBound<double>(0, 1), "a number in [0, 1]");
  using Limits = std::numeric_limits<double>;
  EXPECT_EQ(NumberBound<double>(0, Limits::max()), "a number from 0 on");
  EXPECT_EQ(NumberBound<double>(Limits::min(), Limits::max()), "a number above 0");
  EXPECT_EQ(NumberBound<double>(Limits::lowest(), Limits::max()), "a number");
}

TEST(OptionTextTest, ASizeHasAUnitOrNone) {
  EXPECT_EQ(ReadSize("1024"), 1024U);
  EXPECT_EQ(ReadSize("0"), 0U);
  EXPECT_EQ(ReadSize("3b"), 3U);
  for (const char* text : {"2k", "2K", "2kb", "2Ki", "2KiB", "2 KiB", " 2KiB "}) {
    EXPECT_EQ(ReadSize(text), 2048U) << text;
  }
  EXPECT_EQ(ReadSize("15EiB"), uint64_t{15} << 60);
  for (const char* text : {"", "G", "-1", "-1k", "1.5G", "1e3", "16E", "18446744073709551616", "1kg", "1kibs", "1 2k",
                           "nan", "k2"}) {
    EXPECT_EQ(ReadSize(text), std::nullopt) << text;
  }
}

TEST(OptionTextTest, ASizeIsShownAsItIsRead) {
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{1536}, uint64_t{64} << 20, uint64_t{1} << 50,
                               uint64_t{1} << 63, kLargest}) {
    EXPECT_EQ(ReadSize(SizeText(bytes)), bytes);
  }
  EXPECT_EQ(SizeText(uint64_t{64} << 20), "64MiB");
  EXPECT_EQ(SizeText(1536), "1536");
}

TEST(OptionTextTest, AFlagIsOneWordOrTheOther) {
  for (const char* text : {"true", "TRUE", "yes", "on", "1"}) EXPECT_EQ(ReadFlag(text), true) << text;
  for (const char* text : {"false", "no", "Off", "0"}) EXPECT_EQ(ReadFlag(text), false) << text;
  for (const char* text : {"", "2", "-1", "1x", "maybe", "99999999999999999999"}) {
    EXPECT_EQ(ReadFlag(text), std::nullopt) << text;
  }
}

TEST(OptionTextTest, WhatIsTakenHasOneMeaningAndWhatIsNotStaysAsItIs) {
  std::string text = "010";
  EXPECT_EQ(TakeNumber<uint32_t>(text, 1, 256), "");
  EXPECT_EQ(text, "10");
  EXPECT_EQ(TakeNumber<uint32_t>(text, 11, 256), NumberBound<uint32_t>(11, 256));
  EXPECT_EQ(text, "10");
  text = "2.5e-1";
  EXPECT_EQ(TakeNumber<double>(text, 0, 1), "");
  EXPECT_EQ(text, "2.5e-1");
  text = "Off";
  EXPECT_EQ(TakeFlag(text), "");
  EXPECT_EQ(text, "false");
  text = "maybe";
  EXPECT_EQ(TakeFlag(text), "true or false");
  EXPECT_EQ(text, "maybe");
}

TEST(OptionTextTest, ATextIsThereAndIsNoOption) {
  EXPECT_EQ(TextBound("keys.npy"), "");
  EXPECT_EQ(TextBound("-"), "");
  EXPECT_NE(TextBound(""), "");
  EXPECT_NE(TextBound("--exact"), "");
}

TEST(OptionTextTest, WhatIsASlipAwayWasMeant) {
  EXPECT_EQ(Nearest("qurey", {"count", "query"}), "query");  // swapped
  EXPECT_EQ(Nearest("sacn", {"scan", "stats"}), "scan");
  EXPECT_EQ(Nearest("imprt", {"export", "import"}), "import");
  EXPECT_EQ(Nearest("frobnicate", {"scan", "stats"}), "");
  EXPECT_EQ(Nearest("--lisen", {"--log", "--listen"}), "--listen");
  EXPECT_EQ(Nearest("--lisn", {"--log", "--listen"}), "--listen");
  EXPECT_EQ(Nearest("--lin", {"--listen"}), "");
  EXPECT_EQ(Nearest("gt", {"get", "put"}), "get");
  EXPECT_EQ(Nearest("gte", {"grate"}), "") << "two slips in a short word";
  EXPECT_EQ(Nearest("get", {}), "");
}

TEST(OptionTextTest, VariablesAreNamedOfOptionsThatAMessageNames) {
  const std::vector<OptionVariable> variables = {{"--log", "MNEME_LOG"}, {"--log-level", "MNEME_LOG_LEVEL"}};
  EXPECT_EQ(WithVariables(NotTaken("--log-level", "loud", "quiet"), variables),
            "--log-level is \"loud\"; must be quiet; from the environment: MNEME_LOG_LEVEL");
  EXPECT_EQ(WithVariables("--log needs --log-level", variables),
            "--log needs --log-level; from the environment: MNEME_LOG, MNEME_LOG_LEVEL");
  EXPECT_EQ(WithVariables("--shards is \"x\"", variables), "--shards is \"x\"");
}

}  // namespace
}  // namespace mneme
