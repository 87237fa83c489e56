// DbCursor: walks over a column family of a database that nobody changes.
#ifndef MNEME_STORAGE_DB_CURSOR_H_
#define MNEME_STORAGE_DB_CURSOR_H_

#include <rocksdb/db.h>

#include <cstddef>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "storage/read_only_db.h"
#include "storage/rocksdb_status.h"

namespace mneme {

// Not thread-safe. Borrows the database. One of a family that is not there has no records.
class DbCursor {
 public:
  // read_ahead: bytes, for one that goes from key to key; 0: it jumps about, and what it read is kept for a while.
  DbCursor(const ReadOnlyDb& db, std::string_view family, size_t read_ahead) {
    rocksdb::ColumnFamilyHandle* const handle = db.family(family);
    if (handle == nullptr) return;
    rocksdb::ReadOptions options;
    options.verify_checksums = true;
    options.fill_cache = read_ahead == 0;
    options.readahead_size = read_ahead;
    it_.reset(db.db().NewIterator(options, handle));
  }

  // To the first key that is not below `key`; does nothing where it has passed that.
  void SeekOn(std::string_view key) {
    if (it_ != nullptr && !(started_ && (!it_->Valid() || ToView(it_->key()) >= key))) Seek(key);
  }
  void Seek(std::string_view key) {
    started_ = true;
    if (it_ != nullptr) it_->Seek(ToSlice(key));
  }
  // Whether it is at a key that begins with `prefix`.
  bool At(std::string_view prefix) const { return Valid() && key().substr(0, prefix.size()) == prefix; }
  bool Valid() const { return it_ != nullptr && it_->Valid(); }
  // Until the next move.
  std::string_view key() const { return ToView(it_->key()); }
  std::string_view value() const { return ToView(it_->value()); }
  void Next() { it_->Next(); }
  // DATA_LOSS when it ended at what is damaged.
  absl::Status status() const { return it_ == nullptr ? absl::OkStatus() : FromRocksDb(it_->status(), "read"); }

 private:
  std::unique_ptr<rocksdb::Iterator> it_;
  bool started_ = false;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_DB_CURSOR_H_
