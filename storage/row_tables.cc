// Order of a commit with tables:
// 1. Once in a life: the mark file, durable. It says that there may be rows above the heads.
// 2. One table for each partition, beside the database; RocksDB links it into its own directory and syncs it, the directory and
//    its manifest.
// 3. The batch itself (RocksDbEntryStore::Commit).
#include "storage/row_tables.h"

#include <rocksdb/sst_file_writer.h>

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "storage/batch_encoder.h"
#include "storage/format.h"
#include "storage/rocksdb_status.h"

namespace mneme {
namespace {

// Not RocksDB's own suffix: it leaves such files alone.
constexpr char kTableSuffix[] = ".table";

}  // namespace

std::string RowTables::MarkPath() const { return absl::StrCat(store_.path(), "/", format::kTablesMarkFile); }

absl::Status RowTables::Mark() {
  if (marked_) return absl::OkStatus();
  rocksdb::Env* env = store_.db().GetEnv();
  std::unique_ptr<rocksdb::WritableFile> file;
  std::unique_ptr<rocksdb::Directory> directory;
  rocksdb::Status status = env->NewWritableFile(MarkPath(), &file, rocksdb::EnvOptions());
  if (status.ok()) status = file->Sync();
  if (status.ok()) status = file->Close();
  if (status.ok()) status = env->NewDirectory(store_.path(), &directory);
  if (status.ok()) status = directory->Fsync();
  RETURN_IF_ERROR(FromRocksDb(status, "write the mark of tables"));
  marked_ = true;
  return absl::OkStatus();
}

absl::Status RowTables::WriteTable(const std::string& path, const Runs& runs) const {
  rocksdb::SstFileWriter table(rocksdb::EnvOptions(), store_.db().GetOptions(rows_), rows_);
  RETURN_IF_ERROR(FromRocksDb(table.Open(path), "open a table"));
  std::string record;
  for (const StoreBatch::Run* run : runs) {
    for (size_t i = run->begin; i < run->end; ++i) {
      record.clear();
      format::AppendRow(run->columns->At(i), record);
      const std::string key = format::NumberedKey(run->key, run->first_row + (i - run->begin));
      RETURN_IF_ERROR(FromRocksDb(table.Put(key, record), "write a table"));
    }
  }
  return FromRocksDb(table.Finish(), "finish a table");
}

absl::Status RowTables::Ingest(const StoreBatch& batch) {
  std::map<PartitionKey, Runs> runs_of;
  for (const StoreBatch::Run& run : batch.runs) {
    if (GoesAsTable(batch, run) && run.begin < run.end) runs_of[run.key].push_back(&run);
  }
  if (runs_of.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(store_.failure());
  RETURN_IF_ERROR(Mark());
  std::vector<std::string> paths;
  for (auto& [key, runs] : runs_of) {
    std::sort(runs.begin(), runs.end(),
              [](const StoreBatch::Run* a, const StoreBatch::Run* b) { return a->first_row < b->first_row; });
    // Never a name twice: should RocksDB fail to unlink one, writing it again would write into the table it took in.
    paths.push_back(absl::StrCat(store_.path(), "/rows-", ++tables_, kTableSuffix));
    RETURN_IF_ERROR(WriteTable(paths.back(), runs));
  }
  rocksdb::IngestExternalFileOptions options;
  options.move_files = true;
  options.write_global_seqno = false;
  RETURN_IF_ERROR(FromRocksDb(store_.db().IngestExternalFile(rows_, paths, options), "take in a table"));
  store_.links().Release();
  return absl::OkStatus();
}

absl::Status RowTables::Recover(const std::vector<PartitionHead>& heads) {
  rocksdb::Env* env = store_.db().GetEnv();
  const bool marked = env->FileExists(MarkPath()).ok();
  if (marked) RETURN_IF_ERROR(RemoveRowsAboveHeads(heads));
  // Marked or not: names are given from the first again, and a table that RocksDB took in but could not unlink would be
  // written into.
  std::vector<std::string> names;
  RETURN_IF_ERROR(FromRocksDb(env->GetChildren(store_.path(), &names), "look for tables"));
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, kTableSuffix)) continue;
    RETURN_IF_ERROR(FromRocksDb(env->DeleteFile(absl::StrCat(store_.path(), "/", name)), "remove a table"));
  }
  if (!marked) return absl::OkStatus();
  RETURN_IF_ERROR(store_.Sync().status());
  Unmark();
  return absl::OkStatus();
}

absl::Status RowTables::RemoveRowsAboveHeads(const std::vector<PartitionHead>& heads) {
  std::map<PartitionKey, Row> next_rows;
  for (const PartitionHead& head : heads) next_rows[head.key] = head.next_row;
  rocksdb::WriteBatch removals;
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  const std::unique_ptr<rocksdb::Iterator> it(store_.db().NewIterator(options, rows_));
  // Two seeks for each partition, whatever its length.
  for (it->SeekToFirst(); it->Valid();) {
    ASSIGN_OR_RETURN(const format::ParsedKey first, format::ParseNumberedKey(ToView(it->key())));
    const std::string end = format::PrefixEnd(format::PartitionPrefix(first.partition));
    const auto known = next_rows.find(first.partition);
    const std::string above = format::NumberedKey(first.partition, known != next_rows.end() ? known->second : 0);
    it->Seek(above);
    if (!it->Valid()) break;
    if (it->key().compare(end) >= 0) continue;
    RETURN_IF_ERROR(FromRocksDb(removals.DeleteRange(rows_, above, end), "remove rows"));
    it->Seek(end);
  }
  RETURN_IF_ERROR(FromRocksDb(it->status(), "look for rows above the heads"));
  if (removals.Count() == 0) return absl::OkStatus();
  return store_.Write(removals, std::nullopt, 0);
}

void RowTables::Close() {
  // What was committed must be durable before the mark goes: a head that power loss takes back leaves its rows behind.
  if (marked_ && store_.Sync().ok()) Unmark();
}

void RowTables::Unmark() {
  (void)store_.db().GetEnv()->DeleteFile(MarkPath());  // should it stay, the next opening looks once more
  marked_ = false;
}

}  // namespace mneme
