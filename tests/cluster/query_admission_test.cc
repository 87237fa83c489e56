#include "cluster/query_admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error_reason.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

TEST(QueryAdmissionTest, BoundsHowManyAndHowMuch) {
  QueryAdmission admission(3, 100);
  EXPECT_TRUE(admission.Admit(60).ok());
  EXPECT_TRUE(admission.Admit(40).ok());
  const absl::Status bytes = admission.Admit(1);
  EXPECT_EQ(bytes.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(bytes), reason::kQueueFull);
  EXPECT_THAT(std::string(bytes.message()), HasSubstr("2 queries of 100 bytes are with the shards; the bounds are 3 "));
  EXPECT_TRUE(admission.Admit(0).ok());
  EXPECT_EQ(admission.Admit(0).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(admission.queries(), 3U);
  admission.Leave(60);
  EXPECT_EQ(admission.bytes(), 40U);
  EXPECT_TRUE(admission.Admit(60).ok());
}

TEST(QueryAdmissionTest, OneAloneIsAdmittedWhateverItHolds) {
  QueryAdmission admission(3, 100);
  EXPECT_TRUE(admission.Admit(1'000).ok());
  EXPECT_FALSE(admission.Admit(1).ok());
  admission.Leave(1'000);
  EXPECT_TRUE(admission.Admit(1).ok());
}

}  // namespace
}  // namespace mneme
