#include "common/status_macros.h"

#include <gtest/gtest.h>

#include <memory>

namespace mneme {
namespace {

absl::Status Chain(const absl::Status& first, int& reached) {
  RETURN_IF_ERROR(first);
  ++reached;
  return absl::OkStatus();
}

absl::StatusOr<int> Sum(absl::StatusOr<int> a, absl::StatusOr<std::unique_ptr<int>> b) {
  ASSIGN_OR_RETURN(const int left, a);
  int right = 0;
  ASSIGN_OR_RETURN(const std::unique_ptr<int> owned, std::move(b));
  right = *owned;
  ASSIGN_OR_RETURN(right, absl::StatusOr<int>(right));
  return left + right;
}

TEST(StatusMacrosTest, ReturnIfErrorGoesOnOnlyWhenOk) {
  int reached = 0;
  EXPECT_EQ(Chain(absl::DataLossError("lost"), reached), absl::DataLossError("lost"));
  EXPECT_EQ(reached, 0);
  EXPECT_TRUE(Chain(absl::OkStatus(), reached).ok());
  EXPECT_EQ(reached, 1);
}

TEST(StatusMacrosTest, AssignOrReturnGivesTheValueOrTheFirstError) {
  EXPECT_EQ(Sum(2, std::make_unique<int>(3)).value(), 5);
  EXPECT_EQ(Sum(absl::NotFoundError("a"), std::make_unique<int>(3)).status(), absl::NotFoundError("a"));
  EXPECT_EQ(Sum(2, absl::AbortedError("b")).status(), absl::AbortedError("b"));
}

}  // namespace
}  // namespace mneme
