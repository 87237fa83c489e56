#include "storage/format.h"

#include <algorithm>
#include <bit>

#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/record.h"

namespace mneme::format {
namespace {

// Of a request that is remembered in parts. Stored on disk.
constexpr uint8_t kRequestInParts = 2;

// A partition with its rows in a receipt.
constexpr size_t kLeastRowsBytes = 3;

// Attributes that differ from their defaults. Stored on disk: do not renumber.
enum RowFlag : uint8_t {
  kWeight = 1 << 0,
  kScore = 1 << 1,
  kLabel = 1 << 2,
  kSource = 1 << 3,
  kPosition = 1 << 4,
  kExpiry = 1 << 5,
  kCreated = 1 << 6,
  kKnownFlags = (1 << 7) - 1,
};

// Bits, so that a weight or score is stored exactly as it came.
bool Differs(float a, float b) { return std::bit_cast<uint32_t>(a) != std::bit_cast<uint32_t>(b); }
bool Differs(double a, double b) { return std::bit_cast<uint64_t>(a) != std::bit_cast<uint64_t>(b); }

uint8_t FlagsOf(const Attributes& a) {
  const Attributes absent;
  uint8_t flags = 0;
  if (Differs(a.weight, absent.weight)) flags |= kWeight;
  if (Differs(a.score, absent.score)) flags |= kScore;
  if (a.label != absent.label) flags |= kLabel;
  if (a.source != absent.source) flags |= kSource;
  if (a.position != absent.position) flags |= kPosition;
  if (a.expiry_ms != absent.expiry_ms) flags |= kExpiry;
  if (a.created_ms != absent.created_ms) flags |= kCreated;
  return flags;
}

void ReadAttributes(uint8_t flags, ByteReader& reader, Attributes& a) {
  if (flags & kWeight) a.weight = reader.Fixed<float>();
  if (flags & kScore) a.score = reader.Fixed<double>();
  if (flags & kLabel) a.label = UnZigZag(reader.Varint());
  if (flags & kSource) a.source = reader.Varint();
  if (flags & kPosition) a.position = reader.Varint();
  if (flags & kExpiry) a.expiry_ms = UnZigZag(reader.Varint());
  if (flags & kCreated) a.created_ms = UnZigZag(reader.Varint());
}

}  // namespace

std::string MemoryPrefix(MemoryNumber memory) {
  std::string out;
  ByteWriter(out).BigEndian(memory);
  return out;
}

std::string PartitionPrefix(const PartitionKey& key) {
  std::string out = MemoryPrefix(key.memory);
  ByteWriter(out).BigEndian(key.partition);
  return out;
}

std::string NumberedKey(const PartitionKey& key, uint64_t number) {
  std::string out = PartitionPrefix(key);
  ByteWriter(out).BigEndian(number);
  return out;
}

void SetNumber(uint64_t number, std::string& key) {
  key.resize(kPartitionPrefixBytes);
  ByteWriter(key).BigEndian(number);
}

std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && static_cast<uint8_t>(prefix.back()) == 0xFF) prefix.pop_back();
  // Nothing but 0xFF: longer than any key of ours, and so after them all.
  if (prefix.empty()) return std::string(kRowKeyBytes + 1, '\xFF');
  prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

absl::StatusOr<PartitionKey> ParsePartitionKey(std::string_view bytes) {
  ByteReader reader(bytes);
  PartitionKey key;
  key.memory = reader.BigEndian<MemoryNumber>();
  key.partition = reader.BigEndian<PartitionId>();
  if (!reader.AtEnd()) return Damaged("partition key");
  return key;
}

absl::StatusOr<ParsedKey> ParseNumberedKey(std::string_view bytes) {
  ByteReader reader(bytes);
  ParsedKey key;
  key.partition.memory = reader.BigEndian<MemoryNumber>();
  key.partition.partition = reader.BigEndian<PartitionId>();
  key.number = reader.BigEndian<uint64_t>();
  if (!reader.AtEnd()) return Damaged("key");
  return key;
}

std::string RequestKey(const Hash128& id) {
  std::string out = kRequestPrefix;
  ByteWriter writer(out);
  writer.BigEndian(id.high);
  writer.BigEndian(id.low);
  return out;
}

absl::StatusOr<Hash128> ParseRequestKey(std::string_view bytes) {
  ByteReader reader(bytes);
  Hash128 id;
  const auto prefix = reader.Fixed<char>();
  id.high = reader.BigEndian<uint64_t>();
  id.low = reader.BigEndian<uint64_t>();
  if (!reader.AtEnd() || prefix != kRequestPrefix[0]) return Damaged("request key");
  return id;
}

std::string RequestByAgeKey(Sequence sequence, const Hash128& id) {
  std::string out = kRequestByAgePrefix;
  ByteWriter writer(out);
  writer.BigEndian(sequence);
  writer.BigEndian(id.high);
  writer.BigEndian(id.low);
  return out;
}

absl::StatusOr<ParsedRequestAge> ParseRequestByAgeKey(std::string_view bytes) {
  ByteReader reader(bytes);
  ParsedRequestAge key;
  const auto prefix = reader.Fixed<char>();
  key.sequence = reader.BigEndian<uint64_t>();
  key.id.high = reader.BigEndian<uint64_t>();
  key.id.low = reader.BigEndian<uint64_t>();
  if (!reader.AtEnd() || prefix != kRequestByAgePrefix[0]) return Damaged("request key");
  return key;
}

void AppendRowStart(const EntryView& entry, std::string& out) {
  const Attributes& a = entry.attributes;
  const uint8_t flags = FlagsOf(a);
  ByteWriter writer(out);
  writer.Fixed(kRecordVersion);
  writer.Fixed(flags);
  writer.Varint(entry.id);
  writer.Varint(entry.key.size());
  writer.Varint(entry.value.size());
  if (flags & kWeight) writer.Fixed(a.weight);
  if (flags & kScore) writer.Fixed(a.score);
  if (flags & kLabel) writer.Varint(ZigZag(a.label));
  if (flags & kSource) writer.Varint(a.source);
  if (flags & kPosition) writer.Varint(a.position);
  if (flags & kExpiry) writer.Varint(ZigZag(a.expiry_ms));
  if (flags & kCreated) writer.Varint(ZigZag(a.created_ms));
}

void AppendRow(const EntryView& entry, std::string& out) {
  AppendRowStart(entry, out);
  out.append(entry.key);
  out.append(entry.value);
}

absl::StatusOr<EntryView> DecodeRow(std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "row"));
  EntryView entry;
  const auto flags = reader.Fixed<uint8_t>();
  entry.id = reader.Varint();
  const uint64_t key_bytes = reader.Varint();
  const uint64_t value_bytes = reader.Varint();
  if ((flags & ~kKnownFlags) != 0) return Damaged("row");
  ReadAttributes(flags, reader, entry.attributes);
  entry.key = reader.Bytes(key_bytes);
  entry.value = reader.Bytes(value_bytes);
  // A flagged attribute that holds its default was not written by AppendRow().
  if (!reader.AtEnd() || FlagsOf(entry.attributes) != flags) return Damaged("row");
  return entry;
}

std::string EncodeNumber(uint64_t number) {
  std::string out;
  ByteWriter(out).Fixed(number);
  return out;
}

absl::StatusOr<uint64_t> DecodeNumber(std::string_view record) {
  ByteReader reader(record);
  const auto number = reader.Fixed<uint64_t>();
  if (!reader.AtEnd()) return Damaged("number");
  return number;
}

std::string EncodeIdRun(const IdRun& run) {
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Varint(run.count);
  writer.Varint(run.first_row);
  return out;
}

absl::StatusOr<IdRun> DecodeIdRun(const ParsedKey& key, std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "run of ids"));
  IdRun run;
  run.count = reader.Varint();
  run.first_row = reader.Varint();
  if (!reader.AtEnd() || run.count == 0 || run.count - 1 > key.number) return Damaged("run of ids");
  return run;
}

std::string EncodeHead(const PartitionHead& head) {
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Varint(head.next_row);
  writer.Varint(head.live_rows);
  writer.Varint(head.id_bound);
  if (head.least_expiry_ms != 0) writer.Varint(static_cast<uint64_t>(head.least_expiry_ms));
  return out;
}

absl::StatusOr<PartitionHead> DecodeHead(const PartitionKey& key, std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "partition head"));
  PartitionHead head;
  head.key = key;
  head.next_row = reader.Varint();
  head.live_rows = reader.Varint();
  head.id_bound = reader.Varint();
  const bool expires = !reader.AtEnd();
  if (expires) head.least_expiry_ms = static_cast<int64_t>(reader.Varint());
  const bool bad_expiry = expires && head.least_expiry_ms <= 0;
  if (!reader.AtEnd() || head.live_rows > head.next_row || bad_expiry) return Damaged("partition head");
  return head;
}

std::string EncodeSegment(const SegmentRecord& segment) {
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Varint(segment.codebook_number);
  writer.Varint(segment.first_row);
  writer.Varint(segment.end_row);
  return out;
}

absl::StatusOr<SegmentRecord> DecodeSegment(const ParsedKey& key, std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "segment record"));
  SegmentRecord segment;
  segment.key = key.partition;
  segment.file_number = key.number;
  segment.codebook_number = reader.Varint();
  segment.first_row = reader.Varint();
  segment.end_row = reader.Varint();
  if (!reader.AtEnd() || segment.end_row < segment.first_row) return Damaged("segment record");
  return segment;
}

std::string EncodeRequest(const RememberedRequest& request) {
  std::string out;
  ByteWriter writer(out);
  writer.Fixed(request.earlier.empty() ? kRecordVersion : kRequestInParts);
  writer.Fixed(request.content);
  writer.Varint(request.sequence);
  writer.Varint(ZigZag(request.stamp_ms));
  if (!request.earlier.empty()) writer.Varint(request.earlier.size());
  for (const RequestPart& part : request.earlier) {
    writer.Varint(part.shards);
    writer.Varint(part.shard);
    writer.Text(part.result);
  }
  writer.Text(request.result);
  return out;
}

absl::StatusOr<RememberedRequest> DecodeRequest(const Hash128& id, std::string_view record) {
  const bool in_parts = !record.empty() && record[0] == static_cast<char>(kRequestInParts);
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "request", in_parts ? kRequestInParts : kRecordVersion));
  RememberedRequest request;
  request.id = id;
  request.content = reader.Fixed<uint64_t>();
  request.sequence = reader.Varint();
  request.stamp_ms = UnZigZag(reader.Varint());
  const uint64_t parts = in_parts ? reader.Varint() : 0;
  if (in_parts && parts == 0) return Damaged("request");
  for (uint64_t i = 0; i < parts; ++i) {
    const uint64_t shards = reader.Varint();
    const uint64_t shard = reader.Varint();
    if (shards == 0 || shards > limits::kMaxShards || shard >= shards) return Damaged("request");  // or its end
    request.earlier.push_back(
        {static_cast<uint32_t>(shards), static_cast<uint32_t>(shard), std::string(reader.Text())});
  }
  request.result = std::string(reader.Text());
  if (!reader.AtEnd()) return Damaged("request");
  return request;
}

std::string EncodeRequestAge(const RememberedRequest& request) {
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Fixed(request.content);
  writer.Varint(ZigZag(request.stamp_ms));
  return out;
}

absl::StatusOr<RememberedRequest> DecodeRequestAge(const ParsedRequestAge& key, std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "request age"));
  RememberedRequest request;
  request.id = key.id;
  request.sequence = key.sequence;
  request.content = reader.Fixed<uint64_t>();
  request.stamp_ms = UnZigZag(reader.Varint());
  if (!reader.AtEnd()) return Damaged("request age");
  return request;
}

std::string SequenceKey(const char* prefix, Sequence sequence) {
  std::string out = prefix;
  ByteWriter(out).BigEndian(sequence);
  return out;
}

absl::StatusOr<Sequence> ParseSequenceKey(const char* prefix, std::string_view bytes) {
  ByteReader reader(bytes);
  const auto stored = reader.Fixed<char>();
  const auto sequence = reader.BigEndian<Sequence>();
  if (!reader.AtEnd() || stored != prefix[0]) return Damaged("key of a receipt");
  return sequence;
}

std::string EncodeReceipt(const DeletionReceipt& receipt) {
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Varint(receipt.memory);
  writer.Varint(receipt.deleted);
  writer.Varint(ZigZag(receipt.stamp_ms));
  writer.Fixed(static_cast<uint8_t>(receipt.many_partitions ? 1 : 0));
  writer.Varint(receipt.rows.size());
  for (const DeletionReceipt::Rows& rows : receipt.rows) {
    writer.Varint(rows.partition);
    writer.Varint(rows.first_row);
    writer.Varint(rows.end_row);
  }
  return out;
}

absl::StatusOr<DeletionReceipt> DecodeReceipt(Sequence sequence, std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "receipt"));
  DeletionReceipt receipt;
  receipt.sequence = sequence;
  const uint64_t memory = reader.Varint();
  receipt.memory = static_cast<MemoryNumber>(memory);
  receipt.deleted = reader.Varint();
  receipt.stamp_ms = UnZigZag(reader.Varint());
  const auto many = reader.Fixed<uint8_t>();
  const uint64_t partitions = reader.Varint();
  const bool fits = memory == receipt.memory && many <= 1 && partitions <= limits::kMaxReceiptPartitions &&
                    (many == 0 || partitions == 0);
  if (!reader.ok() || !fits) return Damaged("receipt");
  receipt.many_partitions = many == 1;
  receipt.rows.reserve(std::min<uint64_t>(partitions, record.size() / kLeastRowsBytes));
  for (uint64_t i = 0; i < partitions; ++i) {
    DeletionReceipt::Rows rows;
    rows.partition = reader.Varint();
    rows.first_row = reader.Varint();
    rows.end_row = reader.Varint();
    const bool ascends = receipt.rows.empty() || receipt.rows.back().partition < rows.partition;
    if (!reader.ok() || !ascends || rows.first_row >= rows.end_row) return Damaged("receipt");
    receipt.rows.push_back(rows);
  }
  if (!reader.AtEnd()) return Damaged("receipt");
  return receipt;
}

std::string EncodeErasure(const ErasureRun& run) {
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Varint(ZigZag(run.begun_ms));
  writer.Varint(ZigZag(run.indexed_ms));
  writer.Varint(ZigZag(run.erased_ms));
  writer.Varint(run.last_backup);
  return out;
}

absl::StatusOr<ErasureRun> DecodeErasure(Sequence through, std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "run of erasure"));
  ErasureRun run;
  run.through = through;
  run.begun_ms = UnZigZag(reader.Varint());
  run.indexed_ms = UnZigZag(reader.Varint());
  run.erased_ms = UnZigZag(reader.Varint());
  run.last_backup = reader.Varint();
  const bool in_order = run.erased_ms == 0 ? run.last_backup == 0 : run.indexed_ms != 0;
  if (!reader.AtEnd() || !in_order) return Damaged("run of erasure");
  return run;
}

std::string EncodeState(const StoreState& state) {
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Varint(state.applied);
  writer.Varint(state.writes);
  writer.Varint(state.counter);
  return out;
}

absl::StatusOr<StoreState> DecodeState(std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "store state"));
  StoreState state;
  state.applied = reader.Varint();
  state.writes = reader.Varint();
  state.counter = reader.Varint();
  if (!reader.AtEnd()) return Damaged("store state");
  return state;
}

std::string EncodeStoreFormat(uint32_t version) {
  std::string out;
  ByteWriter(out).Fixed(version);
  return out;
}

absl::StatusOr<uint32_t> DecodeStoreFormat(std::string_view record) {
  ByteReader reader(record);
  const auto version = reader.Fixed<uint32_t>();
  if (!reader.AtEnd()) return Damaged("format version");
  return version;
}

}  // namespace mneme::format
