// A disk that fills: what fills it is refused before it is full, what makes room is taken, and everything is taken
// again by itself once there is room.
#include "engine/disk_room.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <limits>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/error_reason.h"
#include "engine/working_memory.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ColumnsOf;
using testing::ExactQuery;
using testing::PlainEntry;
using testing::TestDeployment;
using testing::TokenMemory;

constexpr uint64_t kReserve = 1'000'000;

void ExpectLow(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(ReasonOf(status), reason::kStorageLow);
  EXPECT_THAT(std::string(status.message()), HasSubstr("--disk-reserve"));
}

// A disk is looked at now and then.
bool Becomes(const std::function<bool()>& condition) {
  for (int tries = 0; tries < 4'000 && !condition(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return condition();
}

class DiskRoomTest : public ::testing::Test {
 protected:
  DiskRoom Disk(uint64_t reserve_bytes) {
    return DiskRoom("/data", reserve_bytes, [this](const std::string& path) {
      EXPECT_EQ(path, "/data");
      ++looks_;
      return known_ ? std::optional<uint64_t>(free_) : std::nullopt;
    });
  }

  std::atomic<uint64_t> free_{kReserve};
  std::atomic<bool> known_{true};
  std::atomic<int> looks_{0};
};

TEST_F(DiskRoomTest, RefusesBelowTheReserveAndNotFromItOn) {
  free_ = kReserve - 1;
  const DiskRoom disk = Disk(kReserve);
  const absl::Status refused = disk.Check();
  ExpectLow(refused);
  EXPECT_THAT(std::string(refused.message()), AllOf(HasSubstr("999999 bytes free"), HasSubstr("1000000 are kept"),
                                                    HasSubstr("writes are taken again")));
  free_ = kReserve;
  EXPECT_TRUE(Becomes([&] { return disk.Check().ok(); }));
  free_ = 0;
  EXPECT_TRUE(Becomes([&] { return !disk.Check().ok(); }));
}

TEST_F(DiskRoomTest, AnIndexNeedsRoomBesideTheReserve) {
  free_ = kReserve + 500;
  const DiskRoom disk = Disk(kReserve);
  EXPECT_TRUE(disk.Check().ok());
  EXPECT_TRUE(disk.CheckFor(500).ok());
  ExpectLow(disk.CheckFor(std::numeric_limits<uint64_t>::max()));
  const absl::Status refused = disk.CheckFor(501);
  ExpectLow(refused);
  EXPECT_THAT(std::string(refused.message()), AllOf(HasSubstr("an index of about 501"), Not(HasSubstr("writes"))));
}

TEST_F(DiskRoomTest, WithoutAReserveTheDiskIsNotEvenLookedAt) {
  free_ = 0;
  const DiskRoom disk = Disk(0);
  EXPECT_TRUE(disk.Check().ok());
  EXPECT_TRUE(disk.CheckFor(std::numeric_limits<uint64_t>::max()).ok());
  EXPECT_EQ(looks_, 0);
}

TEST_F(DiskRoomTest, OfADiskThatCannotBeAskedNothingIsRefused) {
  free_ = 0;
  known_ = false;
  const DiskRoom disk = Disk(kReserve);
  EXPECT_TRUE(disk.Check().ok());
  EXPECT_TRUE(DiskRoom("/no/such/directory", std::numeric_limits<uint64_t>::max()).Check().ok());
}

TEST_F(DiskRoomTest, TheFileSystemIsAskedUnlessToldOtherwise) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(DiskRoom(directory.path(), 1).Check().ok());
  ExpectLow(DiskRoom(directory.path(), std::numeric_limits<uint64_t>::max()).Check());
}

TEST_F(DiskRoomTest, HoweverOftenItIsAskedTheDiskIsLookedAtEveryTenthOfASecond) {
  const DiskRoom disk = Disk(kReserve);
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&disk] {
      for (int asked = 0; asked < 10'000; ++asked) (void)disk.Check();
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_LE(looks_, 2 + took / std::chrono::milliseconds(100));
}

class ShortOfDiskTest : public ::testing::Test {
 protected:
  ShortOfDiskTest() : deployment_(2, Options()), memory_(deployment_.Create(TokenMemory("wiki", 2))) {}

  DeploymentOptions Options() {
    DeploymentOptions options;
    options.search_threads = 2;
    options.disk_reserve_bytes = kReserve;
    options.free_disk = [this](const std::string&) { return std::optional<uint64_t>(free_); };
    return options;
  }
  // And until the deployment has noticed.
  void Free(uint64_t bytes) {
    free_ = bytes;
    ASSERT_TRUE(Becomes([&] { return deployment_->Statistics().write_status.ok() == (bytes >= kReserve); }));
  }
  absl::Status Insert(EntryId first, size_t count) {
    std::vector<PlainEntry> entries;
    for (EntryId id = first; id < first + count; ++id) {
      entries.push_back({.id = id, .key = {static_cast<float>(id % 7), 1.0F}, .token = 1});
    }
    return deployment_.Insert(memory_, ColumnsOf(memory_->spec, entries)).status();
  }
  absl::Status Apply(StateAction action) {
    std::promise<absl::Status> told;
    deployment_->working_memory().Apply(memory_, {{{"agent", "draft", std::move(action)}}}, {},
                                        [&](const auto& joined) { told.set_value(joined.status()); });
    return told.get_future().get();
  }
  absl::Status Reset() {
    std::promise<absl::Status> told;
    deployment_->working_memory().Reset(memory_, {{"agent"}}, {},
                                        [&](const auto& joined) { told.set_value(joined.status()); });
    return told.get_future().get();
  }

  std::atomic<uint64_t> free_{kReserve};
  TestDeployment deployment_;
  MemoryHandle memory_;
};

TEST_F(ShortOfDiskTest, WhatFillsTheDiskIsRefusedUntilThereIsRoomAndWhatMakesRoomIsTaken) {
  ASSERT_TRUE(Insert(0, 50).ok());
  ASSERT_TRUE(Apply(RegisterPut{"draft"}).ok());
  Free(kReserve - 1);
  ExpectLow(deployment_->Statistics().write_status);
  ExpectLow(Insert(50, 10));
  ExpectLow(Apply(RegisterPut{"longer"}));
  EXPECT_TRUE(deployment_.DeleteIds(memory_, {1, 2, 3}).ok());
  EXPECT_TRUE(Apply(RemoveState{}).ok());
  EXPECT_TRUE(Reset().ok());
  EXPECT_EQ(deployment_.Count(memory_), 47U);
  EXPECT_TRUE(deployment_.Query(memory_, ExactQuery({1.0F, 1.0F}, 1, 5)).ok());
  Free(kReserve);
  EXPECT_TRUE(Insert(50, 10).ok());
  EXPECT_TRUE(Apply(RegisterPut{"longer"}).ok());
  EXPECT_EQ(deployment_.Count(memory_), 57U);
}

TEST_F(ShortOfDiskTest, APruneIsTaken) {
  ASSERT_TRUE(Insert(0, 60).ok());
  Free(0);
  PruneCommand command;
  command.neighbours = 9;
  command.exact = true;
  const auto pruned = deployment_->Prune(memory_, std::move(command));
  ASSERT_TRUE(pruned.ok()) << pruned.status();
  EXPECT_GT(pruned->merged, 0U);
  EXPECT_EQ(deployment_.Count(memory_), 60 - pruned->merged);
}

TEST_F(ShortOfDiskTest, AnIndexThatWouldLeaveLessThanTheReserveWaitsForRoom) {
  ASSERT_TRUE(Insert(0, 2'000).ok());
  ASSERT_TRUE(Becomes([&] { return deployment_->Statistics().memories.tail_rows == 2'000; }));
  const absl::Status refused = deployment_.Build(memory_);
  ExpectLow(refused);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("an index"));
  EXPECT_TRUE(Insert(2'000, 1).ok()) << "the reserve is whole";
  free_ = 2 * kReserve;
  EXPECT_TRUE(Becomes([&] { return deployment_.Build(memory_).ok(); }));
  EXPECT_GT(deployment_->Statistics().memories.segments, 0U);
}

}  // namespace
}  // namespace mneme
