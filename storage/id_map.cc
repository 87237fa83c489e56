#include "storage/id_map.h"

#include <rocksdb/snapshot.h>

#include <memory>
#include <string>

#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

// From so many ids on a run is the cheaper record, although a look-up through it reads a row.
constexpr size_t kLeastRunIds = 8;
// Ids looked up in one MultiGet: enough to share blocks and hide latency, small enough for arrays on the stack's scale.
constexpr size_t kMultiGetIds = 1024;

// MultiGet over numbered keys.
class Records {
 public:
  Records(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family, const rocksdb::ReadOptions& options,
          const std::vector<std::string>& keys)
      : records_(keys.size()), statuses_(keys.size()) {
    const std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
    db.MultiGet(options, family, keys.size(), slices.data(), records_.data(), statuses_.data());
  }
  // nullopt when there is none.
  absl::StatusOr<std::optional<std::string_view>> At(size_t i) const {
    if (statuses_[i].IsNotFound()) return std::nullopt;
    RETURN_IF_ERROR(FromRocksDb(statuses_[i], "look up an id"));
    return ToView(records_[i]);
  }

 private:
  std::vector<rocksdb::PinnableSlice> records_;
  std::vector<rocksdb::Status> statuses_;
};

}  // namespace

rocksdb::Status IdMap::Encode(const StoreBatch::Run& run, const EntryFamilies& families, rocksdb::WriteBatch& out) {
  const std::vector<EntryId>& ids = run.columns->ids;
  std::string key = format::NumberedKey(run.key, 0);
  rocksdb::Status status;
  for (size_t i = run.begin; i < run.end && status.ok();) {
    size_t end = i + 1;
    while (run.new_ids && end < run.end && ids[end] == ids[end - 1] + 1) ++end;
    const Row row = run.first_row + (i - run.begin);
    if (end - i >= kLeastRunIds) {
      format::SetNumber(ids[end - 1], key);
      status = out.Put(families.id_runs, key, format::EncodeIdRun({end - i, row}));
      i = end;
      continue;
    }
    format::SetNumber(ids[i], key);
    status = out.Put(families.ids, key, format::EncodeNumber(row));
    ++i;
  }
  return status;
}

absl::StatusOr<std::vector<std::optional<Row>>> IdMap::Find(const PartitionKey& key,
                                                            absl::Span<const EntryId> ids) const {
  std::vector<std::optional<Row>> rows(ids.size());
  rocksdb::ManagedSnapshot snapshot(&db_);
  rocksdb::ReadOptions options;
  options.snapshot = snapshot.snapshot();
  std::vector<std::string> keys;
  std::vector<size_t> unknown;
  for (size_t from = 0; from < ids.size(); from += kMultiGetIds) {
    const absl::Span<const EntryId> part = ids.subspan(from, kMultiGetIds);
    keys.clear();
    unknown.clear();
    for (const EntryId id : part) keys.push_back(format::NumberedKey(key, id));
    const Records records(db_, families_.ids, options, keys);
    for (size_t i = 0; i < part.size(); ++i) {
      ASSIGN_OR_RETURN(const std::optional<std::string_view> record, records.At(i));
      if (!record.has_value()) {
        unknown.push_back(from + i);
        continue;
      }
      ASSIGN_OR_RETURN(rows[from + i], format::DecodeNumber(*record));
    }
    if (!unknown.empty()) RETURN_IF_ERROR(FindInRuns(options, key, ids, unknown, rows));
  }
  return rows;
}

absl::Status IdMap::FindInRuns(const rocksdb::ReadOptions& options, const PartitionKey& key,
                               absl::Span<const EntryId> ids, const std::vector<size_t>& at,
                               std::vector<std::optional<Row>>& rows) const {
  const std::string end = format::PrefixEnd(format::PartitionPrefix(key));
  const rocksdb::Slice bound(end);
  rocksdb::ReadOptions bounded = options;
  bounded.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> it(db_.NewIterator(bounded, families_.id_runs));
  std::vector<size_t> found;
  // The run that the last id led to: ids of one request often lie in one.
  EntryId last = 0;
  format::IdRun run;
  for (const size_t i : at) {
    if (run.count == 0 || ids[i] > last || last - ids[i] >= run.count) {
      it->Seek(format::NumberedKey(key, ids[i]));
      if (!it->Valid()) {
        RETURN_IF_ERROR(FromRocksDb(it->status(), "look up an id"));
        continue;
      }
      ASSIGN_OR_RETURN(const format::ParsedKey parsed, format::ParseNumberedKey(ToView(it->key())));
      ASSIGN_OR_RETURN(run, format::DecodeIdRun(parsed, ToView(it->value())));
      last = parsed.number;
      if (last - ids[i] >= run.count) continue;  // before the first of the next run
    }
    rows[i] = run.first_row + (run.count - 1 - (last - ids[i]));
    found.push_back(i);
  }
  return found.empty() ? absl::OkStatus() : KeepStored(options, key, found, rows);
}

absl::Status IdMap::KeepStored(const rocksdb::ReadOptions& options, const PartitionKey& key,
                               const std::vector<size_t>& at, std::vector<std::optional<Row>>& rows) const {
  std::vector<std::string> keys;
  keys.reserve(at.size());
  for (const size_t i : at) keys.push_back(format::NumberedKey(key, *rows[i]));
  const Records records(db_, families_.rows, options, keys);
  for (size_t j = 0; j < at.size(); ++j) {
    ASSIGN_OR_RETURN(const std::optional<std::string_view> record, records.At(j));
    if (!record.has_value()) rows[at[j]] = std::nullopt;
  }
  return absl::OkStatus();
}

}  // namespace mneme
