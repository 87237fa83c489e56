#include "storage/batch_encoder.h"

#include <string>

#include "storage/format.h"
#include "storage/id_map.h"
#include "storage/rocksdb_status.h"

// A failed operation leaves the rest unwritten; the caller discards the whole batch.
#define RETURN_IF_NOT_OK(expr)                                        \
  do {                                                                \
    if (rocksdb::Status status_ = (expr); !status_.ok()) return status_; \
  } while (false)

namespace mneme {
namespace {

// Bytes of one operation beside key and value, and of a record beside its key and value; rounded up.
constexpr size_t kOverheadPerEntry = 128;

// Family by family: RocksDB puts each operation into its family's table, which stays in the processor's cache so.
rocksdb::Status EncodeRun(const StoreBatch::Run& run, const EntryFamilies& families, rocksdb::WriteBatch& out) {
  std::string key = format::NumberedKey(run.key, 0);
  std::string start;
  for (size_t i = run.begin; i < run.end; ++i) {
    const EntryView entry = run.columns->At(i);
    start.clear();
    format::AppendRowStart(entry, start);
    format::SetNumber(run.first_row + (i - run.begin), key);
    const rocksdb::Slice key_part = key;
    const rocksdb::Slice parts[] = {start, ToSlice(entry.key), ToSlice(entry.value)};
    RETURN_IF_NOT_OK(out.Put(families.rows, rocksdb::SliceParts(&key_part, 1), rocksdb::SliceParts(parts, 3)));
  }
  return run.map_ids ? IdMap::Encode(run, families, out) : rocksdb::Status::OK();
}

rocksdb::Status EncodeDeath(const StoreBatch::Death& death, const EntryFamilies& families, rocksdb::WriteBatch& out) {
  const std::string row_key = format::NumberedKey(death.key, death.row);
  RETURN_IF_NOT_OK(out.Delete(families.rows, row_key));
  RETURN_IF_NOT_OK(out.Put(families.dead, row_key, rocksdb::Slice()));
  if (!death.unmap_id) return rocksdb::Status::OK();
  return out.Delete(families.ids, format::NumberedKey(death.key, death.id));
}

}  // namespace

rocksdb::Status EncodeDrop(const std::string& prefix, const EntryFamilies& families, rocksdb::WriteBatch& out) {
  const std::string end = format::PrefixEnd(prefix);
  for (rocksdb::ColumnFamilyHandle* family :
       {families.rows, families.ids, families.id_runs, families.dead, families.heads, families.segments}) {
    RETURN_IF_NOT_OK(out.DeleteRange(family, prefix, end));
  }
  return rocksdb::Status::OK();
}

rocksdb::Status EncodeBatch(const StoreBatch& batch, const EntryFamilies& families, rocksdb::WriteBatch& out) {
  for (const PartitionKey& dropped : batch.dropped_partitions) {
    RETURN_IF_NOT_OK(EncodeDrop(format::PartitionPrefix(dropped), families, out));
  }
  for (const StoreBatch::Run& run : batch.runs) RETURN_IF_NOT_OK(EncodeRun(run, families, out));
  for (const StoreBatch::Death& death : batch.deaths) RETURN_IF_NOT_OK(EncodeDeath(death, families, out));
  for (const PartitionHead& head : batch.heads) {
    RETURN_IF_NOT_OK(out.Put(families.heads, format::PartitionPrefix(head.key), format::EncodeHead(head)));
  }
  for (const SegmentRecord& segment : batch.removed_segments) {
    RETURN_IF_NOT_OK(out.Delete(families.segments, format::NumberedKey(segment.key, segment.file_number)));
  }
  for (const SegmentRecord& segment : batch.added_segments) {
    RETURN_IF_NOT_OK(out.Put(families.segments, format::NumberedKey(segment.key, segment.file_number),
                             format::EncodeSegment(segment)));
  }
  for (const StoreBatch::Death& mark : batch.cleared_marks) {
    RETURN_IF_NOT_OK(out.Delete(families.dead, format::NumberedKey(mark.key, mark.row)));
  }
  return rocksdb::Status::OK();
}

size_t EncodedBytes(const StoreBatch& batch) {
  size_t bytes = 4096;
  for (const StoreBatch::Run& run : batch.runs) {
    const size_t count = run.end - run.begin;
    const ValueColumn& values = run.columns->values;
    const size_t value_bytes =
        values.width != 0 ? count * values.width
        : values.offsets.empty() ? 0
                                 : static_cast<size_t>(values.offsets[run.end] - values.offsets[run.begin]);
    bytes += count * (run.columns->key_bytes + kOverheadPerEntry) + value_bytes;
  }
  return bytes + batch.deaths.size() * kOverheadPerEntry;
}

#undef RETURN_IF_NOT_OK

}  // namespace mneme
