#include "server/held_answers.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "common/error_reason.h"

namespace mneme {
namespace {

using Done = std::vector<std::string>;

constexpr size_t kBound = 100'000;

// Calls are numbers, ten to a connection; what was done with them, in order.
Done done;
HeldAnswers* events_at = nullptr;

uintptr_t NumberOf(grpc_call* call) { return reinterpret_cast<uintptr_t>(call); }
grpc_call* Call(uintptr_t number) { return reinterpret_cast<grpc_call*>(number); }  // NOLINT: never looked at

std::string Peer(grpc_call* call) { return "connection " + std::to_string(NumberOf(call) / 10); }
void Keep(grpc_call* call) { done.push_back("keep " + std::to_string(NumberOf(call))); }
void End(grpc_call* call) {
  done.push_back("end " + std::to_string(NumberOf(call)));
  if (events_at != nullptr) (void)events_at->bytes();  // an event may take the lock
}

class HeldAnswersTest : public testing::Test {
 protected:
  HeldAnswersTest() {
    done.clear();
    events_at = &answers_;
  }

  HeldAnswers::Share& Share(uintptr_t number, const std::string& caller = "") {
    return shares_.emplace_back(answers_, Call(number), caller);
  }
  bool Read(uintptr_t number, size_t bytes, const std::string& caller = "") {
    return Share(number, caller).Give(bytes, /*wrote=*/false).ok();
  }

  std::vector<std::string> told_;
  int rooms_ = 0;
  HeldAnswers answers_{kBound,
                       [this](const std::string& holder, size_t bytes) {
                         told_.push_back(holder + ": " + std::to_string(bytes));
                       },
                       [this] { ++rooms_; },
                       {Peer, Keep, End}};
  std::deque<HeldAnswers::Share> shares_;
};

TEST_F(HeldAnswersTest, WhoTakesHisAnswersGoesOn) {
  HeldAnswers::Share& share = Share(1);
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(share.Give(kBound, false).ok());
    EXPECT_EQ(answers_.bytes(), kBound);
    share.Taken();
    EXPECT_EQ(answers_.bytes(), 0U);
  }
  share.Taken();
  EXPECT_EQ(done, Done());
}

TEST_F(HeldAnswersTest, TheOldestReadsOfWhoeverHoldsMostAreEnded) {
  EXPECT_TRUE(Read(1, 20'000));  // slow, and older than all that follow
  for (uintptr_t number = 11; number <= 13; ++number) EXPECT_TRUE(Read(number, 25'000));
  EXPECT_EQ(done, Done());
  EXPECT_TRUE(Read(14, 50'000));
  EXPECT_EQ(done, (Done{"keep 11", "keep 12", "end 11", "end 12"}));
  EXPECT_EQ(told_, (std::vector<std::string>{"connection 1: 25000", "connection 1: 25000"}));
  EXPECT_EQ(answers_.bytes(), 95'000U);
  // Somebody else comes, who holds less: they go on.
  EXPECT_TRUE(Read(21, 10'000));
  EXPECT_EQ(done.size(), 6U);
  EXPECT_EQ(done.back(), "end 13");
  for (HeldAnswers::Share& share : shares_) share.Taken();
  EXPECT_EQ(answers_.bytes(), 0U);
  EXPECT_TRUE(shares_[1].Give(kBound, false).ok());
  EXPECT_EQ(answers_.bytes(), kBound);
}

TEST_F(HeldAnswersTest, ACallerWhoIsKnownIsOneOverAllHisConnections) {
  EXPECT_TRUE(Read(1, 40'000, "honest"));
  for (uintptr_t number = 10; number < 50; number += 10) EXPECT_TRUE(Read(number, 15'000, "greedy"));
  EXPECT_TRUE(Read(50, 5'000, "greedy"));
  EXPECT_EQ(done, (Done{"keep 10", "end 10"}));
  EXPECT_EQ(told_, std::vector<std::string>{"greedy: 15000"});
}

TEST_F(HeldAnswersTest, WhoHoldsMostByTheNewAnswerIsRefusedIt) {
  EXPECT_TRUE(Read(1, 30'000));
  EXPECT_TRUE(Read(11, 30'000));
  HeldAnswers::Share& share = Share(21);
  const absl::Status refused = share.Give(60'000, false);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_EQ(ReasonOf(refused), "ANSWER_NOT_TAKEN");
  EXPECT_EQ(done, Done());
  EXPECT_EQ(answers_.bytes(), 60'000U);
  share.Taken();
  EXPECT_TRUE(share.Give(30'000, false).ok());
  EXPECT_EQ(answers_.bytes(), 90'000U);
}

TEST_F(HeldAnswersTest, WhatMayHaveWrittenIsNeverEnded) {
  EXPECT_TRUE(Share(1, "writer").Give(25'000, true).ok());
  EXPECT_TRUE(Read(2, 10'000, "writer"));
  EXPECT_TRUE(Read(11, 30'000, "reader"));
  EXPECT_TRUE(Read(12, 30'000, "other"));
  // The writer holds most, and has a read to end.
  EXPECT_TRUE(Read(13, 15'000, "third"));
  EXPECT_EQ(done, (Done{"keep 2", "end 2"}));
  // Then he has none: the next to hold most.
  EXPECT_TRUE(Read(14, 5'000, "third"));
  EXPECT_EQ(done.back(), "end 12");
  // He may have a quarter of the bound in answers to what may have written.
  HeldAnswers::Share& beyond = Share(3, "writer");
  const absl::Status left_out = beyond.Give(5'000, true);
  EXPECT_EQ(left_out.code(), absl::StatusCode::kUnavailable) << left_out;
  EXPECT_EQ(ReasonOf(left_out), "ANSWER_NOT_TAKEN");
  EXPECT_EQ(done.size(), 4U);
  shares_.front().Taken();
  EXPECT_TRUE(beyond.Give(5'000, true).ok());
}

TEST_F(HeldAnswersTest, SmallOnesAreNotCounted) {
  for (uintptr_t number = 1; number <= 1'000; ++number) {
    EXPECT_TRUE(Share(number).Give(1'000, number % 2 == 0).ok());
  }
  EXPECT_EQ(answers_.bytes(), 0U);
  EXPECT_EQ(done, Done());
}

TEST_F(HeldAnswersTest, RoomIsToldOnceAfterEachTimeThatThereWasNone) {
  HeldAnswers::Share& small = Share(21);
  for (int i = 1; i <= 2; ++i) {
    EXPECT_TRUE(small.Give(kBound / 8, false).ok());
    EXPECT_TRUE(Read(1, kBound / 2));
    shares_.back().Taken();
    EXPECT_EQ(rooms_, i - 1) << "it was never full";
    EXPECT_TRUE(Read(2, kBound / 2));
    EXPECT_TRUE(Read(3, kBound / 2));
    shares_.back().Taken();
    EXPECT_EQ(rooms_, i);
    small.Taken();
    EXPECT_EQ(rooms_, i);
    while (shares_.size() > 1) shares_.pop_back();
  }
}

TEST_F(HeldAnswersTest, SharesThatGoGiveBackWhatTheyHeld) {
  EXPECT_TRUE(Read(1, 60'000));
  EXPECT_TRUE(Read(2, 60'000));
  EXPECT_EQ(done, (Done{"keep 1", "end 1"}));
  shares_.clear();
  EXPECT_EQ(answers_.bytes(), 0U);
}

}  // namespace
}  // namespace mneme
