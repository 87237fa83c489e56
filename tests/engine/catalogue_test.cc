// The catalogue over its real store, across restarts.
#include "engine/catalogue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error_reason.h"
#include "tests/engine/deployment_fixture.h"
#include "tests/storage/temporary_directory.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::TokenMemory;

class CatalogueTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }
  void Open() {
    auto store = OpenCatalogueStore(directory_ / "catalogue", &resources_);
    ASSERT_TRUE(store.ok()) << store.status();
    auto catalogue = Catalogue::Open(*std::move(store));
    ASSERT_TRUE(catalogue.ok()) << catalogue.status();
    catalogue_ = *std::move(catalogue);
  }
  void Restart() {
    catalogue_.reset();
    Open();
  }
  MemoryNumber Create(const std::string& name) {
    const auto memory = catalogue_->Create(TokenMemory(name, 4), 1'000);
    EXPECT_TRUE(memory.ok()) << memory.status();
    return memory.ok() ? (*memory)->number : 0;
  }
  MemoryNumber Drop(const std::string& name) {
    const auto memory = catalogue_->Drop(name);
    EXPECT_TRUE(memory.ok()) << memory.status();
    return memory.ok() ? (*memory)->number : 0;
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const MemoryHandle& memory : catalogue_->names().List()) names.push_back(memory->spec.name);
    return names;
  }
  void ExpectNotFound(const absl::Status& status) const {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_EQ(ReasonOf(status), reason::kMemoryNotFound);
  }

  TemporaryDirectory directory_;
  StoreResources resources_{4 << 20, 64 << 20};
  std::unique_ptr<Catalogue> catalogue_;
};

TEST_F(CatalogueTest, FindsWhatWasCreatedAfterARestart) {
  const MemorySpec spec = TokenMemory("wiki", 128, Metric::kCosine);
  const MemoryHandle created = catalogue_->Create(spec, 1'717'000'000'000).value();
  Create("books");
  Restart();
  EXPECT_EQ(*catalogue_->names().Find("wiki").value(), *created);
  EXPECT_EQ(created->spec, spec);
  EXPECT_THAT(Names(), ElementsAre("books", "wiki"));
  ExpectNotFound(catalogue_->names().Find("wik").status());
}

TEST_F(CatalogueTest, TheFirstCreateOfANameWins) {
  const MemoryNumber first = Create("wiki");
  for (int i = 0; i < 2; ++i) {
    const absl::Status second = catalogue_->Create(TokenMemory("wiki", 8), 2'000).status();
    EXPECT_EQ(second.code(), absl::StatusCode::kAlreadyExists) << second;
    EXPECT_EQ(ReasonOf(second), reason::kMemoryExists);
    EXPECT_EQ(catalogue_->names().Find("wiki").value()->number, first);
    EXPECT_EQ(catalogue_->names().Find("wiki").value()->spec.dimension, 4U);
    Restart();
  }
}

TEST_F(CatalogueTest, ADroppedNameIsFreeAtOnceAndItsNumberIsNotGivenAgain) {
  const MemoryNumber first = Create("wiki");
  EXPECT_EQ(Drop("wiki"), first);
  ExpectNotFound(catalogue_->names().Find("wiki").status());
  ExpectNotFound(catalogue_->Drop("wiki").status());
  EXPECT_THAT(Names(), IsEmpty());
  const MemoryNumber second = Create("wiki");
  EXPECT_GT(second, first);
  Restart();
  EXPECT_EQ(catalogue_->names().Find("wiki").value()->number, second);
  EXPECT_THAT(catalogue_->Dropped(), ElementsAre(first));
}

TEST_F(CatalogueTest, ADropIsRememberedUntilTheDataIsGone) {
  const MemoryNumber a = Create("a");
  const MemoryNumber b = Create("b");
  Create("c");
  Drop("b");
  Drop("a");
  Restart();
  EXPECT_THAT(catalogue_->Dropped(), ElementsAre(a, b));
  EXPECT_THAT(Names(), ElementsAre("c"));
  ASSERT_TRUE(catalogue_->Forget(a).ok());
  EXPECT_THAT(catalogue_->Dropped(), ElementsAre(b));
  Restart();
  EXPECT_THAT(catalogue_->Dropped(), ElementsAre(b));
}

TEST_F(CatalogueTest, NoNumberIsGivenTwiceHoweverMuchIsForgotten) {
  std::vector<MemoryNumber> given;
  for (int round = 0; round < 5; ++round) {
    for (const char* name : {"a", "b"}) given.push_back(Create(name));
    for (const char* name : {"b", "a"}) ASSERT_TRUE(catalogue_->Forget(Drop(name)).ok());
    EXPECT_THAT(catalogue_->Dropped(), IsEmpty());
    if (round % 2 == 0) Restart();
  }
  EXPECT_THAT(given, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
}

TEST_F(CatalogueTest, AnAliasFindsTheMemoryThatItPointsToAcrossRestarts) {
  const MemoryNumber a = Create("a");
  const MemoryNumber b = Create("b");
  EXPECT_EQ(catalogue_->SetAlias({"live", "a", {}}).value().before, nullptr) << "it was made";
  EXPECT_EQ(catalogue_->names().Find("live").value()->number, a);
  Restart();
  EXPECT_EQ(catalogue_->names().Find("live").value()->number, a);
  EXPECT_EQ(catalogue_->SetAlias({"live", "b", {}}).value().before->spec.name, "a");
  EXPECT_EQ(catalogue_->names().Find("live").value()->number, b);
  EXPECT_EQ(catalogue_->names().Find("live").value()->spec.name, "b");
  Restart();
  EXPECT_EQ(catalogue_->names().Find("live").value()->number, b);
  EXPECT_THAT(Names(), ElementsAre("a", "b")) << "an alias is no memory";
}

TEST_F(CatalogueTest, AnAliasOfAnAliasPointsToTheMemory) {
  Create("a");
  Create("b");
  ASSERT_TRUE(catalogue_->SetAlias({"first", "a", {}}).ok());
  ASSERT_TRUE(catalogue_->SetAlias({"second", "first", {}}).ok());
  ASSERT_TRUE(catalogue_->SetAlias({"first", "b", {}}).ok());
  EXPECT_EQ(catalogue_->names().Find("second").value()->spec.name, "a");
}

TEST_F(CatalogueTest, MemoriesAndAliasesShareTheirNames) {
  const MemoryNumber a = Create("a");
  ASSERT_TRUE(catalogue_->SetAlias({"live", "a", {}}).ok());
  for (int i = 0; i < 2; ++i) {
    const absl::Status taken = catalogue_->Create(TokenMemory("live", 4), 2'000).status();
    EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists) << taken;
    EXPECT_EQ(ReasonOf(taken), reason::kAliasExists);
    const absl::Status memory = catalogue_->SetAlias({"a", "a", {}}).status();
    EXPECT_EQ(memory.code(), absl::StatusCode::kAlreadyExists) << memory;
    EXPECT_EQ(ReasonOf(memory), reason::kMemoryExists);
    Restart();
  }
  ASSERT_TRUE(catalogue_->DropAlias("live").ok());
  const MemoryNumber live = Create("live");
  EXPECT_GT(live, a + 1) << "the alias had a number, which is not given again";
  EXPECT_EQ(Drop("a"), a);
  ASSERT_TRUE(catalogue_->SetAlias({"a", "live", {}}).ok());
  EXPECT_EQ(catalogue_->names().Find("a").value()->number, live);
}

TEST_F(CatalogueTest, AMemoryThatAnAliasPointsToStays) {
  const MemoryNumber a = Create("a");
  Create("b");
  ASSERT_TRUE(catalogue_->SetAlias({"live", "a", {}}).ok());
  for (const char* name : {"a", "live"}) {
    const absl::Status kept = catalogue_->Drop(name).status();
    EXPECT_EQ(kept.code(), absl::StatusCode::kFailedPrecondition) << kept;
    EXPECT_EQ(ReasonOf(kept), reason::kMemoryAliased);
    EXPECT_NE(kept.message().find("\"live\""), absl::string_view::npos) << kept;
  }
  ASSERT_TRUE(catalogue_->SetAlias({"live", "b", {}}).ok());
  EXPECT_EQ(Drop("a"), a);
  Restart();
  EXPECT_EQ(catalogue_->names().Find("live").value()->spec.name, "b");
}

TEST_F(CatalogueTest, AnAliasSwingsOnlyFromWhereItIsExpected) {
  for (const char* name : {"a", "b", "c"}) Create(name);
  const auto set = [&](const char* to, const char* from) { return catalogue_->SetAlias({"live", to, from}).status(); };
  EXPECT_EQ(ReasonOf(set("a", "b")), reason::kAliasMoved) << "there is none";
  EXPECT_TRUE(set("a", "").ok());
  for (const char* wrong : {"", "b", "live"}) {
    const absl::Status moved = set("b", wrong);
    EXPECT_EQ(moved.code(), absl::StatusCode::kAborted) << moved;
    EXPECT_EQ(ReasonOf(moved), reason::kAliasMoved);
    EXPECT_EQ(catalogue_->names().Find("live").value()->spec.name, "a");
  }
  EXPECT_TRUE(set("b", "a").ok());
  EXPECT_EQ(catalogue_->names().Find("live").value()->spec.name, "b");
}

TEST_F(CatalogueTest, WhatIsNotThereIsNotFoundAndChangesNothing) {
  Create("a");
  ExpectNotFound(catalogue_->SetAlias({"live", "b", {}}).status());
  const absl::Status status = catalogue_->DropAlias("a").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << "a memory is no alias";
  EXPECT_EQ(ReasonOf(status), reason::kAliasNotFound);
  EXPECT_THAT(catalogue_->names().ListAliases(), IsEmpty());
  EXPECT_EQ(catalogue_->NextNumber().value(), 2U);
}

TEST_F(CatalogueTest, AliasesAreListedByName) {
  Create("a");
  for (const char* name : {"z", "m", "b"}) ASSERT_TRUE(catalogue_->SetAlias({name, "a", {}}).ok());
  ASSERT_TRUE(catalogue_->DropAlias("m").ok());
  Restart();
  std::vector<std::string> names;
  for (const Alias& alias : catalogue_->names().ListAliases()) {
    names.push_back(alias.name + " " + alias.memory->spec.name);
  }
  EXPECT_THAT(names, ElementsAre("b a", "z a"));
}

TEST_F(CatalogueTest, AnAliasThatPointsToNothingIsDataLoss) {
  catalogue_.reset();
  {
    auto store = OpenCatalogueStore(directory_ / "catalogue", &resources_);
    ASSERT_TRUE(store.ok() && (*store)->Put(AliasRecord{2, "live", 7}).ok());
  }
  auto store = OpenCatalogueStore(directory_ / "catalogue", &resources_);
  ASSERT_TRUE(store.ok());
  EXPECT_EQ(Catalogue::Open(*std::move(store)).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace mneme
