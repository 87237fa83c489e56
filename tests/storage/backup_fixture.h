// A data directory with stores of random content, and backups of it.
#ifndef MNEME_TESTS_STORAGE_BACKUP_FIXTURE_H_
#define MNEME_TESTS_STORAGE_BACKUP_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/backup.h"
#include "storage/catalogue_store.h"
#include "storage/data_directory.h"
#include "storage/rocksdb_entry_store.h"
#include "tests/storage/store_model.h"
#include "tests/storage/temporary_directory.h"
#include "tests/storage/test_scale.h"

namespace mneme::testing {

namespace fs = std::filesystem;

inline constexpr uint32_t kShards = 2;

inline bool Go(const BackupProgress&) { return true; }

// Any will do.
inline Placement PlacementOn(uint32_t shards) {
  return {.shards = shards,
          .of_partition = [shards](const MemoryRecord& memory, PartitionId partition) -> std::optional<uint32_t> {
            if (partition == 0) return std::nullopt;
            return static_cast<uint32_t>((memory.number + partition) % shards);
          },
          .of_id = [shards](EntryId id) { return static_cast<uint32_t>(id % shards); },
          .of_session = [shards](const MemoryRecord&, std::string_view session) {
            return static_cast<uint32_t>(session.size() % shards);
          }};
}

inline uint64_t BytesUnder(const std::string& path) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

// The stores of a data directory.
struct Stores {
  std::unique_ptr<DataDirectory> directory;
  std::unique_ptr<CatalogueStore> catalogue;
  std::vector<std::unique_ptr<EntryStore>> shards;

  Stores(const std::string& path, StoreResources& resources) {
    auto opened = DataDirectory::Open(path, kShards);
    EXPECT_TRUE(opened.ok()) << opened.status();
    directory = *std::move(opened);
    auto names = OpenCatalogueStore(directory->CataloguePath(), &resources);
    EXPECT_TRUE(names.ok()) << names.status();
    catalogue = *std::move(names);
    for (uint32_t shard = 0; shard < kShards; ++shard) {
      auto store = OpenRocksDbEntryStore({directory->StorePath(shard), &resources, nullptr, false});
      EXPECT_TRUE(store.ok()) << store.status();
      shards.push_back(*std::move(store));
    }
  }
  std::string Dump() const {
    std::string dump;
    const CatalogueRecords records = catalogue->Read().value();
    for (const MemoryRecord& each : records.memories) absl::StrAppend(&dump, each.number, " ", each.spec.name, "\n");
    for (const AliasRecord& alias : records.aliases) absl::StrAppend(&dump, alias.name, " -> ", alias.memory, "\n");
    for (const auto& shard : shards) absl::StrAppend(&dump, "at ", shard->applied(), "\n", DumpStore(*shard).value());
    return dump;
  }
};

class BackupTest : public ::testing::Test {
 protected:
  // Writes `batches` random ones to each shard, and a memory; what is left in the log is part of what is stored, too.
  void Change(Stores& stores, int batches, size_t entries = 12, size_t value_bytes = 24) {
    MemoryRecord memory;
    memory.number = stores.catalogue->NextNumber().value();
    memory.spec.name = absl::StrCat("memory-", memory.number);
    memory.spec.dimension = 2;
    ASSERT_TRUE(stores.catalogue->Put(memory).ok());
    AliasRecord alias{stores.catalogue->NextNumber().value(), absl::StrCat("alias-", memory.number), memory.number};
    ASSERT_TRUE(stores.catalogue->Put(alias).ok());
    for (uint32_t shard = 0; shard < kShards; ++shard) {
      for (int i = 0; i < batches; ++i) {
        const OwnedBatch made = models_[shard].RandomBatch(random_, entries, value_bytes);
        ASSERT_TRUE(stores.shards[shard]->Commit(made.batch).ok());
        models_[shard].Apply(made.batch);
      }
      ASSERT_TRUE(stores.shards[shard]->Sync().ok());
    }
  }
  BackupSource Checkpoint(const Stores& stores) {
    fs::remove_all(stores.directory->CheckpointPath());
    fs::create_directory(stores.directory->CheckpointPath());
    BackupSource source;
    source.deployment = stores.directory->deployment();
    source.now_ms = 1'717'000'000'000;
    const auto add = [&](Sequence applied) {
      source.checkpoints.push_back(
          {absl::StrCat(stores.directory->CheckpointPath(), "/", source.checkpoints.size()), applied});
      return source.checkpoints.back().path;
    };
    EXPECT_TRUE(stores.catalogue->Checkpoint(add(0)).ok());
    for (const auto& shard : stores.shards) EXPECT_TRUE(shard->Checkpoint(add(shard->applied())).ok());
    return source;
  }
  absl::StatusOr<WrittenBackup> Write(const BackupSource& source, std::shared_ptr<rocksdb::FileSystem> system = nullptr,
                                      const BackupProgressSink& progress = Go) {
    auto writer = BackupWriter::Open(backups_, std::move(system));
    if (!writer.ok()) return writer.status();
    return (*writer)->Write(source, progress);
  }
  std::vector<uint64_t> Numbers() const {
    std::vector<uint64_t> numbers;
    const std::vector<ListedBackup> listed = ListBackups(backups_).value();
    for (const ListedBackup& backup : listed) {
      EXPECT_TRUE(backup.manifest.ok()) << backup.manifest.status();
      numbers.push_back(backup.number);
    }
    return numbers;
  }
  // What a restore of backup `number` holds.
  std::string Restored(uint64_t number) {
    const std::string path = directory_ / absl::StrCat("restored-", ++restored_);
    const auto restored = RestoreBackup(backups_, number, {path}, Go);
    EXPECT_TRUE(restored.ok()) << restored.status();
    return restored.ok() ? Stores(path, resources_).Dump() : "";
  }

  TemporaryDirectory directory_;
  const std::string data_ = directory_ / "data";
  const std::string backups_ = directory_ / "backups";
  StoreResources resources_{4 << 20, 64 << 20};
  std::mt19937_64 random_{TestSeed()};
  // The bounded form tries every fourth step.
  const int stride_ = FullTests() ? 1 : 4;
  const int first_step_ = 1 + static_cast<int>(random_() % static_cast<uint64_t>(stride_));
  StoreModel models_[kShards];
  int restored_ = 0;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_STORAGE_BACKUP_FIXTURE_H_
