#include "storage/write_chain.h"

#include <algorithm>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

constexpr char kWriteNumberProperty[] = "mneme.writes";
// RocksDB gives its default column family, our meta, this id.
constexpr uint32_t kMetaFamilyId = 0;

// Finds the state record of one write among its operations.
class StateFinder final : public rocksdb::WriteBatch::Handler {
 public:
  std::optional<format::StoreState> state;

  rocksdb::Status PutCF(uint32_t family, const rocksdb::Slice& key, const rocksdb::Slice& value) override {
    if (family != kMetaFamilyId || ToView(key) != format::kStateKey) return rocksdb::Status::OK();
    absl::StatusOr<format::StoreState> decoded = format::DecodeState(ToView(value));
    if (!decoded.ok()) return rocksdb::Status::Corruption(decoded.status().ToString());
    state = *decoded;
    return rocksdb::Status::OK();
  }
  rocksdb::Status DeleteCF(uint32_t, const rocksdb::Slice&) override { return rocksdb::Status::OK(); }
  rocksdb::Status DeleteRangeCF(uint32_t, const rocksdb::Slice&, const rocksdb::Slice&) override {
    return rocksdb::Status::OK();
  }
  void LogData(const rocksdb::Slice&) override {}
};

class WriteNumberCollector final : public rocksdb::TablePropertiesCollector {
 public:
  rocksdb::Status AddUserKey(const rocksdb::Slice& key, const rocksdb::Slice& value, rocksdb::EntryType type,
                             rocksdb::SequenceNumber, uint64_t) override {
    if (type != rocksdb::kEntryPut || ToView(key) != format::kStateKey) return rocksdb::Status::OK();
    const absl::StatusOr<format::StoreState> state = format::DecodeState(ToView(value));
    if (!state.ok()) return rocksdb::Status::Corruption(state.status().ToString());
    writes_ = std::max(writes_, state->writes);
    return rocksdb::Status::OK();
  }
  rocksdb::Status Finish(rocksdb::UserCollectedProperties* properties) override {
    *properties = GetReadableProperties();
    return rocksdb::Status::OK();
  }
  rocksdb::UserCollectedProperties GetReadableProperties() const override {
    return {{kWriteNumberProperty, absl::StrCat(writes_)}};
  }
  const char* Name() const override { return "mneme.WriteNumberCollector"; }

 private:
  uint64_t writes_ = 0;
};

class WriteNumberCollectorFactory final : public rocksdb::TablePropertiesCollectorFactory {
 public:
  rocksdb::TablePropertiesCollector* CreateTablePropertiesCollector(Context) override {
    return new WriteNumberCollector;  // RocksDB owns it
  }
  const char* Name() const override { return "mneme.WriteNumberCollectorFactory"; }
};

}  // namespace

rocksdb::WalFilter::WalProcessingOption WriteChain::LogRecordFound(unsigned long long, const std::string&,
                                                                  const rocksdb::WriteBatch& batch,
                                                                  rocksdb::WriteBatch*, bool*) {
  StateFinder finder;
  if (!batch.Iterate(&finder).ok() || !finder.state.has_value()) return WalProcessingOption::kCorruptedRecord;
  const format::StoreState& state = *finder.state;
  if (last_write_ != 0 && state.writes != last_write_ + 1) {
    return accept_gap_ || applied_ >= watermark_ ? WalProcessingOption::kStopReplay
                                                 : WalProcessingOption::kCorruptedRecord;
  }
  if (first_write_ == 0) first_write_ = state.writes;
  last_write_ = state.writes;
  applied_ = state.applied;
  return WalProcessingOption::kContinueProcessing;
}

std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> NewWriteNumberCollectorFactory() {
  return std::make_shared<WriteNumberCollectorFactory>();
}

absl::Status CheckLogFollowsTables(rocksdb::DB& db, const WriteChain& chain) {
  std::string session;
  RETURN_IF_ERROR(FromRocksDb(db.GetDbSessionId(session), "read its session"));
  rocksdb::TablePropertiesCollection tables;
  RETURN_IF_ERROR(FromRocksDb(db.GetPropertiesOfAllTables(db.DefaultColumnFamily(), &tables), "read table properties"));
  uint64_t in_tables = 0;
  for (const auto& [name, properties] : tables) {
    // Tables of this session were just made of the log itself.
    if (properties->db_session_id == session) continue;
    const auto found = properties->user_collected_properties.find(kWriteNumberProperty);
    uint64_t writes = 0;
    if (found == properties->user_collected_properties.end() || !absl::SimpleAtoi(found->second, &writes)) {
      return absl::DataLossError(absl::StrCat("table ", name, " lacks its ", kWriteNumberProperty, " property"));
    }
    in_tables = std::max(in_tables, writes);
  }
  if (chain.first_write() <= in_tables + 1) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the log begins at write ", chain.first_write(), ", but the tables end at write ",
                                          in_tables, "; restore from a backup"));
}

}  // namespace mneme
