// Deployments that are restored onto another number of shards, what a client sees of them, and what he asks.
#ifndef MNEME_TESTS_ENGINE_RESTORE_FIXTURE_H_
#define MNEME_TESTS_ENGINE_RESTORE_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/limits.h"
#include "engine/backups.h"
#include "engine/remember.h"
#include "engine/routing.h"
#include "engine/working_memory.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/storage/test_scale.h"

namespace mneme::testing {

inline constexpr uint32_t kDimension = 3;
inline constexpr uint64_t kIds = 300;

inline bool Go(const BackupProgress&) { return true; }

// --- What a client sees ----------------------------------------------------------------------------------------------

inline std::string TextOf(PartitionId partition, const EntryView& entry) {
  const Attributes& a = entry.attributes;
  return absl::StrCat(partition, "/", entry.id, " ", absl::BytesToHexString(std::string(entry.key)), " ",
                      absl::BytesToHexString(std::string(entry.value)), " ", std::bit_cast<uint32_t>(a.weight), " ",
                      std::bit_cast<uint64_t>(a.score), " ", a.label, " ", a.source, " ", a.position, " ",
                      a.expiry_ms, " ", a.created_ms);
}

// The entries of a memory, in the order in which their shard got them where that is one shard. Each is found by its id.
inline std::vector<std::string> Entries(TestDeployment& deployment, const MemoryHandle& memory) {
  std::vector<std::string> entries;
  std::map<PartitionId, std::vector<EntryId>> ids;
  ScanCommand scan;
  scan.partitions.all = true;
  scan.with_keys = true;
  scan.page_size = 100;
  do {
    const auto page = deployment->Scan(memory, scan);
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) break;
    for (size_t i = 0; i < page->entries.count; ++i) {
      entries.push_back(TextOf(page->partitions[i], page->entries.At(i)));
      ids[page->partitions[i]].push_back(page->entries.ids[i]);
    }
    scan.from = page->next;
  } while (scan.from.has_value());
  for (const auto& [partition, of_partition] : ids) {
    std::vector<bool> found;
    const auto got = deployment->Get(memory, partition, of_partition, false, {}, {}, found);
    EXPECT_TRUE(got.ok() && got->ids == of_partition) << memory->spec.name << "/" << partition;
  }
  if (memory->spec.spread == Spread::kAll) std::sort(entries.begin(), entries.end());
  return entries;
}

inline std::string Nearest(TestDeployment& deployment, const MemoryHandle& memory) {
  std::string text;
  for (const bool all : {false, true}) {
    QueryCommand command = ExactQuery({1, 2, 3, -4, 0, 2}, 2, 40);
    command.partitions.all = all;
    command.with_keys = true;
    command.with_successors = true;
    const auto found = deployment.Query(memory, std::move(command));
    EXPECT_TRUE(found.ok()) << found.status();
    if (!found.ok()) continue;
    const NeighbourColumns& near = found->neighbours;
    for (size_t i = 0; i < near.size(); ++i) {
      absl::StrAppend(&text, near.partitions[i], "/", near.ids[i], " ", std::bit_cast<uint64_t>(near.scores[i]), " ",
                      absl::BytesToHexString(std::string(near.values.At(i))), " next ", found->successors[i], " ",
                      static_cast<int>(found->has_successor[i]), "\n");
    }
    absl::StrAppend(&text, absl::BytesToHexString(std::string(near.keys.begin(), near.keys.end())), " ",
                    absl::StrJoin(near.offsets, ","), "\n");
  }
  return text;
}

inline std::string Sessions(TestDeployment& deployment, const MemoryHandle& memory) {
  std::string text;
  std::string after;
  do {
    const auto page = deployment->working_memory().List(memory, "", after, 7, {});
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) break;
    for (const SessionDescription& each : page->sessions) {
      const auto bytes = deployment->working_memory().Get(memory, each.session, {});
      EXPECT_TRUE(bytes.ok()) << each.session << ": " << bytes.status();
      absl::StrAppend(&text, each.session, " ", each.states, " ", each.bytes, " ", each.expiry_ms, " ",
                      absl::BytesToHexString(bytes.value_or("")), "\n");
    }
    after = page->next;
  } while (!after.empty());
  return text;
}

inline std::string Digest(TestDeployment& deployment) {
  std::string text;
  const auto memories = deployment->ListMemories();
  for (const MemoryHandle& memory : *memories) {
    absl::StrAppend(&text, "memory ", memory->number, " ", memory->spec.name, " ",
                    deployment.Count(memory, {.partitions = {}, .all = true}), "\n",
                    absl::StrJoin(Entries(deployment, memory), "\n"), "\n");
    if (memory->spec.dimension == kDimension) absl::StrAppend(&text, Nearest(deployment, memory));
    absl::StrAppend(&text, Sessions(deployment, memory));
  }
  const auto aliases = deployment->ListAliases();
  for (const Alias& alias : *aliases) absl::StrAppend(&text, alias.name, " -> ", alias.memory->spec.name, "\n");
  return text;
}

// --- What a client asks ----------------------------------------------------------------------------------------------

inline absl::StatusOr<JoinedStates> Apply(TestDeployment& deployment, std::vector<StateCommand> commands,
                                   std::string request_id = "", int64_t session_expiry_ms = 0) {
  std::promise<absl::StatusOr<JoinedStates>> promise;
  deployment->working_memory().Apply(deployment.Find("wiki"), {std::move(commands), session_expiry_ms},
                                     {std::move(request_id), Durability::kWritten},
                                     [&](auto joined) { promise.set_value(std::move(joined)); });
  return promise.get_future().get();
}

inline absl::StatusOr<JoinedStates> Reset(TestDeployment& deployment, std::vector<std::string> sessions,
                                   std::string request_id = "") {
  std::promise<absl::StatusOr<JoinedStates>> promise;
  deployment->working_memory().Reset(deployment.Find("wiki"), {std::move(sessions)},
                                     {std::move(request_id), Durability::kWritten},
                                     [&](auto joined) { promise.set_value(std::move(joined)); });
  return promise.get_future().get();
}

inline absl::StatusOr<JoinedStates> Fork(TestDeployment& deployment, ForkSession fork, std::string request_id = "") {
  std::promise<absl::StatusOr<JoinedStates>> promise;
  deployment->working_memory().Fork(deployment.Find("wiki"), std::move(fork),
                                    {std::move(request_id), Durability::kWritten},
                                    [&](auto joined) { promise.set_value(std::move(joined)); });
  return promise.get_future().get();
}

inline absl::StatusOr<JoinedStates> PutWhole(TestDeployment& deployment, PutSession put, std::string request_id) {
  std::promise<absl::StatusOr<JoinedStates>> promise;
  deployment->working_memory().Put(deployment.Find("wiki"), std::move(put),
                                   {std::move(request_id), Durability::kWritten},
                                   [&](auto joined) { promise.set_value(std::move(joined)); });
  return promise.get_future().get();
}

inline absl::StatusOr<RememberOutcome> Observe(TestDeployment& deployment, std::vector<float> queries,
                                        std::vector<int64_t> labels, std::string request_id) {
  RememberCommand command;
  command.batch.count = labels.size();
  command.batch.labels = std::move(labels);
  command.batch.queries.Resize(queries.size() * sizeof(float));
  std::memcpy(command.batch.queries.data(), queries.data(), queries.size() * sizeof(float));
  command.request_id = std::move(request_id);
  std::promise<absl::StatusOr<RememberOutcome>> promise;
  deployment->Remember(deployment.Find("slots"), std::move(command),
                       [&](auto outcome) { promise.set_value(std::move(outcome)); });
  return promise.get_future().get();
}

inline MemorySpec OnOneShard(const std::string& name, uint64_t capacity) {
  MemorySpec spec = TokenMemory(name, kDimension);
  spec.spread = Spread::kOne;
  spec.capacity = capacity;
  return spec;
}

inline void CreateMemories(TestDeployment& deployment) {
  deployment.Create(TokenMemory("dropped", 2));
  MemorySpec wiki = TokenMemory("wiki", kDimension);
  wiki.key_dtype = Dtype::kF16;
  deployment.Create(wiki);
  deployment.Create(OnOneShard("ring", 40));
  deployment.Create(OnOneShard("slots", 4));
  deployment.Create(OnOneShard("one", 0));
  ASSERT_TRUE(deployment->SetAlias({"live", "wiki", std::nullopt}).ok());
  ASSERT_TRUE(deployment.Insert(deployment.Find("dropped"), ColumnsOf(TokenMemory("", 2), {{1, {1, 2}, 3}})).ok());
  ASSERT_TRUE(deployment->DropMemory("dropped").ok());
}

class RestoreTest : public ::testing::Test {
 protected:
  static DeploymentOptions Options(const std::string& backups) {
    DeploymentOptions options;
    options.search_threads = 2;
    options.backup_dir = backups;
    return options;
  }
  std::unique_ptr<TestDeployment> Make(uint32_t shards) {
    return std::make_unique<TestDeployment>(shards, Options(backups_));
  }
  // Backs `from` up, and restores that as one of so many shards.
  std::unique_ptr<TestDeployment> Restored(TestDeployment& from, uint32_t shards) {
    const auto made = from->backups()->Create(0, Go);
    EXPECT_TRUE(made.ok()) << made.status();
    auto restored = Make(shards);
    restored->clock().Set(from.clock().NowMs());
    restored->Close();
    std::filesystem::remove_all(restored->path(""));
    const auto done = RestoreBackup(backups_, 0, {restored->path(""), PlacementOn(shards)}, Go);
    EXPECT_TRUE(done.ok()) << done.status();
    restored->Open();
    return restored;
  }

  uint64_t Any(uint64_t bound) { return random_() % bound; }
  PlainEntry AnyEntry(EntryId id) {
    PlainEntry entry{id, {static_cast<float>(Any(9)), static_cast<float>(Any(9)), 1}, static_cast<Token>(Any(1000))};
    Attributes& a = entry.attributes;
    if (Any(3) == 0) a.weight = static_cast<float>(1 + Any(9)) / 7.0F;
    if (Any(3) == 0) a.score = Any(2) == 0 ? -0.0 : 1.0 / static_cast<double>(1 + Any(99));
    if (Any(3) == 0) a.label = static_cast<int64_t>(Any(9)) - 4;
    if (Any(2) == 0) a.source = Any(6);
    if (Any(3) == 0) a.position = random_();
    if (Any(4) == 0) a.expiry_ms = 1'000'000'000 + static_cast<int64_t>(Any(9));
    return entry;
  }
  std::vector<PlainEntry> AnyEntries() {
    std::vector<PlainEntry> entries;
    const bool dense = Any(3) == 0;
    const EntryId first = Any(kIds);
    for (uint64_t i = 1 + Any(40); i > 0; --i) entries.push_back(AnyEntry(dense ? first + 40 - i : Any(kIds)));
    return entries;
  }
  EntryId AnyGiven() { return given_.empty() ? ServerId(7, 0) : given_[Any(given_.size())]; }

  // One random write, the same to all of `deployments`; `give_ids`: one that the server gives ids in is among them.
  void Step(const std::vector<TestDeployment*>& deployments, bool give_ids) {
    const PartitionId partition = std::vector<PartitionId>{0, 0, 0, 1, 2, 7}[Any(6)];
    const std::string name = Any(5) == 0 ? "ring" : Any(9) == 0 ? "one" : "wiki";
    const std::string session = absl::StrCat("s", Any(12), Any(3) == 0 ? absl::StrCat("/", Any(3)) : "");
    const std::string request = Any(2) == 0 ? absl::StrCat("r", random_()) : "";
    std::function<void(TestDeployment&)> work;
    switch (const uint64_t kind = Any(give_ids ? 12 : 11); kind) {
      case 0: case 1: case 2: case 11: {
        const bool with_ids = kind != 11;
        work = [=, this, entries = AnyEntries()](TestDeployment& to) {
          const MemoryHandle memory = to.Find(name);
          const auto done = to.Insert(memory, ColumnsOf(memory->spec, entries, with_ids), partition, request);
          ASSERT_TRUE(done.ok()) << done.status();
          for (const EntryId id : done->given_ids) {
            EXPECT_TRUE(all_given_.insert({name, partition, id}).second) << name << " " << id;
            given_.push_back(id);
          }
        };
        break;
      }
      case 3: case 4: {
        DeleteCommand command;
        command.partitions.partitions = {partition};
        command.request_id = request;
        if (kind == 3) {
          command.ids = std::vector<EntryId>{Any(kIds), Any(kIds), AnyGiven(), AnyGiven()};
        } else {
          command.filter = RowFilter{};
          command.filter->sources = std::vector<uint64_t>{Any(6)};
        }
        work = [=](TestDeployment& to) { ASSERT_TRUE(to.Delete(to.Find(name), command).ok()); };
        break;
      }
      case 5:
        work = [=](TestDeployment& to) {
          DeleteCommand command;
          command.partitions.partitions = {partition == 0 ? 7 : partition};
          command.everything = true;
          ASSERT_TRUE(to.Delete(to.Find(name), command).ok());
        };
        break;
      case 6: case 7: {
        std::vector<StateCommand> commands;
        for (uint64_t i = 1 + Any(3); i > 0; --i) {
          commands.push_back({absl::StrCat("s", Any(12)), absl::StrCat("r", Any(3)),
                              RegisterPut{std::string(Any(50), 'v'), Any(4) == 0 ? int64_t{2'000'000'000} : 0}});
          commands.push_back({session, "counts", CountersAdd{{static_cast<uint32_t>(Any(9))}, {7}, {}}});
        }
        const int64_t expiry_ms = Any(4) == 0 ? 3'000'000'000 : 0;
        work = [=](TestDeployment& to) { ASSERT_TRUE(Apply(to, commands, request, expiry_ms).ok()); };
        break;
      }
      case 8: {
        const std::string root(RootOfSession(session));
        const std::string to_session = absl::StrCat(root, "/", Any(4));
        work = [=](TestDeployment& to) { (void)Fork(to, {root, to_session, true}, request); };
        break;
      }
      case 9:
        work = [=](TestDeployment& to) { ASSERT_TRUE(Reset(to, {session, "s3"}, request).ok()); };
        break;
      default: {
        const std::vector<StateCommand> commands = {{session, "many", CountersAdd{Numbers(6000), Numbers(6000), {}}},
                                                    {session, "r1", RemoveState{}}};
        work = [=](TestDeployment& to) { ASSERT_TRUE(Apply(to, commands, request).ok()); };
        break;
      }
    }
    for (TestDeployment* each : deployments) work(*each);
  }
  static std::vector<uint32_t> Numbers(uint32_t count) {
    std::vector<uint32_t> numbers(count);
    for (uint32_t i = 0; i < count; ++i) numbers[i] = i * 977;
    return numbers;
  }

  TemporaryDirectory directory_;
  const std::string backups_ = directory_ / "backups";
  std::mt19937_64 random_{TestSeed()};
  std::vector<EntryId> given_;
  std::set<std::tuple<std::string, PartitionId, EntryId>> all_given_;
};

// Of how many shards it was, and onto how many it is restored.
inline auto ShardPairs() {
  return ::testing::Values(std::tuple(1, 2), std::tuple(1, 4), std::tuple(2, 1), std::tuple(2, 4), std::tuple(4, 1),
                           std::tuple(4, 2), std::tuple(2, 2));
}

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_RESTORE_FIXTURE_H_
