// Stores that say the same have the same digest, and others have others.
#include "storage/shard_digest.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

constexpr PartitionKey kFirst{1, 0};
constexpr PartitionKey kSecond{1, 7};

MemoryRecord Memory(MemoryNumber number, const std::string& name) {
  MemoryRecord memory;
  memory.number = number;
  memory.spec.name = name;
  memory.spec.dimension = 1;
  memory.created_ms = 1'000;
  return memory;
}

// One store, to which batches are written, and its digests.
class Replica {
 public:
  explicit Replica(std::string path) : path_(std::move(path)) {
    store_ = OpenRocksDbEntryStore({path_ + "/db", &resources_, nullptr, false}).value();
  }

  // Puts entries `first` to `last` of a partition into rows of the same numbers, in one batch.
  void Insert(const PartitionKey& key, EntryId first, EntryId last, bool new_ids = true) {
    EntryColumns columns;
    for (EntryId id = first; id <= last; ++id) columns.Append({id, "key!", absl::StrCat("value ", id), {}});
    live_ += columns.count;
    PartitionHead head{key, last + 1, live_};
    head.id_bound = new_ids ? last + 1 : last + 100;
    Commit({.runs = {{key, first, &columns, 0, columns.count, true, new_ids}}, .heads = {head}});
  }
  void Delete(const PartitionKey& key, EntryId id, Row next_row) {
    --live_;
    Commit({.deaths = {{key, id, id, true}}, .heads = {{key, next_row, live_, next_row}}});
  }
  void Commit(StoreBatch batch) {
    batch.sequence = store_->applied() + 1;
    ASSERT_TRUE(store_->Commit(batch).ok());
  }
  // The next partition is begun.
  void Turn() { live_ = 0; }
  EntryStore& store() { return *store_; }

  absl::StatusOr<ShardDigest> TryDigest(std::vector<MemoryRecord> memories) {
    const std::string checkpoint = absl::StrCat(path_, "/checkpoint-", ++digests_);
    EXPECT_TRUE(store_->Checkpoint(checkpoint).ok());
    return DigestStore(checkpoint, std::move(memories), [](uint64_t) { return absl::OkStatus(); });
  }
  Hash128 Digest() { return TryDigest({Memory(1, "wiki")}).value().hash; }

 private:
  const std::string path_;
  StoreResources resources_{4 << 20, 64 << 20};
  std::unique_ptr<EntryStore> store_;
  uint64_t live_ = 0;
  int digests_ = 0;
};

class ShardDigestTest : public ::testing::Test {
 protected:
  Replica& New() {
    const std::string path = directory_ / absl::StrCat("replica-", replicas_.size());
    std::filesystem::create_directory(path);
    return *replicas_.emplace_back(std::make_unique<Replica>(path));
  }

  TemporaryDirectory directory_;
  std::vector<std::unique_ptr<Replica>> replicas_;
};

TEST_F(ShardDigestTest, DoesNotDependOnWhatWasWrittenTogetherOrCompacted) {
  Replica& one = New();
  one.Insert(kFirst, 0, 99);
  Replica& other = New();
  for (EntryId id = 0; id < 100; ++id) other.Insert(kFirst, id, id, id % 3 == 0);
  EXPECT_NE(one.store().applied(), other.store().applied());
  EXPECT_EQ(one.Digest(), other.Digest());
  ASSERT_TRUE(other.store().Compact().ok());
  EXPECT_EQ(one.Digest(), other.Digest());
  EXPECT_EQ(one.TryDigest({Memory(1, "wiki")})->entries, 100U);
}

TEST_F(ShardDigestTest, DoesNotDependOnWhichPartitionWasWrittenFirst) {
  Replica& one = New();
  one.Insert(kFirst, 0, 9);
  one.Turn();
  one.Insert(kSecond, 0, 4);
  Replica& other = New();
  other.Insert(kSecond, 0, 4);
  other.Turn();
  other.Insert(kFirst, 0, 9);
  EXPECT_EQ(one.Digest(), other.Digest());
}

TEST_F(ShardDigestTest, LeavesOutWhatIsEachReplicasOwn) {
  Replica& one = New();
  one.Insert(kFirst, 0, 9);
  const Hash128 before = one.Digest();
  one.Commit({.added_segments = {{kFirst, 1, 2, 0, 10}}});
  EXPECT_EQ(one.Digest(), before) << "segments";
  RememberedRequest request;
  request.id = {1, 2};
  request.sequence = one.store().applied();
  request.result = "ok";
  one.Commit({.requests = {request}});
  EXPECT_EQ(one.Digest(), before) << "requests";
  one.Commit({.heads = {{kFirst, 10, 10, 5'000, 77}}});
  EXPECT_EQ(one.Digest(), before) << "bounds of ids, and when to look for what expires";
  EntryColumns columns;
  columns.Append({1, "key!", "value", {}});
  one.Commit({.runs = {{{2, 0}, 0, &columns, 0, 1, true}}, .heads = {{{2, 0}, 1, 1}}});
  EXPECT_EQ(one.Digest(), before) << "data of a memory that is not there any more";
}

TEST_F(ShardDigestTest, IsAnotherForWhateverIsReadAsAnother) {
  std::vector<std::pair<std::string, std::function<void(Replica&)>>> changes = {
      {"an entry more", [](Replica& replica) { replica.Insert(kFirst, 10, 10); }},
      {"an entry less", [](Replica& replica) { replica.Delete(kFirst, 3, 10); }},
      {"rows that were given", [](Replica& replica) { replica.Commit({.heads = {{kFirst, 11, 10}}}); }},
      {"another partition", [](Replica& replica) { replica.Commit({.heads = {{kSecond, 1, 0}}}); }},
      {"an attribute",
       [](Replica& replica) {
         EntryColumns columns;
         columns.Append({3, "key!", "value 3", {.label = 1}});
         replica.Commit({.runs = {{kFirst, 3, &columns, 0, 1, true}}, .heads = {{kFirst, 10, 10}}});
       }},
      {"a state",
       [](Replica& replica) {
         auto state = std::make_shared<StateRecord>();
         state->payload = "text";
         StoreBatch batch;
         batch.states.sessions.emplace_back(SessionKey{1, "agent"}, SessionRecord{.number = 9, .states = 1});
         batch.states.states.emplace_back(StateKey{{1, 9}, "draft"}, state);
         replica.Commit(std::move(batch));
       }},
  };
  Replica& plain = New();
  plain.Insert(kFirst, 0, 9);
  std::vector<Hash128> seen = {plain.Digest(), plain.TryDigest({Memory(1, "news")})->hash,
                               plain.TryDigest({Memory(1, "wiki"), Memory(2, "news")})->hash,
                               plain.TryDigest({})->hash};
  for (const auto& [name, change] : changes) {
    Replica& replica = New();
    replica.Insert(kFirst, 0, 9);
    EXPECT_EQ(replica.Digest(), seen.front());
    change(replica);
    seen.push_back(replica.Digest());
    for (size_t i = 0; i + 1 < seen.size(); ++i) EXPECT_FALSE(seen[i] == seen.back()) << name << " and " << i;
  }
}

TEST_F(ShardDigestTest, RowsThatTheirHeadDoesNotCountAreTold) {
  Replica& one = New();
  one.Insert(kFirst, 0, 9);
  one.Commit({.heads = {{kFirst, 10, 9}}});
  EXPECT_EQ(one.TryDigest({Memory(1, "wiki")}).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(ShardDigestTest, ItsReadingMayBeEnded) {
  Replica& one = New();
  one.Insert(kFirst, 0, 9);
  const std::string checkpoint = directory_ / "checkpoint";
  ASSERT_TRUE(one.store().Checkpoint(checkpoint).ok());
  const auto given_up =
      DigestStore(checkpoint, {Memory(1, "wiki")}, [](uint64_t) { return absl::CancelledError("enough"); });
  EXPECT_EQ(given_up.status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace mneme
