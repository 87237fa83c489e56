// Every part is a mark of its kind and its texts, each behind its length, so that no two contents are the same bytes.
#include "storage/shard_digest.h"

#include <rocksdb/env.h>

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/running_checksum.h"
#include "common/status_macros.h"
#include "storage/byte_codec.h"
#include "storage/db_cursor.h"
#include "storage/format.h"
#include "storage/read_only_db.h"

namespace mneme {
namespace {

// Part of every digest: replicas that make it in different ways do not have the same by accident.
constexpr std::string_view kVersion = "mneme digest 1";
constexpr size_t kReadAheadBytes = size_t{2} << 20;

// Of the keys in `states`: sessions, states, pieces, and counts of bases. Expiries lie under memory 0.
bool IsOfContent(std::string_view key) {
  constexpr std::string_view kMarks = "svcr";
  return key.size() > format::kMemoryPrefixBytes &&
         kMarks.find(key[format::kMemoryPrefixBytes]) != std::string_view::npos;
}

class Digester {
 public:
  Digester(const ReadOnlyDb& db, const std::function<absl::Status(uint64_t)>& reading)
      : heads_(db, format::kHeadsFamily, kReadAheadBytes), rows_(db, format::kRowsFamily, kReadAheadBytes),
        states_(db, format::kStatesFamily, kReadAheadBytes), reading_(reading) {
    checksum_.Add(kVersion);
  }

  absl::Status Add(const MemoryRecord& memory) {
    const std::string prefix = format::MemoryPrefix(memory.number);
    RETURN_IF_ERROR(Add('m', prefix, format::EncodeMemory(memory)));
    for (heads_.SeekOn(prefix); heads_.At(prefix); heads_.Next()) {
      ASSIGN_OR_RETURN(const PartitionKey key, format::ParsePartitionKey(heads_.key()));
      ASSIGN_OR_RETURN(const PartitionHead head, format::DecodeHead(key, heads_.value()));
      RETURN_IF_ERROR(AddPartition(head));
    }
    RETURN_IF_ERROR(heads_.status());
    for (states_.SeekOn(prefix); states_.At(prefix); states_.Next()) {
      if (IsOfContent(states_.key())) RETURN_IF_ERROR(Add('t', states_.key(), states_.value()));
    }
    return states_.status();
  }

  // No more memories.
  absl::StatusOr<ShardDigest> Finish(Sequence applied) {
    RETURN_IF_ERROR(reading_(unread_));
    return ShardDigest{applied, entries_, checksum_.Sum()};
  }

 private:
  absl::Status AddPartition(const PartitionHead& head) {
    const std::string prefix = format::PartitionPrefix(head.key);
    std::string counts;
    format::ByteWriter writer(counts);
    writer.Varint(head.next_row);
    writer.Varint(head.live_rows);
    RETURN_IF_ERROR(Add('p', prefix, counts));
    uint64_t rows = 0;
    for (rows_.SeekOn(prefix); rows_.At(prefix); rows_.Next(), ++rows) {
      RETURN_IF_ERROR(Add('r', rows_.key(), rows_.value()));
    }
    RETURN_IF_ERROR(rows_.status());
    entries_ += rows;
    if (rows == head.live_rows) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat("partition ", head.key.partition, " of memory ", head.key.memory, " has ",
                                            rows, " rows; its head says ", head.live_rows));
  }

  absl::Status Add(char kind, std::string_view key, std::string_view value) {
    std::string lengths(1, kind);
    format::ByteWriter writer(lengths);
    writer.Varint(key.size());
    writer.Varint(value.size());
    checksum_.Add(lengths);
    checksum_.Add(key);
    checksum_.Add(value);
    unread_ += key.size() + value.size();
    if (unread_ < limits::kCheckpointChunkBytes) return absl::OkStatus();
    const uint64_t read = unread_;
    unread_ = 0;
    return reading_(read);
  }

  DbCursor heads_;
  DbCursor rows_;
  DbCursor states_;
  const std::function<absl::Status(uint64_t)>& reading_;
  RunningChecksum checksum_;
  uint64_t entries_ = 0;
  uint64_t unread_ = 0;  // bytes that `reading_` was not told of
};

}  // namespace

absl::StatusOr<ShardDigest> DigestStore(const std::string& path, std::vector<MemoryRecord> memories,
                                        const std::function<absl::Status(uint64_t)>& reading) {
  std::sort(memories.begin(), memories.end(),
            [](const MemoryRecord& a, const MemoryRecord& b) { return a.number < b.number; });
  ASSIGN_OR_RETURN(const auto db, ReadOnlyDb::Open(path, rocksdb::Env::Default()));
  ASSIGN_OR_RETURN(const StoreContents contents, db->ReadContents());
  Digester digester(*db, reading);
  for (const MemoryRecord& memory : memories) RETURN_IF_ERROR(digester.Add(memory));
  return digester.Finish(contents.applied);
}

}  // namespace mneme
