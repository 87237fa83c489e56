#include "storage/catalogue_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <random>

#include "absl/strings/match.h"
#include "tests/storage/fault_file_system.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const ReplicaLists kTwo = {{0, ReplicaList{{"a:1", "b:2"}, true}}};

MemoryRecord Record(MemoryNumber number, const std::string& name) {
  MemoryRecord record;
  record.number = number;
  record.created_ms = 1'717'000'000'000;
  record.spec.name = name;
  record.spec.dimension = 128;
  record.spec.metric = Metric::kCosine;
  record.spec.key_dtype = Dtype::kF16;
  record.spec.value_kind = ValueKind::kVector;
  record.spec.vocabulary_size = 32'000;
  record.spec.value_dimension = 7;
  record.spec.spread = Spread::kOne;
  record.spec.fingerprint = {"gpt2", "r1", "h.11", "abc", 50'257, "none"};
  return record;
}

class CatalogueStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<CatalogueStore> Open(std::shared_ptr<rocksdb::FileSystem> system = nullptr, std::string path = "") {
    if (path.empty()) path = directory_ / "catalogue";
    auto store = OpenCatalogueStore(path, &resources_, std::move(system));
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  // What a process that is killed now would leave.
  std::string Copy(const std::string& name) {
    const std::string copy = directory_ / name;
    std::filesystem::copy(directory_ / "catalogue", copy, std::filesystem::copy_options::recursive);
    return copy;
  }
  static std::filesystem::path LogOf(const std::string& path) {
    std::filesystem::path newest;
    for (const auto& file : std::filesystem::directory_iterator(path)) {
      if (file.path().extension() == ".log" && file.path() > newest) newest = file.path();
    }
    return newest;
  }
  TemporaryDirectory directory_;
  StoreResources resources_{4 << 20, 64 << 20};
};

TEST_F(CatalogueStoreTest, IsEmptyAtFirst) {
  const auto store = Open();
  EXPECT_THAT(store->Read()->memories, IsEmpty());
  EXPECT_THAT(store->Read()->aliases, IsEmpty());
  EXPECT_EQ(store->NextNumber().value(), 1U);
}

TEST_F(CatalogueStoreTest, KeepsRecordsInTheOrderOfTheirNumbers) {
  MemoryRecord dropped = Record(2, "b");
  {
    const auto store = Open();
    ASSERT_TRUE(store->Put(Record(300, "c")).ok());
    ASSERT_TRUE(store->Put(Record(2, "b")).ok());
    ASSERT_TRUE(store->Put(Record(1, "a")).ok());
    dropped.dropped = true;
    ASSERT_TRUE(store->Put(dropped).ok());
  }
  EXPECT_THAT(Open()->Read()->memories, ElementsAre(Record(1, "a"), dropped, Record(300, "c")));
}

TEST_F(CatalogueStoreTest, NeverGivesANumberTwice) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Put(Record(1, "a")).ok());
    ASSERT_TRUE(store->Put(Record(2, "b")).ok());
    ASSERT_TRUE(store->Remove(2).ok());
    ASSERT_TRUE(store->Remove(77).ok());
    EXPECT_EQ(store->NextNumber().value(), 3U);
  }
  const auto store = Open();
  EXPECT_THAT(store->Read()->memories, ElementsAre(Record(1, "a")));
  EXPECT_EQ(store->NextNumber().value(), 3U);
  ASSERT_TRUE(store->Put(Record(1, "renamed")).ok());
  EXPECT_EQ(store->NextNumber().value(), 3U);
}

TEST_F(CatalogueStoreTest, KeepsAliasesApartFromMemoriesAndReplacesThemWhole) {
  {
    const auto store = Open();
    ASSERT_TRUE(store->Put(Record(1, "a")).ok());
    ASSERT_TRUE(store->Put(Record(2, "b")).ok());
    ASSERT_TRUE(store->Put(AliasRecord{3, "live", 1}).ok());
    ASSERT_TRUE(store->Put(AliasRecord{4, "gone", 1}).ok());
    EXPECT_EQ(store->NextNumber().value(), 5U);
    ASSERT_TRUE(store->Put(AliasRecord{3, "live", 2}).ok());
    ASSERT_TRUE(store->Remove(4).ok());
  }
  const auto store = Open();
  EXPECT_THAT(store->Read()->memories, ElementsAre(Record(1, "a"), Record(2, "b")));
  EXPECT_THAT(store->Read()->aliases, ElementsAre(AliasRecord{3, "live", 2}));
  EXPECT_EQ(store->NextNumber().value(), 5U) << "an alias takes a number as a memory does";
}

TEST_F(CatalogueStoreTest, AKilledProcessLeavesTheLastAliasThatWasAcknowledged) {
  const auto store = Open();
  for (MemoryNumber memory = 1; memory <= 8; ++memory) {
    ASSERT_TRUE(store->Put(AliasRecord{9, "live", memory}).ok());
    const std::string killed = Copy("killed-" + std::to_string(memory));
    EXPECT_THAT(Open(nullptr, killed)->Read()->aliases, ElementsAre(AliasRecord{9, "live", memory}));
  }
}

TEST_F(CatalogueStoreTest, ALogThatLostAnAcknowledgedAliasIsRefusedAndNeverOpensWithTheOneBefore) {
  const auto store = Open();
  ASSERT_TRUE(store->Put(AliasRecord{9, "live", 1}).ok());
  const uintmax_t before = std::filesystem::file_size(LogOf(directory_ / "catalogue"));
  ASSERT_TRUE(store->Put(AliasRecord{9, "live", 2}).ok());
  const uintmax_t after = std::filesystem::file_size(LogOf(directory_ / "catalogue"));
  ASSERT_GT(after, before);
  for (uintmax_t end = before; end < after; end += 5) {
    const std::string cut = Copy("cut-" + std::to_string(end));
    std::filesystem::resize_file(LogOf(cut), end);
    EXPECT_EQ(OpenCatalogueStore(cut, &resources_).status().code(), absl::StatusCode::kDataLoss) << end;
  }
}

TEST_F(CatalogueStoreTest, OneWithALogKeepsWhereItStandsWithWhatWasChanged) {
  const std::string path = directory_ / "logged";
  const RememberedChange made{7, {1, 2}, absl::OkStatus(), Record(1, "a")};
  const RememberedChange refused{9, {3, 4}, absl::NotFoundError("no"), {}};
  {
    const auto store = OpenLoggedCatalogueStore(path, &resources_).value();
    EXPECT_EQ(store->applied(), 0U);
    ASSERT_TRUE(store->Write({.memories = {Record(1, "a")}, .applied = 7, .remembered = {made}}).ok());
    ASSERT_TRUE(store->Write({.applied = 9, .remembered = {refused}, .replicas = kTwo}).ok());
    EXPECT_EQ(store->applied(), 9U);
  }
  {
    const auto store = OpenLoggedCatalogueStore(path, &resources_).value();
    EXPECT_EQ(store->applied(), 9U);
    EXPECT_THAT(store->Read()->memories, ElementsAre(Record(1, "a")));
    EXPECT_THAT(store->Read()->changes, ElementsAre(made, refused));
    EXPECT_EQ(store->Read()->replicas, kTwo);
    ASSERT_TRUE(store->Write({.removed = {1}, .applied = 12, .forgotten = {7}}).ok());
    EXPECT_EQ(store->Write({.applied = 11}).code(), absl::StatusCode::kInternal) << "it does not go back";
  }
  const auto store = OpenLoggedCatalogueStore(path, &resources_).value();
  EXPECT_THAT(store->Read()->memories, IsEmpty());
  EXPECT_THAT(store->Read()->changes, ElementsAre(refused));
  EXPECT_EQ(store->applied(), 12U);
  EXPECT_EQ(store->NextNumber().value(), 2U);
}

TEST_F(CatalogueStoreTest, OneWithALogBecomesWhatAnotherWas) {
  const std::string path = directory_ / "logged";
  const RememberedChange old{3, {1, 2}, absl::OkStatus(), {}};
  const RememberedChange later{40, {3, 4}, absl::OkStatus(), Record(5, "e")};
  {
    const auto store = OpenLoggedCatalogueStore(path, &resources_).value();
    ASSERT_TRUE(store->Write({.memories = {Record(1, "a"), Record(2, "b")},
                              .aliases = {AliasRecord{3, "live", 1}},
                              .applied = 3,
                              .remembered = {old},
                              .replicas = {{0, ReplicaList{{"a:1"}, false}}, {1, ReplicaList{{"b:2"}, true}}}})
                    .ok());
    ASSERT_TRUE(store->Write({.whole = true,
                              .memories = {Record(2, "b"), Record(5, "e")},
                              .next_number = 9,
                              .applied = 40,
                              .remembered = {later},
                              .replicas = kTwo})
                    .ok());
  }
  const auto store = OpenLoggedCatalogueStore(path, &resources_).value();
  EXPECT_THAT(store->Read()->memories, ElementsAre(Record(2, "b"), Record(5, "e")));
  EXPECT_THAT(store->Read()->aliases, IsEmpty());
  EXPECT_THAT(store->Read()->changes, ElementsAre(later));
  EXPECT_EQ(store->Read()->replicas, kTwo);
  EXPECT_EQ(store->NextNumber().value(), 9U);
  EXPECT_EQ(store->applied(), 40U);
}

TEST_F(CatalogueStoreTest, ACatalogueIsOfOneKindForGood) {
  { (void)Open(nullptr, directory_ / "own"); }
  const absl::Status own = OpenLoggedCatalogueStore(directory_ / "own", &resources_).status();
  EXPECT_EQ(own.code(), absl::StatusCode::kFailedPrecondition) << own;
  EXPECT_THAT(std::string(own.message()), ::testing::HasSubstr("has no log of names"));
  { ASSERT_TRUE(OpenLoggedCatalogueStore(directory_ / "logged", &resources_).ok()); }
  EXPECT_EQ(OpenCatalogueStore(directory_ / "logged", &resources_).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(CatalogueStoreTest, OneThatIsDetachedFromItsLogHasItsNamesAndGivesNoNumberAgain) {
  const std::string path = directory_ / "logged";
  {
    const auto store = OpenLoggedCatalogueStore(path, &resources_).value();
    ASSERT_TRUE(store->Write({.memories = {Record(2, "b")},
                              .aliases = {AliasRecord{3, "live", 2}},
                              .next_number = 9,
                              .applied = 40,
                              .remembered = {{40, {1, 2}, absl::OkStatus(), {}}},
                              .replicas = kTwo})
                    .ok());
  }
  for (int i = 0; i < 2; ++i) {  // one without a log stays as it is
    ASSERT_TRUE(DetachCatalogue(path, &resources_).ok());
    const auto store = Open(nullptr, path);
    EXPECT_THAT(store->Read()->memories, ElementsAre(Record(2, "b")));
    EXPECT_THAT(store->Read()->aliases, ElementsAre(AliasRecord{3, "live", 2}));
    EXPECT_THAT(store->Read()->changes, IsEmpty());
    EXPECT_THAT(store->Read()->replicas, IsEmpty());
    EXPECT_EQ(store->NextNumber().value(), 9U);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_.path()), {}), 1) << "nothing stays beside it";
}

TEST_F(CatalogueStoreTest, SyncsEveryWrite) {
  std::atomic<bool> fail{false};
  auto system = std::make_shared<FaultFileSystem>([&](FileOperation operation, const std::string& path) {
    const bool hit = operation == FileOperation::kSync && absl::EndsWith(path, ".log") && fail;
    return hit ? rocksdb::IOStatus::IOError("injected") : rocksdb::IOStatus::OK();
  });
  const auto store = Open(system);
  ASSERT_TRUE(store->Put(Record(1, "a")).ok());
  fail = true;
  const absl::Status failed = store->Put(Record(2, "b"));
  EXPECT_EQ(failed.code(), absl::StatusCode::kUnavailable);
  fail = false;
  EXPECT_EQ(store->Remove(1), failed);
  EXPECT_EQ(store->Put(AliasRecord{2, "live", 1}), failed);
}

}  // namespace
}  // namespace mneme
