#include "client/cli/json_text.h"
#include "common/limits.h"

#include <gtest/gtest.h>

#include <string>

namespace mneme::cli {
namespace {

std::string Nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(JsonTextTest, WhatIsNoJsonIsNone) {
  EXPECT_EQ(ParseJson(R"({"a": [1, "b", null]})").value().dump(), R"({"a":[1,"b",null]})");
  for (const char* bad : {"", "{", "[1,]", "{\"a\": 1}}", "\"\xff\"", "nul"}) {
    EXPECT_FALSE(ParseJson(bad).has_value()) << bad;
  }
}

// It would take a frame of the stack for each level to show or to copy it.
TEST(JsonTextTest, WhatIsNestedDeeperThanItsBoundIsNone) {
  EXPECT_EQ(ParseJson(Nested(limits::kMaxJsonDepth)).value().dump(), Nested(limits::kMaxJsonDepth));
  EXPECT_FALSE(ParseJson(Nested(limits::kMaxJsonDepth + 2)).has_value());
  EXPECT_FALSE(ParseJson(Nested(1'000'000)).has_value());
  EXPECT_FALSE(ParseJson(R"({"session": )" + Nested(1'000'000) + "}").has_value());
}

TEST(JsonTextTest, BytesReadBackAsTheyAreShown) {
  for (const std::string& bytes : {std::string(), std::string("\xc3\xa9"), std::string("\xff\0a", 3)}) {
    EXPECT_EQ(BytesFromJson(BytesJson(bytes)).value(), bytes);
  }
  for (const char* bad : {"1", "{}", R"({"base64": "!"})", R"({"base64": "AP8=", "a": 1})", "null"}) {
    EXPECT_EQ(BytesFromJson(ParseJson(bad).value()).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace mneme::cli
