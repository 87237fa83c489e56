#include "storage/catalogue_store.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "storage/durable_db.h"
#include "storage/files.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

// The first number given: 0 stays free to mean "no memory".
constexpr MemoryNumber kFirstNumber = 1;

class RocksDbCatalogueStore final : public CatalogueStore {
 public:
  RocksDbCatalogueStore(std::unique_ptr<DurableDb> store, bool logged)
      : store_(std::move(store)), memories_(store_->family(0)), changes_(logged ? store_->family(1) : nullptr) {}

  absl::StatusOr<CatalogueRecords> Read() const override {
    CatalogueRecords records;
    const std::unique_ptr<rocksdb::Iterator> it(store_->db().NewIterator(rocksdb::ReadOptions(), memories_));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      ASSIGN_OR_RETURN(const MemoryNumber number, format::ParseMemoryKey(ToView(it->key())));
      if (format::IsAlias(ToView(it->value()))) {
        ASSIGN_OR_RETURN(AliasRecord alias, format::DecodeAlias(number, ToView(it->value())));
        records.aliases.push_back(std::move(alias));
      } else {
        ASSIGN_OR_RETURN(MemoryRecord memory, format::DecodeMemory(number, ToView(it->value())));
        records.memories.push_back(std::move(memory));
      }
    }
    RETURN_IF_ERROR(FromRocksDb(it->status(), "read the catalogue"));
    if (changes_ != nullptr) RETURN_IF_ERROR(ReadChanges(records));
    return records;
  }

  Sequence applied() const override { return store_->state().applied; }

  // The state's counter holds how far the next number lies above the first.
  absl::StatusOr<MemoryNumber> NextNumber() const override {
    return static_cast<MemoryNumber>(kFirstNumber + store_->state().counter);
  }

  absl::Status Write(const CatalogueBatch& batch) override {
    ASSIGN_OR_RETURN(const MemoryNumber next, NextNumber());
    MemoryNumber least = std::max(next, batch.next_number);
    rocksdb::WriteBatch out;
    RETURN_IF_ERROR(Encoded(EncodeRemovals(batch, out)));
    for (const MemoryRecord& memory : batch.memories) {
      RETURN_IF_ERROR(Encoded(out.Put(memories_, format::MemoryPrefix(memory.number), format::EncodeMemory(memory))));
      least = std::max(least, memory.number + 1);
    }
    for (const AliasRecord& alias : batch.aliases) {
      RETURN_IF_ERROR(Encoded(out.Put(memories_, format::MemoryPrefix(alias.number), format::EncodeAlias(alias))));
      least = std::max(least, alias.number + 1);
    }
    for (const RememberedChange& change : batch.remembered) {
      const std::string key = format::SequenceKey(format::kChangePrefix, change.sequence);
      RETURN_IF_ERROR(Encoded(out.Put(changes_, key, format::EncodeChange(change))));
    }
    for (const auto& [shard, replicas] : batch.replicas) {
      RETURN_IF_ERROR(Encoded(out.Put(changes_, format::ReplicasKey(shard), format::EncodeReplicas(replicas))));
    }
    // Without a log each batch is one more.
    const Sequence applied = batch.applied.value_or(store_->state().applied + (changes_ == nullptr ? 1 : 0));
    RETURN_IF_ERROR(store_->Write(out, applied, int64_t{least} - int64_t{next}));
    return store_->Sync().status();
  }

  absl::Status Flush() const override { return store_->Flush(); }
  absl::Status Checkpoint(const std::string& path) const override { return store_->Checkpoint(path); }

 private:
  absl::Status ReadChanges(CatalogueRecords& records) const {
    const std::unique_ptr<rocksdb::Iterator> it(store_->db().NewIterator(rocksdb::ReadOptions(), changes_));
    for (it->SeekToFirst(); it->Valid(); it->Next()) {
      if (format::IsReplicasKey(ToView(it->key()))) {
        ASSIGN_OR_RETURN(const uint32_t shard, format::ParseReplicasKey(ToView(it->key())));
        ASSIGN_OR_RETURN(records.replicas[shard], format::DecodeReplicas(ToView(it->value())));
        continue;
      }
      ASSIGN_OR_RETURN(const Sequence sequence, format::ParseSequenceKey(format::kChangePrefix, ToView(it->key())));
      ASSIGN_OR_RETURN(RememberedChange change, format::DecodeChange(sequence, ToView(it->value())));
      records.changes.push_back(std::move(change));
    }
    return FromRocksDb(it->status(), "read the changes of the catalogue");
  }

  rocksdb::Status EncodeRemovals(const CatalogueBatch& batch, rocksdb::WriteBatch& out) const {
    rocksdb::Status status;
    if (batch.whole) {
      // Before all that is written: what is there again is written after it.
      status = out.DeleteRange(memories_, std::string(), EndOf(memories_));
      if (status.ok() && changes_ != nullptr) status = out.DeleteRange(changes_, std::string(), EndOf(changes_));
    }
    for (const MemoryNumber number : batch.removed) {
      if (status.ok()) status = out.Delete(memories_, format::MemoryPrefix(number));
    }
    for (const Sequence sequence : batch.forgotten) {
      if (status.ok()) status = out.Delete(changes_, format::SequenceKey(format::kChangePrefix, sequence));
    }
    return status;
  }

  // A key after all that there are.
  std::string EndOf(rocksdb::ColumnFamilyHandle* family) const {
    const std::unique_ptr<rocksdb::Iterator> it(store_->db().NewIterator(rocksdb::ReadOptions(), family));
    it->SeekToLast();
    return it->Valid() ? it->key().ToString() + '\0' : std::string(1, '\0');
  }

  absl::Status Encoded(const rocksdb::Status& encoded) {
    return encoded.ok() ? absl::OkStatus() : store_->Fail(FromRocksDb(encoded, "write the catalogue"));
  }

  const std::unique_ptr<DurableDb> store_;
  rocksdb::ColumnFamilyHandle* const memories_;
  rocksdb::ColumnFamilyHandle* const changes_;  // null: it has no log
};

// Of a store that cannot be opened: whether it is of the kind with a log; true where that is not known either.
bool HasChanges(const std::string& path) {
  std::vector<std::string> families;
  if (!rocksdb::DB::ListColumnFamilies(rocksdb::DBOptions(), path, &families).ok()) return true;
  return std::find(families.begin(), families.end(), format::kChangesFamily) != families.end();
}

absl::StatusOr<std::unique_ptr<CatalogueStore>> OpenStore(const std::string& path, StoreResources* resources,
                                                          std::shared_ptr<rocksdb::FileSystem> file_system,
                                                          bool logged) {
  DurableDbOptions options;
  options.path = path;
  options.resources = &resources->state();
  options.file_system = std::move(file_system);
  options.families = {{format::kMemoriesFamily, FamilyUse::kOrdered}};
  if (logged) options.families.push_back({format::kChangesFamily, FamilyUse::kOrdered});
  ASSIGN_OR_RETURN(std::unique_ptr<DurableDb> store, DurableDb::Open(std::move(options)));
  return std::unique_ptr<CatalogueStore>(std::make_unique<RocksDbCatalogueStore>(std::move(store), logged));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CatalogueStore>> OpenCatalogueStore(const std::string& path, StoreResources* resources,
                                                                   std::shared_ptr<rocksdb::FileSystem> file_system) {
  return OpenStore(path, resources, std::move(file_system), /*logged=*/false);
}

absl::StatusOr<std::unique_ptr<CatalogueStore>> OpenLoggedCatalogueStore(const std::string& path,
                                                                         StoreResources* resources) {
  absl::StatusOr<std::unique_ptr<CatalogueStore>> store = OpenStore(path, resources, nullptr, /*logged=*/true);
  if (!absl::IsDataLoss(store.status()) || HasChanges(path)) return store;
  return absl::FailedPreconditionError(
      absl::StrCat(path, " has no log of names: it is of a process without --log, or of a version in which names had "
                   "none, and is exported and imported (or else its manifest is damaged, and it is put back from a "
                   "backup)"));
}

absl::Status DetachCatalogue(const std::string& path, StoreResources* resources) {
  if (!HasChanges(path)) return absl::OkStatus();
  CatalogueBatch all;
  {
    ASSIGN_OR_RETURN(const auto logged, OpenLoggedCatalogueStore(path, resources));
    ASSIGN_OR_RETURN(CatalogueRecords records, logged->Read());
    all.memories = std::move(records.memories);
    all.aliases = std::move(records.aliases);
    ASSIGN_OR_RETURN(all.next_number, logged->NextNumber());
  }
  const std::string detached = path + ".detached";
  {
    ASSIGN_OR_RETURN(const auto store, OpenCatalogueStore(detached, resources));
    RETURN_IF_ERROR(store->Write(all));
    RETURN_IF_ERROR(store->Flush());
  }
  std::error_code error;
  std::filesystem::remove_all(path, error);
  return MovePath(detached, path);
}

}  // namespace mneme
