// Sessions of a real deployment, with verbs.
#ifndef MNEME_TESTS_ENGINE_WORKING_MEMORY_FIXTURE_H_
#define MNEME_TESTS_ENGINE_WORKING_MEMORY_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/expiry_queue.h"
#include "engine/routing.h"
#include "engine/working_memory.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme::testing {

// A deployment of as many shards as the parameter says, with one memory.
class WorkingMemoryTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  WorkingMemoryTest() : deployment_(GetParam()) { memory_ = deployment_.Create(TokenMemory("wiki", 2)); }

  absl::StatusOr<JoinedStates> Apply(std::vector<StateCommand> commands, std::string request_id = "") {
    std::promise<absl::StatusOr<JoinedStates>> promise;
    deployment_->working_memory().Apply(memory_, {std::move(commands)},
                                        {std::move(request_id), Durability::kWritten},
                                        [&](auto joined) { promise.set_value(std::move(joined)); });
    return promise.get_future().get();
  }
  StateAnswer One(const std::string& session, const std::string& name, StateAction action) {
    const auto joined = Apply({{session, name, std::move(action)}});
    EXPECT_TRUE(joined.ok()) << joined.status();
    return joined.ok() ? joined->outcome.answers[0] : StateAnswer{};
  }
  StateAnswer Read(const std::string& session, const std::string& name, StateAction action = RegisterGet{}) {
    auto outcome = deployment_->working_memory().Read(memory_, {{{session, name, std::move(action)}}}, {});
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.ok() ? outcome->answers[0] : StateAnswer{};
  }
  uint64_t Reset(std::vector<std::string> sessions, std::string request_id = "") {
    std::promise<absl::StatusOr<JoinedStates>> promise;
    deployment_->working_memory().Reset(memory_, {std::move(sessions)}, {std::move(request_id), Durability::kSync},
                                        [&](auto joined) { promise.set_value(std::move(joined)); });
    const auto joined = promise.get_future().get();
    EXPECT_TRUE(joined.ok()) << joined.status();
    return joined.ok() ? joined->outcome.count : 0;
  }
  absl::Status Fork(ForkSession fork) {
    std::promise<absl::StatusOr<JoinedStates>> promise;
    deployment_->working_memory().Fork(memory_, std::move(fork), {"", Durability::kWritten},
                                       [&](auto joined) { promise.set_value(std::move(joined)); });
    return promise.get_future().get().status();
  }
  absl::Status Put(PutSession put) {
    std::promise<absl::StatusOr<JoinedStates>> promise;
    deployment_->working_memory().Put(memory_, std::move(put), {"", Durability::kWritten},
                                      [&](auto joined) { promise.set_value(std::move(joined)); });
    return promise.get_future().get().status();
  }
  static std::string RootOf(const std::string& session) { return std::string(RootOfSession(session)); }
  std::vector<std::string> List(const std::string& prefix = "", size_t limit = 1000) {
    std::vector<std::string> names;
    std::string after;
    do {
      const auto page = deployment_->working_memory().List(memory_, prefix, after, limit, {});
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      for (const auto& each : page->sessions) names.push_back(each.session);
      after = page->next;
    } while (!after.empty());
    return names;
  }

  // A register of a session that goes at `expiry_ms`; 0: never.
  void PutExpiring(const std::string& session, const std::string& name, const std::string& value, int64_t expiry_ms) {
    std::promise<absl::StatusOr<JoinedStates>> promise;
    deployment_->working_memory().Apply(memory_, {{{session, name, RegisterPut{value}}}, expiry_ms},
                                        {"", Durability::kWritten},
                                        [&](auto joined) { promise.set_value(std::move(joined)); });
    ASSERT_TRUE(promise.get_future().get().ok());
  }
  ExpiredStates Expired() {
    const DeploymentStatistics statistics = deployment_->Statistics();
    return {statistics.expired_sessions, statistics.expired_states};
  }
  void AwaitExpired(ExpiredStates expected) {
    for (int i = 0; i < 600; ++i) {
      if (Expired().sessions >= expected.sessions && Expired().states >= expected.states) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(Expired().sessions, expected.sessions);
    EXPECT_EQ(Expired().states, expected.states);
  }
  // Until the background has removed everything that expired so long ago that it must be gone: what expires goes in
  // the order of its time, so that these sessions, some of them on each shard, go last.
  void AwaitNothingDue() {
    const int64_t due_ms = deployment_.clock().NowMs() - kExpirySlackMs;
    const ExpiredStates before = Expired();
    for (int i = 0; i < 32; ++i) PutExpiring(absl::StrCat("marker", i), "x", "1", due_ms);
    for (int i = 0; i < 600 && Expired().sessions < before.sessions + 32; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_EQ(Expired().sessions, before.sessions + 32);
  }
  // Closes the deployment, and calls `look` with the store of each shard.
  void LookIntoStores(const std::function<void(EntryStore&)>& look) {
    deployment_.Close();
    for (uint32_t shard = 0; shard < GetParam(); ++shard) {
      StoreResources resources(1 << 20, 1 << 20);
      auto store =
          OpenRocksDbEntryStore({deployment_.path(absl::StrCat("shard-00", shard, "/db")), &resources, nullptr});
      ASSERT_TRUE(store.ok()) << store.status();
      look(**store);
    }
  }
  // Nothing is left of any session in any store. Closes the deployment.
  void ExpectNothingStored() {
    LookIntoStores([](EntryStore& store) {
      EXPECT_THAT(*store.ReadStates()->Memories(), ::testing::IsEmpty());
      EXPECT_THAT(*store.ReadStates()->ScanExpiries(0, 10), ::testing::IsEmpty());
    });
  }
  // Puts a state beside the planner, as it is stored, where its session is; opens the deployment again.
  void Plant(const std::string& session, const std::string& name, StateRecord state) {
    const auto record = std::make_shared<const StateRecord>(std::move(state));
    size_t planted = 0;
    LookIntoStores([&](EntryStore& store) {
      const auto found = store.ReadStates()->FindSession({memory_->number, session});
      if (!found->has_value()) return;
      StoreBatch batch;
      batch.sequence = store.applied();
      batch.states.states.emplace_back(StateKey{{memory_->number, (*found)->number}, name}, record);
      ASSERT_TRUE(store.Commit(batch).ok());
      ASSERT_TRUE(store.Sync().ok());
      ++planted;
    });
    ASSERT_EQ(planted, 1U);
    deployment_.Open();
    memory_ = deployment_.Find("wiki");
  }

  TestDeployment deployment_;
  MemoryHandle memory_;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_WORKING_MEMORY_FIXTURE_H_
