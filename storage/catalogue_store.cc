#include "storage/catalogue_store.h"

#include <algorithm>
#include <utility>

#include "common/status_macros.h"
#include "storage/durable_db.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

// The first number given: 0 stays free to mean "no memory".
constexpr MemoryNumber kFirstNumber = 1;

class RocksDbCatalogueStore final : public CatalogueStore {
 public:
  explicit RocksDbCatalogueStore(std::unique_ptr<DurableDb> store)
      : store_(std::move(store)), memories_(store_->family(0)) {}

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
    return records;
  }

  // The state's counter holds how far the next number lies above the first.
  absl::StatusOr<MemoryNumber> NextNumber() const override {
    return static_cast<MemoryNumber>(kFirstNumber + store_->state().counter);
  }

  absl::Status Put(const MemoryRecord& record) override {
    return PutNumbered(record.number, format::EncodeMemory(record));
  }

  absl::Status Put(const AliasRecord& record) override {
    return PutNumbered(record.number, format::EncodeAlias(record));
  }

  absl::Status Remove(MemoryNumber number) override {
    rocksdb::WriteBatch batch;
    const rocksdb::Status status = batch.Delete(memories_, format::MemoryPrefix(number));
    return WriteSynced(status, batch, 0);
  }

  absl::Status Flush() const override { return store_->Flush(); }
  absl::Status Checkpoint(const std::string& path) const override { return store_->Checkpoint(path); }

 private:
  absl::Status PutNumbered(MemoryNumber number, const std::string& record) {
    ASSIGN_OR_RETURN(const MemoryNumber next, NextNumber());
    const int64_t rise = std::max<int64_t>(0, int64_t{number} + 1 - int64_t{next});
    rocksdb::WriteBatch batch;
    const rocksdb::Status status = batch.Put(memories_, format::MemoryPrefix(number), record);
    return WriteSynced(status, batch, rise);
  }

  absl::Status WriteSynced(const rocksdb::Status& encoded, rocksdb::WriteBatch& batch, int64_t rise) {
    if (!encoded.ok()) return store_->Fail(FromRocksDb(encoded, "write the catalogue"));
    RETURN_IF_ERROR(store_->Write(batch, store_->state().applied + 1, rise));
    return store_->Sync().status();
  }

  const std::unique_ptr<DurableDb> store_;
  rocksdb::ColumnFamilyHandle* const memories_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CatalogueStore>> OpenCatalogueStore(const std::string& path, StoreResources* resources,
                                                                   std::shared_ptr<rocksdb::FileSystem> file_system) {
  DurableDbOptions options;
  options.path = path;
  options.resources = &resources->state();
  options.file_system = std::move(file_system);
  options.families = {{format::kMemoriesFamily, FamilyUse::kOrdered}};
  ASSIGN_OR_RETURN(std::unique_ptr<DurableDb> store, DurableDb::Open(std::move(options)));
  return std::unique_ptr<CatalogueStore>(std::make_unique<RocksDbCatalogueStore>(std::move(store)));
}

}  // namespace mneme
