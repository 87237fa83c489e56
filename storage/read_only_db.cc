#include "storage/read_only_db.h"

#include <rocksdb/table.h>

#include <cstdarg>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

constexpr int kMaxOpenFiles = 64;

// RocksDB would write a file LOG beside what it reads.
class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

absl::Status ForEachRecord(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family,
                           const std::function<absl::Status(std::string_view key, std::string_view value)>& visit) {
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options, family));
  for (it->SeekToFirst(); it->Valid(); it->Next()) RETURN_IF_ERROR(visit(ToView(it->key()), ToView(it->value())));
  return FromRocksDb(it->status(), "read");
}

}  // namespace

absl::StatusOr<std::unique_ptr<ReadOnlyDb>> ReadOnlyDb::Open(const std::string& path, rocksdb::Env* env,
                                                             std::shared_ptr<rocksdb::Cache> cache) {
  rocksdb::DBOptions options;
  options.env = env;
  options.info_log = std::make_shared<NoLog>();
  options.max_open_files = kMaxOpenFiles;
  options.skip_stats_update_on_db_open = true;
  // A checkpoint that was made while a record was written ends within it.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  // As the store that it was made of, whose MANIFEST names its logs: RocksDB asserts on reading such a one without.
  options.track_and_verify_wals_in_manifest = true;
  std::vector<std::string> names;
  RETURN_IF_ERROR(FromRocksDb(rocksdb::DB::ListColumnFamilies(options, path, &names), "open"));
  // All of them: a backup has the files of what is open.
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  rocksdb::ColumnFamilyOptions family_options;
  if (cache != nullptr) {
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = std::move(cache);
    family_options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  }
  for (const std::string& name : names) families.emplace_back(name, family_options);
  std::unique_ptr<ReadOnlyDb> opened(new ReadOnlyDb);
  rocksdb::DB* db = nullptr;
  RETURN_IF_ERROR(
      FromRocksDb(rocksdb::DB::OpenForReadOnly(options, path, families, &opened->families_, &db), "open"));
  opened->db_.reset(db);
  return opened;
}

ReadOnlyDb::~ReadOnlyDb() {
  for (rocksdb::ColumnFamilyHandle* family : families_) (void)db_->DestroyColumnFamilyHandle(family);
}

rocksdb::ColumnFamilyHandle* ReadOnlyDb::family(std::string_view name) const {
  for (rocksdb::ColumnFamilyHandle* family : families_) {
    if (family->GetName() == name) return family;
  }
  return nullptr;
}

absl::StatusOr<StoreContents> ReadOnlyDb::ReadContents() const {
  StoreContents contents;
  bool has_state = false;
  const auto state = [&](std::string_view key, std::string_view value) -> absl::Status {
    if (key != format::kStateKey) return absl::OkStatus();
    ASSIGN_OR_RETURN(const format::StoreState stored, format::DecodeState(value));
    contents.applied = stored.applied;
    has_state = true;
    return absl::OkStatus();
  };
  const auto head = [&](std::string_view key, std::string_view value) -> absl::Status {
    ASSIGN_OR_RETURN(const PartitionKey partition, format::ParsePartitionKey(key));
    ASSIGN_OR_RETURN(const PartitionHead stored, format::DecodeHead(partition, value));
    contents.entries += stored.live_rows;
    return absl::OkStatus();
  };
  const auto memory = [&](std::string_view key, std::string_view value) -> absl::Status {
    if (format::IsAlias(value)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const MemoryNumber number, format::ParseMemoryKey(key));
    ASSIGN_OR_RETURN(const MemoryRecord stored, format::DecodeMemory(number, value));
    contents.entries += stored.dropped ? 0 : 1;
    return absl::OkStatus();
  };
  for (rocksdb::ColumnFamilyHandle* family : families_) {
    const std::string& name = family->GetName();
    if (name == format::kMetaFamily) RETURN_IF_ERROR(ForEachRecord(*db_, family, state));
    if (name == format::kHeadsFamily) RETURN_IF_ERROR(ForEachRecord(*db_, family, head));
    if (name == format::kMemoriesFamily) RETURN_IF_ERROR(ForEachRecord(*db_, family, memory));
  }
  if (!has_state) return absl::DataLossError(absl::StrCat(db_->GetName(), " lacks its state"));
  return contents;
}

}  // namespace mneme
