#include "storage/rocksdb_options.h"

#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>

#include "storage/log_guard.h"

namespace mneme {
namespace {

constexpr size_t kMiB = 1024 * 1024;

// Memtables of rows: large, so that a flush writes one long run. The shared manager bounds their sum.
constexpr size_t kRowsWriteBufferBytes = 64 * kMiB;
constexpr size_t kSmallWriteBufferBytes = 16 * kMiB;
// A row of d = 128 f16 has 270 bytes: 16 KiB blocks hold 60 of them, one read each for a scan.
constexpr size_t kRowsBlockBytes = 16 * 1024;
constexpr size_t kSmallBlockBytes = 8 * 1024;
// Log kept for recovery: a second or two of replay.
constexpr uint64_t kMaxLogBytes = 256 * kMiB;
constexpr int kMaxOpenFiles = 512;
constexpr int kBackgroundThreads = 2;
constexpr double kBloomBitsPerKey = 10;

}  // namespace

StoreResources::StoreResources(size_t block_cache_bytes, size_t write_buffer_bytes)
    : state_(std::make_unique<State>()) {
  state_->block_cache = rocksdb::NewLRUCache(block_cache_bytes);
  state_->write_buffers = std::make_shared<rocksdb::WriteBufferManager>(write_buffer_bytes);
}

StoreResources::~StoreResources() = default;

rocksdb::DBOptions DatabaseOptions(const StoreResources::State& resources) {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.write_buffer_manager = resources.write_buffers;
  // The default mode (point in time) silently drops what follows one flipped bit of the log; this one refuses to open.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.track_and_verify_wals_in_manifest = true;
  options.manual_wal_flush = false;
  options.recycle_log_file_num = 0;  // old bytes behind the tail would look like a damaged record
  // Rows, maps and meta of one write must reach tables together: should the manifest lose its last record, all of them
  // step back to one earlier state, which the watermark then judges.
  options.atomic_flush = true;
  options.max_total_wal_size = kMaxLogBytes;
  // After a failed write or sync nothing may be taken up again silently: the store is closed and opened anew.
  options.max_bgerror_resume_count = 0;
  options.listeners = {std::make_shared<StayStopped>()};  // that count is not asked when the disk was full
  options.max_background_jobs = kBackgroundThreads;
  options.max_open_files = kMaxOpenFiles;
  options.max_file_opening_threads = 4;  // started for every family anew, and a store has few tables
  options.avoid_unnecessary_blocking_io = true;
  options.bytes_per_sync = kMiB;  // tables reach the disk evenly, not in one burst that delays the log
  options.max_log_file_size = kMiB;
  options.keep_log_file_num = 4;
  options.stats_dump_period_sec = 0;
  options.allow_data_in_errors = false;  // no keys or values in messages
  return options;
}

rocksdb::ColumnFamilyOptions FamilyOptions(const StoreResources::State& resources, FamilyUse use) {
  const bool rows = use == FamilyUse::kRows;
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = rows ? kRowsWriteBufferBytes : kSmallWriteBufferBytes;
  options.max_write_buffer_number = 3;
  // Vectors do not compress; the small families are small.
  options.compression = rocksdb::kNoCompression;
  options.level_compaction_dynamic_level_bytes = true;
  options.target_file_size_base = rows ? kRowsWriteBufferBytes : kSmallWriteBufferBytes;
  options.max_bytes_for_level_base = 4 * options.write_buffer_size;

  rocksdb::BlockBasedTableOptions table;
  table.block_cache = resources.block_cache;
  table.block_size = rows ? kRowsBlockBytes : kSmallBlockBytes;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  // Index and filter blocks live in the cache, so that its size bounds them too.
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  if (use == FamilyUse::kLookup) table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace mneme
