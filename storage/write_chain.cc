#include "storage/write_chain.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

// Stored in tables: do not rename.
constexpr char kStateProperty[] = "mneme.state";
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

class StateCollector final : public rocksdb::TablePropertiesCollector {
 public:
  rocksdb::Status AddUserKey(const rocksdb::Slice& key, const rocksdb::Slice& value, rocksdb::EntryType type,
                             rocksdb::SequenceNumber, uint64_t) override {
    if (type != rocksdb::kEntryPut || ToView(key) != format::kStateKey) return rocksdb::Status::OK();
    const absl::StatusOr<format::StoreState> state = format::DecodeState(ToView(value));
    if (!state.ok()) return rocksdb::Status::Corruption(state.status().ToString());
    if (state->writes > state_.writes) state_ = *state;
    return rocksdb::Status::OK();
  }
  rocksdb::Status Finish(rocksdb::UserCollectedProperties* properties) override {
    *properties = GetReadableProperties();
    return rocksdb::Status::OK();
  }
  rocksdb::UserCollectedProperties GetReadableProperties() const override {
    return {{kStateProperty, format::EncodeState(state_)}};
  }
  const char* Name() const override { return "mneme.StateCollector"; }

 private:
  format::StoreState state_;
};

class StateCollectorFactory final : public rocksdb::TablePropertiesCollectorFactory {
 public:
  rocksdb::TablePropertiesCollector* CreateTablePropertiesCollector(Context) override {
    return new StateCollector;  // RocksDB owns it
  }
  const char* Name() const override { return "mneme.StateCollectorFactory"; }
};

}  // namespace

rocksdb::WalFilter::WalProcessingOption WriteChain::LogRecordFound(unsigned long long, const std::string&,
                                                                  const rocksdb::WriteBatch& batch,
                                                                  rocksdb::WriteBatch*, bool*) {
  StateFinder finder;
  if (!batch.Iterate(&finder).ok() || !finder.state.has_value()) return WalProcessingOption::kCorruptedRecord;
  const format::StoreState& state = *finder.state;
  if (!first_.has_value()) first_ = state;
  // The log may begin with writes that are in tables already, so its first is compared with an upper bound alone.
  const bool gap = last_.has_value() ? state.writes != last_->writes + 1
                                     : tables_.has_value() && state.writes > tables_->writes + 1;
  if (gap) {
    const Sequence applied = last_.has_value() ? last_->applied : tables_->applied;
    stopped_ = accept_gap_ || applied >= watermark_;
    return stopped_ ? WalProcessingOption::kStopReplay : WalProcessingOption::kCorruptedRecord;
  }
  last_ = state;
  return WalProcessingOption::kContinueProcessing;
}

std::shared_ptr<rocksdb::TablePropertiesCollectorFactory> NewStateCollectorFactory() {
  return std::make_shared<StateCollectorFactory>();
}

absl::StatusOr<format::StoreState> StateInTables(rocksdb::DB& db) {
  std::string session;
  RETURN_IF_ERROR(FromRocksDb(db.GetDbSessionId(session), "read its session"));
  rocksdb::TablePropertiesCollection tables;
  RETURN_IF_ERROR(FromRocksDb(db.GetPropertiesOfAllTables(db.DefaultColumnFamily(), &tables), "read table properties"));
  format::StoreState latest;
  for (const auto& [name, properties] : tables) {
    if (properties->db_session_id == session) continue;  // made of the log while recovering
    const auto found = properties->user_collected_properties.find(kStateProperty);
    if (found == properties->user_collected_properties.end()) {
      return absl::DataLossError(absl::StrCat("table ", name, " lacks its property ", kStateProperty));
    }
    ASSIGN_OR_RETURN(const format::StoreState state, format::DecodeState(found->second));
    if (state.writes > latest.writes) latest = state;
  }
  return latest;
}

}  // namespace mneme
