// Receipts through a front end, over replicas that say what a test wants: that lag, have forgotten, are away or wrong.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cluster/remote_deployment.h"
#include "common/error_reason.h"
#include "common/mutex.h"
#include "engine/flat_commands.h"
#include "mneme/internal/v1/shard.grpc.pb.h"
#include "tests/cluster/told_names.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/engine/memory_log.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MemoryLog;
using testing::ToldNames;

namespace wire = internal::v1;

constexpr uint64_t kDeployment = 7;
constexpr MemoryNumber kMemory = 3;

using Receipts = std::map<Sequence, ReceiptStatus>;

ReceiptStatus Status(ErasureState state, uint64_t deleted = 2) {
  ReceiptStatus status;
  status.state = state;
  status.deleted = deleted;
  status.deleted_at_ms = 1'000;
  if (state >= ErasureState::kIndex) status.indexed_at_ms = 2'000;
  if (state >= ErasureState::kRocksDb) status.erased_at_ms = 3'000;
  status.partitions.partitions = {4};
  return status;
}
const ReceiptStatus kHidden = Status(ErasureState::kHidden);
const ReceiptStatus kErased = Status(ErasureState::kRocksDb);

// One replica of shard `shard`.
class Replica final : public wire::ShardService::Service {
 public:
  Replica(uint32_t shard, wire::CatalogueService::Service* names) : shard_(shard) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    if (names != nullptr) builder.RegisterService(names);
    server_ = builder.BuildAndStart();
  }
  ~Replica() override { server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(100)); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  // `later`: what it applies once it is to wait for more than it has.
  void Have(Receipts now, Receipts later = {}) {
    MutexLock lock(&mutex_);
    has_ = std::move(now);
    later_ = std::move(later);
    asked_ = 0;
  }
  void BeAway() { away_ = true; }
  // What is wrong with its pages from now on.
  void Spoil(std::function<void(ReceiptPage&)> spoil) {
    MutexLock lock(&mutex_);
    spoil_ = std::move(spoil);
  }
  int asked() {
    MutexLock lock(&mutex_);
    return asked_;
  }

  grpc::Status ListReceipts(grpc::ServerContext*, const wire::Call* call, wire::Answer* answer) override {
    MemoryNumber memory = 0;
    Sequence first = 0;
    uint64_t limit = 0;
    Version at_least;
    if (!Unflat(call->body(), memory, first, limit, at_least).ok() || memory != kMemory) {
      return {grpc::StatusCode::DATA_LOSS, "no question"};
    }
    if (away_) return {grpc::StatusCode::UNAVAILABLE, "it is away"};
    MutexLock lock(&mutex_);
    ++asked_;
    WaitFor(at_least);
    ReceiptPage page;
    for (auto at = has_.lower_bound(first); at != has_.end(); ++at) {
      if (page.items.size() == limit) {
        page.next = ScanPosition{kMemory, shard_, 0, at->first};
        break;
      }
      page.items.push_back({Version{kMemory, {{shard_, at->first}}}, at->second});
    }
    if (spoil_ != nullptr) spoil_(page);
    answer->set_body(Flat(page));
    return grpc::Status::OK;
  }
  grpc::Status Receipt(grpc::ServerContext*, const wire::Call* call, wire::Answer* answer) override {
    MemoryNumber memory = 0;
    Version receipt;
    if (!Unflat(call->body(), memory, receipt).ok() || receipt.parts.size() != 1) {
      return {grpc::StatusCode::DATA_LOSS, "no receipt"};
    }
    if (away_) return {grpc::StatusCode::UNAVAILABLE, "it is away"};
    MutexLock lock(&mutex_);
    WaitFor(receipt);
    const auto at = has_.find(receipt.parts.front().sequence);
    if (at == has_.end()) return {grpc::StatusCode::NOT_FOUND, "no such receipt"};
    answer->set_body(Flat(at->second));
    return grpc::Status::OK;
  }

 private:
  void WaitFor(const Version& version) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const Sequence applied = has_.empty() ? 0 : has_.rbegin()->first;
    if (version.parts.empty() || version.parts.front().sequence <= applied) return;
    has_.merge(later_);
    later_.clear();
  }

  const uint32_t shard_;
  int port_ = 0;
  std::atomic<bool> away_{false};
  Mutex mutex_;
  Receipts has_ ABSL_GUARDED_BY(mutex_);
  Receipts later_ ABSL_GUARDED_BY(mutex_);
  std::function<void(ReceiptPage&)> spoil_ ABSL_GUARDED_BY(mutex_);
  int asked_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<grpc::Server> server_;
};

// Two shards of two replicas each.
class RemoteReceiptsTest : public ::testing::Test {
 protected:
  RemoteReceiptsTest() {
    MemoryRecord record;
    record.number = kMemory;
    record.spec = testing::TokenMemory("wiki", 2);
    memory_ = std::make_shared<const MemoryRecord>(record);
    RemoteDeploymentOptions options;
    options.shards = {{first_.address(), second_.address()}, {other_first_.address(), other_second_.address()}};
    options.logs = {std::make_shared<MemoryLog>(), std::make_shared<MemoryLog>()};
    options.search_threads = 1;
    deployment_ = RemoteDeployment::Open(std::move(options)).value();
  }

  static CallLimits Soon() {
    CallLimits limits;
    limits.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    return limits;
  }
  absl::StatusOr<ReceiptPage> Page(const std::optional<ScanPosition>& from, size_t limit) {
    return deployment_->ListReceipts(memory_, from, limit, Soon());
  }
  // "SHARD:SEQUENCE" of all, page by page.
  std::vector<std::string> Listed(size_t limit) {
    std::vector<std::string> listed;
    std::optional<ScanPosition> from;
    do {
      const auto page = Page(from, limit);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) return {};
      EXPECT_LE(page->items.size(), limit);
      if (page->next.has_value()) {
        EXPECT_EQ(page->items.size(), limit) << "there is more";
      }
      for (const ReceiptPage::Item& item : page->items) {
        const Version::Part& part = item.receipt.parts.front();
        listed.push_back(absl::StrCat(part.shard, ":", part.sequence));
      }
      from = page->next;
    } while (from.has_value());
    return listed;
  }
  absl::Status Refused() { return Page(std::nullopt, 10).status(); }

  MemoryHandle memory_;
  ToldNames names_{kDeployment, testing::NoNames()};
  Replica first_{0, &names_};
  Replica second_{0, &names_};
  Replica other_first_{1, nullptr};
  Replica other_second_{1, nullptr};
  std::unique_ptr<RemoteDeployment> deployment_;
};

TEST_F(RemoteReceiptsTest, EachIsTheLeastOfAllReplicasAsItIsByItself) {
  first_.Have({{5, kErased}, {9, kErased}});
  second_.Have({{5, Status(ErasureState::kIndex)}, {9, kErased}});
  other_first_.Have({{2, kHidden}});
  other_second_.Have({{2, kErased}});
  const auto page = Page(std::nullopt, 10);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_FALSE(page->next.has_value());
  std::vector<ErasureState> states;
  for (const ReceiptPage::Item& item : page->items) {
    states.push_back(item.status.state);
    EXPECT_EQ(item.status.deleted, 2U) << "each replica removed the same two";
    const auto alone = deployment_->Receipt(memory_, item.receipt, Soon());
    ASSERT_TRUE(alone.ok()) << alone.status();
    EXPECT_EQ(Flat(*alone), Flat(item.status));
  }
  EXPECT_THAT(states, ElementsAre(ErasureState::kIndex, ErasureState::kRocksDb, ErasureState::kHidden));
  EXPECT_EQ(page->items.front().status.indexed_at_ms, 2'000);
  EXPECT_EQ(page->items.front().status.erased_at_ms, 0) << "not at all replicas yet";
  // A deletion that went to both shards, by the receipt that it was given.
  const auto both = deployment_->Receipt(memory_, Version{kMemory, {{0, 9}, {1, 2}}}, Soon());
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(both->state, ErasureState::kHidden);
  EXPECT_EQ(both->deleted, 4U);
}

TEST_F(RemoteReceiptsTest, PagesGoByShardAndAge) {
  const Receipts some = {{3, kHidden}, {4, kHidden}, {8, kHidden}};
  const Receipts others = {{1, kHidden}, {6, kHidden}};
  for (Replica* const replica : {&first_, &second_}) replica->Have(some);
  for (Replica* const replica : {&other_first_, &other_second_}) replica->Have(others);
  for (size_t limit = 1; limit <= 6; ++limit) {
    EXPECT_THAT(Listed(limit), ElementsAre("0:3", "0:4", "0:8", "1:1", "1:6")) << limit;
  }
  const auto page = Page(std::nullopt, 3);
  ASSERT_TRUE(page.ok() && page->next.has_value()) << page.status();
  EXPECT_EQ(page->next->shard, 1U) << "a full page says whether there is more";
  EXPECT_EQ(page->next->row, 1U);
  first_.Have({});
  second_.Have({});
  EXPECT_THAT(Listed(10), ElementsAre("1:1", "1:6"));
}

TEST_F(RemoteReceiptsTest, OneThatLagsIsWaitedFor) {
  for (const bool first_lags : {true, false}) {
    Replica& ahead = first_lags ? second_ : first_;
    Replica& behind = first_lags ? first_ : second_;
    ahead.Have({{5, kHidden}, {9, kHidden}});
    behind.Have({{5, kHidden}}, {{9, kHidden}});
    EXPECT_THAT(Listed(10), ElementsAre("0:5", "0:9"));
    EXPECT_EQ(ahead.asked(), 1);
    EXPECT_EQ(behind.asked(), 2);
  }
}

TEST_F(RemoteReceiptsTest, WhatComesMeanwhileLosesNothing) {
  first_.Have({{5, kHidden}, {9, kHidden}}, {{12, kHidden}});
  second_.Have({{5, kHidden}}, {{9, kHidden}, {12, kHidden}, {15, kHidden}});
  // The second has 12 when it is waited for, and the first is not asked again for that page. 15 it never has.
  EXPECT_THAT(Listed(10), ElementsAre("0:5", "0:9", "0:12"));
  EXPECT_GT(first_.asked(), 1);
}

TEST_F(RemoteReceiptsTest, WhatOneHasForgottenIsNotListed) {
  Receipts all;
  for (Sequence sequence = 5; sequence < 105; ++sequence) all.emplace(sequence, kHidden);
  for (const size_t limit : {1, 2, 10, 200}) {
    first_.Have(all);
    second_.Have({{103, kHidden}, {104, kHidden}});
    EXPECT_THAT(Listed(limit), ElementsAre("0:103", "0:104")) << limit;
    // A page of what is forgotten, for which who lacks it is asked twice, and one or two of what is there.
    EXPECT_LE(first_.asked(), 3) << limit << ": what is forgotten is passed over at once";
    EXPECT_LE(second_.asked(), 4) << limit;
  }
  const absl::Status alone = deployment_->Receipt(memory_, Version{kMemory, {{0, 5}}}, Soon()).status();
  EXPECT_EQ(alone.code(), absl::StatusCode::kNotFound);
}

TEST_F(RemoteReceiptsTest, AReplicaThatIsAwayIsMissedByWhatAsksItsShard) {
  for (Replica* const replica : {&first_, &second_}) replica->Have({{3, kHidden}, {4, kHidden}});
  other_first_.Have({{1, kHidden}});
  other_second_.BeAway();
  const absl::Status away = Refused();
  EXPECT_EQ(away.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(away), reason::kShardUnavailable);
  EXPECT_THAT(std::string(away.message()), HasSubstr(other_second_.address()));
  const auto page = Page(std::nullopt, 1);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->items.size(), 1U) << "a page of shard 0 alone";
  EXPECT_EQ(deployment_->Receipt(memory_, Version{kMemory, {{1, 1}}}, Soon()).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(RemoteReceiptsTest, APageThatIsNoneIsDamage) {
  const std::vector<std::function<void(ReceiptPage&)>> spoils = {
      [](ReceiptPage& page) { page.items.front().receipt.parts.front().shard = 1; },
      [](ReceiptPage& page) { page.items.front().receipt.parts.clear(); },
      [](ReceiptPage& page) { page.items.front().receipt.memory = kMemory + 1; },
      [](ReceiptPage& page) { page.items.push_back(page.items.front()); },
      [](ReceiptPage& page) { std::swap(page.items[0], page.items[1]); },
      [](ReceiptPage& page) {
        for (Sequence sequence = 5; page.items.size() < 11; ++sequence) {
          page.items.push_back({Version{kMemory, {{0, sequence}}}, kHidden});
        }
      },
      [](ReceiptPage& page) { page.next = ScanPosition{kMemory, 0, 0, 99}; },  // though it is not full
  };
  first_.Have({{3, kHidden}, {4, kHidden}});
  second_.Have({{3, kHidden}, {4, kHidden}});
  for (size_t i = 0; i < spoils.size(); ++i) {
    second_.Spoil(spoils[i]);
    EXPECT_EQ(Refused().code(), absl::StatusCode::kDataLoss) << i;
  }
  // Where the next begins, after a page that is full.
  for (const ScanPosition next : {ScanPosition{kMemory, 1, 0, 9}, ScanPosition{kMemory, 0, 0, 4}}) {
    second_.Spoil([next](ReceiptPage& page) { page.next = next; });
    EXPECT_EQ(Page(std::nullopt, 2).status().code(), absl::StatusCode::kDataLoss) << next.row;
  }
  second_.Spoil(nullptr);
  EXPECT_THAT(Listed(10), ElementsAre("0:3", "0:4"));
}

TEST_F(RemoteReceiptsTest, WhoWaitsNoLongerIsToldSo) {
  CallLimits limits;
  limits.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1);
  EXPECT_EQ(deployment_->ListReceipts(memory_, std::nullopt, 10, limits).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(Listed(10), IsEmpty());
}

}  // namespace
}  // namespace mneme
