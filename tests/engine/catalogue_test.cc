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
    for (const MemoryHandle& memory : catalogue_->List()) names.push_back(memory->spec.name);
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
  EXPECT_EQ(*catalogue_->Find("wiki").value(), *created);
  EXPECT_EQ(created->spec, spec);
  EXPECT_THAT(Names(), ElementsAre("books", "wiki"));
  ExpectNotFound(catalogue_->Find("wik").status());
}

TEST_F(CatalogueTest, TheFirstCreateOfANameWins) {
  const MemoryNumber first = Create("wiki");
  for (int i = 0; i < 2; ++i) {
    const absl::Status second = catalogue_->Create(TokenMemory("wiki", 8), 2'000).status();
    EXPECT_EQ(second.code(), absl::StatusCode::kAlreadyExists) << second;
    EXPECT_EQ(ReasonOf(second), reason::kMemoryExists);
    EXPECT_EQ(catalogue_->Find("wiki").value()->number, first);
    EXPECT_EQ(catalogue_->Find("wiki").value()->spec.dimension, 4U);
    Restart();
  }
}

TEST_F(CatalogueTest, ADroppedNameIsFreeAtOnceAndItsNumberIsNotGivenAgain) {
  const MemoryNumber first = Create("wiki");
  EXPECT_EQ(Drop("wiki"), first);
  ExpectNotFound(catalogue_->Find("wiki").status());
  ExpectNotFound(catalogue_->Drop("wiki").status());
  EXPECT_THAT(Names(), IsEmpty());
  const MemoryNumber second = Create("wiki");
  EXPECT_GT(second, first);
  Restart();
  EXPECT_EQ(catalogue_->Find("wiki").value()->number, second);
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

}  // namespace
}  // namespace mneme
