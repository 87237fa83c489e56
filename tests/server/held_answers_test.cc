#include "server/held_answers.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace mneme {
namespace {

constexpr size_t kBound = 100'000;

// Calls are numbers; what was done with them, in order.
std::vector<std::string> done;
HeldAnswers* events_at = nullptr;

grpc_call* Call(uintptr_t number) { return reinterpret_cast<grpc_call*>(number); }  // NOLINT: never looked at
std::string Name(grpc_call* call) { return std::to_string(reinterpret_cast<uintptr_t>(call)); }

void Keep(grpc_call* call) { done.push_back("keep " + Name(call)); }
void End(grpc_call* call) {
  done.push_back("end " + Name(call));
  if (events_at != nullptr) (void)events_at->bytes();  // an event may take the lock
}

class HeldAnswersTest : public testing::Test {
 protected:
  HeldAnswersTest() {
    done.clear();
    events_at = &answers_;
  }

  HeldAnswers::Share& Share(uintptr_t number) { return shares_.emplace_back(answers_, Call(number)); }

  int ended_ = 0;
  HeldAnswers answers_{kBound, [this] { ++ended_; }, {Keep, End}};
  std::deque<HeldAnswers::Share> shares_;
};

TEST_F(HeldAnswersTest, WhoTakesHisAnswersIsNeverEnded) {
  HeldAnswers::Share& share = Share(1);
  for (int i = 0; i < 100; ++i) {
    share.Give(kBound);
    EXPECT_EQ(answers_.bytes(), kBound);
    share.Taken();
    EXPECT_EQ(answers_.bytes(), 0U);
  }
  share.Taken();
  EXPECT_TRUE(done.empty());
}

TEST_F(HeldAnswersTest, TheLongestWaitAreEndedUntilTheRestFits) {
  for (uintptr_t number = 1; number <= 4; ++number) Share(number).Give(25'000);
  EXPECT_TRUE(done.empty());
  shares_[1].Taken();
  Share(5).Give(60'000);  // beside 3 and 4 there is no room for 1, nor for 3
  EXPECT_EQ(done, (std::vector<std::string>{"keep 1", "keep 3", "end 1", "end 3"}));
  EXPECT_EQ(ended_, 2);
  EXPECT_EQ(answers_.bytes(), 85'000U);
  for (HeldAnswers::Share& share : shares_) share.Taken();
  EXPECT_EQ(answers_.bytes(), 0U);
  shares_[0].Give(kBound);
  EXPECT_EQ(answers_.bytes(), kBound);
}

TEST_F(HeldAnswersTest, OneThatIsLargerThanTheBoundIsHeldAlone) {
  Share(1).Give(50'000);
  Share(2).Give(2 * kBound);
  EXPECT_EQ(done, (std::vector<std::string>{"keep 1", "end 1"}));
  shares_.clear();
  EXPECT_EQ(answers_.bytes(), 0U);
}

TEST_F(HeldAnswersTest, SmallOnesAreNotCounted) {
  for (uintptr_t number = 1; number <= 1'000; ++number) Share(number).Give(1'000);
  EXPECT_EQ(answers_.bytes(), 0U);
  EXPECT_TRUE(done.empty());
}

}  // namespace
}  // namespace mneme
