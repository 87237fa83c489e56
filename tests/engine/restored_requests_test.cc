// Requests that are made again after a restore onto another number of shards: they are answered as they were, and not
// done twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/earlier_requests.h"
#include "tests/engine/restore_fixture.h"

namespace mneme::testing {
namespace {

namespace fs = std::filesystem;

class RestoredRequestsTest : public RestoreTest,
                             public ::testing::WithParamInterface<std::tuple<uint32_t, uint32_t>> {};
INSTANTIATE_TEST_SUITE_P(Shards, RestoredRequestsTest, ShardPairs());

std::string TextOf(const absl::StatusOr<InsertOutcome>& outcome) {
  if (!outcome.ok()) return outcome.status().ToString();
  return absl::StrCat("inserted ", outcome->inserted, " replaced ", outcome->replaced, " ids ",
                      absl::StrJoin(outcome->given_ids, ","));
}
std::string TextOf(const absl::StatusOr<DeleteOutcome>& outcome) {
  if (!outcome.ok()) return outcome.status().ToString();
  return absl::StrCat("deleted ", outcome->deleted, " absent ", outcome->absent);
}
std::string TextOf(const absl::StatusOr<JoinedStates>& joined) {
  if (!joined.ok()) return joined.status().ToString();
  std::string text = absl::StrCat("count ", joined->outcome.count);
  for (const StateAnswer& answer : joined->outcome.answers) {
    absl::StrAppend(&text, "; ", static_cast<int>(answer.status.code()), " ", answer.found, " ",
                    answer.version, " ", answer.value);
  }
  return text;
}

// A request that says what it was answered; ids of it are the client's unless it says otherwise.
struct Request {
  std::string name;
  std::function<std::string(TestDeployment&, bool& replayed)> make;
  bool gives_ids = false;
};

std::vector<Request> Requests() {
  std::vector<Request> requests;
  const auto insert = [&](const std::string& name, const std::string& memory, PartitionId partition, EntryId first,
                          bool with_ids) {
    requests.push_back({name,
                        [=](TestDeployment& to, bool& replayed) {
                          const MemoryHandle into = to.Find(memory);
                          std::vector<PlainEntry> entries;
                          for (EntryId id = first; id < first + 40; ++id) {
                            entries.push_back({id, {static_cast<float>(id), 1, 2}, 5});
                          }
                          entries.push_back(entries.front());  // a twin
                          const auto done =
                              to.Insert(into, ColumnsOf(into->spec, entries, with_ids), partition, name);
                          replayed = done.ok() && done->replayed;
                          return TextOf(done);
                        },
                        !with_ids});
  };
  insert("spread", "wiki", 0, 10, true);
  insert("partition", "wiki", 7, 20, true);
  insert("ring", "ring", 0, 20, true);
  insert("given", "wiki", 0, 0, false);
  insert("given-partition", "wiki", 2, 0, false);
  const auto erase = [&](const std::string& name, DeleteCommand command) {
    command.request_id = name;
    requests.push_back({name, [=](TestDeployment& to, bool& replayed) {
                          const auto done = to.Delete(to.Find("wiki"), command);
                          replayed = done.ok() && done->replayed;
                          return TextOf(done);
                        }});
  };
  DeleteCommand by_id;
  by_id.ids = std::vector<EntryId>{12, 13, 14, 15, 16, 17, 1000};
  erase("by-id", by_id);
  DeleteCommand by_filter;
  by_filter.partitions.all = true;
  by_filter.filter = RowFilter{};
  by_filter.filter->ids = std::vector<EntryId>{20, 21, 22, 23, 24};
  erase("by-filter", by_filter);
  DeleteCommand partition;
  partition.partitions.partitions = {1};
  partition.everything = true;
  erase("partition-1", partition);
  const auto states = [&](const std::string& name, std::function<absl::StatusOr<JoinedStates>(TestDeployment&)> make) {
    requests.push_back({name, [=](TestDeployment& to, bool& replayed) {
                          const auto done = make(to);
                          replayed = done.ok() && done->replayed;
                          return TextOf(done);
                        }});
  };
  states("apply", [](TestDeployment& to) {
    std::vector<StateCommand> commands;
    for (int i = 0; i < 12; ++i) {
      const std::string session = absl::StrCat("s", i);
      commands.push_back({session, "r", RegisterPut{absl::StrCat("value ", i)}});
      commands.push_back({session, "r", RegisterGet{}});
      commands.push_back({session, "n", CountersAdd{{1}, {2}, {}}});
      // Those of every third fail, and with them what else their session is asked.
      if (i % 3 == 0) commands.push_back({session, "r", RegisterCas{77, "no"}});
    }
    return Apply(to, commands, "apply");
  });
  states("large", [](TestDeployment& to) {
    // Together the answers are too large to be remembered.
    std::vector<StateCommand> commands;
    for (int i = 0; i < 8; ++i) {
      const std::string session = absl::StrCat("s", i);
      commands.push_back({session, "big", RegisterPut{std::string(20'000, 'b')}});
      commands.push_back({session, "big", RegisterGet{}});
      if (i % 3 == 0) commands.push_back({session, "big", RegisterCas{77, "no"}});
    }
    return Apply(to, commands, "large");
  });
  states("reset", [](TestDeployment& to) { return Reset(to, {"x0", "x1", "x2", "x3", "x4", "absent"}, "reset"); });
  states("fork", [](TestDeployment& to) { return Fork(to, {"x5", "x5/a", false}, "fork"); });
  states("put", [](TestDeployment& to) {
    PutSession put;
    put.session = "x6";
    put.states["a"] = std::make_shared<const StateRecord>(StateRecord{.version = 3, .payload = "whole"});
    return PutWhole(to, put, "put");
  });
  requests.push_back({"observe", [](TestDeployment& to, bool& replayed) {
                        const auto done = Observe(to, {1, 0, 0, 0, 1, 0}, {1, 2}, "observe");
                        replayed = done.ok() && done->replayed;
                        if (!done.ok()) return done.status().ToString();
                        return absl::StrCat(absl::StrJoin(done->answers->actions, ",", [](std::string* out, uint8_t a) {
                                              absl::StrAppend(out, static_cast<int>(a));
                                            }),
                                            " ", absl::StrJoin(done->answers->written_slots, ","));
                      }});
  return requests;
}

// What the requests are about.
void Prepare(TestDeployment& deployment) {
  CreateMemories(deployment);
  const MemoryHandle wiki = deployment.Find("wiki");
  for (const PartitionId partition : {0, 1}) {
    std::vector<PlainEntry> entries;
    for (EntryId id = 0; id < 60; ++id) entries.push_back({id, {0, static_cast<float>(id), 1}, 9});
    ASSERT_TRUE(deployment.Insert(wiki, ColumnsOf(wiki->spec, entries), partition).ok());
  }
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(Apply(deployment, {{absl::StrCat("x", i), "r", RegisterPut{"before"}}}).ok());
  }
}

// What would show if one of them were applied once more.
void Disturb(TestDeployment& deployment) {
  const MemoryHandle wiki = deployment.Find("wiki");
  ASSERT_TRUE(deployment.DeleteIds(wiki, {10, 11, 30, 31}).ok());
  std::vector<PlainEntry> entries;
  for (EntryId id = 12; id < 26; ++id) entries.push_back({id, {7, 7, 7}, 77});
  for (const PartitionId partition : {0, 1, 7}) {
    ASSERT_TRUE(deployment.Insert(wiki, ColumnsOf(wiki->spec, entries), partition).ok());
  }
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(Apply(deployment, {{absl::StrCat("s", i), "r", RegisterPut{"later"}},
                                   {absl::StrCat("x", i), "a", RegisterPut{"later"}}}).ok());
  }
}

std::vector<std::string> MakeAll(TestDeployment& deployment, const std::vector<Request>& requests, bool replayed) {
  std::vector<std::string> answers;
  for (const Request& request : requests) {
    bool was_replayed = false;
    answers.push_back(request.name + ": " + request.make(deployment, was_replayed));
    EXPECT_EQ(was_replayed, replayed) << answers.back();
  }
  return answers;
}

TEST_P(RestoredRequestsTest, ARequestOfBeforeTheBackupIsAnsweredAsItWasAndNotDoneAgain) {
  const auto [shards, onto] = GetParam();
  const std::vector<Request> requests = Requests();
  auto old = Make(shards);
  Prepare(*old);
  const std::vector<std::string> answers = MakeAll(*old, requests, /*replayed=*/false);
  Disturb(*old);
  const std::string before = Digest(*old);
  auto restored = Restored(*old, onto);
  ASSERT_EQ(Digest(*restored), before);
  EXPECT_EQ(MakeAll(*restored, requests, /*replayed=*/true), answers);
  EXPECT_EQ(Digest(*restored), before);
  restored->Restart();
  EXPECT_EQ(MakeAll(*restored, requests, /*replayed=*/true), answers);
  EXPECT_EQ(Digest(*restored), before);
  auto again = Restored(*restored, 3);
  EXPECT_EQ(MakeAll(*again, requests, /*replayed=*/true), answers);
  EXPECT_EQ(Digest(*again), before);

  // The same id for something else is refused as ever.
  const MemoryHandle wiki = again->Find("wiki");
  const auto other = again->Insert(wiki, ColumnsOf(wiki->spec, {{1, {1, 2, 3}, 4}}), 0, "spread");
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition) << other.status();
}

TEST(EarlierAnswersTest, APartAnswersEachOperationOfItsShardAndNoOther) {
  const std::vector<uint64_t> hashes = {4, 5, 6, 7};
  for (const size_t given : {0U, 1U, 2U, 3U}) {
    EarlierOutcome earlier;
    earlier.states.push_back({.shards = 2, .shard = 1, .remembered = {}});
    for (size_t i = 0; i < given; ++i) {
      StateAnswer answer;
      answer.version = 10 + i;
      earlier.states.back().remembered.outcome.answers.push_back(std::move(answer));
    }
    std::vector<StateAnswer> answers(hashes.size());
    const absl::Status taken = TakeEarlierAnswers(earlier, hashes, answers);
    if (given != 2) {
      EXPECT_TRUE(absl::IsDataLoss(taken)) << given << ": " << taken;
      continue;
    }
    ASSERT_TRUE(taken.ok()) << taken;
    EXPECT_EQ(answers[0].version, 0U);
    EXPECT_EQ(answers[1].version, 10U);
    EXPECT_EQ(answers[2].version, 0U);
    EXPECT_EQ(answers[3].version, 11U);
  }
}

// A backup has the shards at moments of their own: one may have its part of a request, and another not.
TEST_F(RestoreTest, ARequestThatTheBackupHasInPartIsCompletedOnce) {
  std::vector<Request> requests = Requests();
  std::erase_if(requests, [](const Request& request) { return request.gives_ids; });
  for (const std::string late : {"shard-000", "shard-001"}) {
    auto old = Make(2);
    Prepare(*old);
    old->Close();
    const std::string saved = directory_ / "saved";
    fs::remove_all(saved);
    fs::copy(old->path(late), saved, fs::copy_options::recursive);
    old->Open();
    const std::vector<std::string> answers = MakeAll(*old, requests, /*replayed=*/false);
    const std::string whole = Digest(*old);
    old->Close();
    fs::remove_all(old->path(late));
    fs::copy(saved, old->path(late), fs::copy_options::recursive);
    old->Open();
    ASSERT_NE(Digest(*old), whole);
    const std::vector<uint32_t> counts = kSanitized ? std::vector<uint32_t>{3} : std::vector<uint32_t>{1, 3, 4};
    for (const uint32_t onto : counts) {
      SCOPED_TRACE(absl::StrCat(late, " late, onto ", onto));
      auto restored = Restored(*old, onto);
      std::vector<std::string> made;
      for (const Request& request : requests) {
        bool replayed = false;
        made.push_back(request.name + ": " + request.make(*restored, replayed));
      }
      EXPECT_EQ(made, answers);
      EXPECT_EQ(Digest(*restored), whole);
      EXPECT_EQ(MakeAll(*restored, requests, /*replayed=*/true), answers);
      EXPECT_EQ(Digest(*restored), whole);
      auto again = Restored(*restored, 2);
      EXPECT_EQ(MakeAll(*again, requests, /*replayed=*/true), answers);
      EXPECT_EQ(Digest(*again), whole);
    }
  }
}

}  // namespace
}  // namespace mneme::testing
