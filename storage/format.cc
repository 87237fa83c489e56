#include "storage/format.h"

#include <bit>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/byte_codec.h"

namespace mneme::format {
namespace {

// Each kind of record has its own version. Stored on disk.
constexpr uint8_t kRecordVersion = 1;
// A memory with an index choice or a capacity; one with neither is still written as version 1.
constexpr uint8_t kChoosingMemoryVersion = 2;

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

constexpr uint64_t kWatermarkMagic = 0x314B52414D454E4DULL;   // "MNEMARK1"
constexpr uint64_t kWatermarkSeed = 0x776174657266616CULL;    // sets this checksum apart from any other
constexpr uint64_t kDirectorySeed = 0x6469726563746F72ULL;
constexpr char kDirectoryMagic[] = "mneme data directory";

absl::Status Damaged(const char* what) {
  return absl::DataLossError(absl::StrCat("a stored ", what, " is damaged"));
}

// Opens a versioned record.
absl::StatusOr<ByteReader> OpenRecord(std::string_view record, const char* what, uint8_t known = kRecordVersion) {
  ByteReader reader(record);
  const auto version = reader.Fixed<uint8_t>();
  if (!reader.ok()) return Damaged(what);
  if (version != known) {
    return absl::DataLossError(absl::StrCat("a stored ", what, " has version ", static_cast<int>(version),
                                            "; this program knows ", static_cast<int>(known)));
  }
  return reader;
}

std::string OpenedRecord() { return std::string(1, static_cast<char>(kRecordVersion)); }

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
  std::string out = "h";
  ByteWriter writer(out);
  writer.BigEndian(id.high);
  writer.BigEndian(id.low);
  return out;
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
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Fixed(request.content);
  writer.Varint(request.sequence);
  writer.Varint(ZigZag(request.stamp_ms));
  writer.Text(request.result);
  return out;
}

absl::StatusOr<RememberedRequest> DecodeRequest(const Hash128& id, std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "request"));
  RememberedRequest request;
  request.id = id;
  request.content = reader.Fixed<uint64_t>();
  request.sequence = reader.Varint();
  request.stamp_ms = UnZigZag(reader.Varint());
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

namespace {

bool Chooses(const MemorySpec& spec) { return spec.index != IndexChoice() || spec.capacity != 0; }

}  // namespace

std::string EncodeMemory(const MemoryRecord& memory) {
  const MemorySpec& spec = memory.spec;
  const Fingerprint& print = spec.fingerprint;
  const bool chooses = Chooses(spec);
  std::string out = chooses ? std::string(1, static_cast<char>(kChoosingMemoryVersion)) : OpenedRecord();
  ByteWriter writer(out);
  writer.Fixed(static_cast<uint8_t>(memory.dropped ? 1 : 0));
  writer.Varint(ZigZag(memory.created_ms));
  writer.Text(spec.name);
  writer.Varint(spec.dimension);
  writer.Fixed(static_cast<uint8_t>(spec.metric));
  writer.Fixed(static_cast<uint8_t>(spec.key_dtype));
  writer.Fixed(static_cast<uint8_t>(spec.value_kind));
  writer.Fixed(static_cast<uint8_t>(spec.spread));
  writer.Varint(spec.vocabulary_size);
  writer.Varint(spec.value_dimension);
  for (const std::string* text : {&print.model, &print.revision, &print.layer, &print.tokenizer_hash}) {
    writer.Text(*text);
  }
  writer.Varint(print.vocabulary_size);
  writer.Text(print.normalization);
  if (chooses) {
    writer.Fixed(static_cast<uint8_t>(spec.index.codec.kind));
    writer.Varint(spec.index.codec.columns);
    writer.Varint(spec.index.codec.bits);
    writer.Varint(spec.index.lists);
    writer.Varint(spec.capacity);
  }
  return out;
}

namespace {

// A u32 written as a varint; more is damage.
uint32_t ReadU32(ByteReader& reader, bool& valid) {
  const uint64_t value = reader.Varint();
  valid = valid && value <= UINT32_MAX;
  return static_cast<uint32_t>(value);
}

bool KnownKinds(const MemorySpec& spec) {
  const auto in = [](auto value, auto first, auto last) { return value >= first && value <= last; };
  return in(spec.metric, Metric::kL2, Metric::kCosine) && in(spec.key_dtype, Dtype::kF32, Dtype::kF16) &&
         in(spec.spread, Spread::kAll, Spread::kOne) && in(spec.index.codec.kind, CodecKind::kAuto, CodecKind::kOpq) &&
         (spec.value_kind == ValueKind::kToken || spec.value_kind == ValueKind::kVector ||
          spec.value_kind == ValueKind::kBytes);
}

}  // namespace

absl::StatusOr<MemoryRecord> DecodeMemory(MemoryNumber number, std::string_view record) {
  const bool chooses = !record.empty() && static_cast<uint8_t>(record.front()) == kChoosingMemoryVersion;
  ASSIGN_OR_RETURN(ByteReader reader,
                   OpenRecord(record, "memory record", chooses ? kChoosingMemoryVersion : kRecordVersion));
  MemoryRecord memory;
  memory.number = number;
  bool valid = true;
  const auto dropped = reader.Fixed<uint8_t>();
  memory.dropped = dropped != 0;
  memory.created_ms = UnZigZag(reader.Varint());
  MemorySpec& spec = memory.spec;
  spec.name = std::string(reader.Text());
  spec.dimension = ReadU32(reader, valid);
  spec.metric = static_cast<Metric>(reader.Fixed<uint8_t>());
  spec.key_dtype = static_cast<Dtype>(reader.Fixed<uint8_t>());
  spec.value_kind = static_cast<ValueKind>(reader.Fixed<uint8_t>());
  spec.spread = static_cast<Spread>(reader.Fixed<uint8_t>());
  spec.vocabulary_size = ReadU32(reader, valid);
  spec.value_dimension = ReadU32(reader, valid);
  Fingerprint& print = spec.fingerprint;
  for (std::string* text : {&print.model, &print.revision, &print.layer, &print.tokenizer_hash}) {
    *text = std::string(reader.Text());
  }
  print.vocabulary_size = ReadU32(reader, valid);
  print.normalization = std::string(reader.Text());
  if (chooses) {
    spec.index.codec.kind = static_cast<CodecKind>(reader.Fixed<uint8_t>());
    spec.index.codec.columns = ReadU32(reader, valid);
    spec.index.codec.bits = ReadU32(reader, valid);
    spec.index.lists = ReadU32(reader, valid);
    spec.capacity = reader.Varint();
    valid = valid && Chooses(spec);
  }
  if (!reader.AtEnd() || !valid || dropped > 1 || !KnownKinds(spec)) return Damaged("memory record");
  return memory;
}

absl::StatusOr<MemoryNumber> ParseMemoryKey(std::string_view bytes) {
  ByteReader reader(bytes);
  const auto number = reader.BigEndian<MemoryNumber>();
  if (!reader.AtEnd()) return Damaged("memory key");
  return number;
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

std::string EncodeWatermarkSlot(Sequence sequence) {
  std::string out;
  ByteWriter writer(out);
  writer.Fixed(kWatermarkMagic);
  writer.Fixed(sequence);
  writer.Fixed(Checksum64(out, kWatermarkSeed));
  return out;
}

std::optional<Sequence> DecodeWatermarkSlot(std::string_view slot) {
  ByteReader reader(slot);
  const auto magic = reader.Fixed<uint64_t>();
  const auto sequence = reader.Fixed<Sequence>();
  const auto checksum = reader.Fixed<uint64_t>();
  if (!reader.AtEnd() || magic != kWatermarkMagic) return std::nullopt;
  if (checksum != Checksum64(slot.substr(0, 16), kWatermarkSeed)) return std::nullopt;
  return sequence;
}

std::string EncodeDirectoryFormat(const DirectoryFormat& format) {
  std::string text = absl::StrFormat("%s\nversion %u\ndeployment %016x\nshards %u\n", kDirectoryMagic, format.version,
                                     format.deployment, format.shards);
  absl::StrAppendFormat(&text, "checksum %016x\n", Checksum64(text, kDirectorySeed));
  return text;
}

namespace {

// Takes "<name> <word>\n" off the front of `rest`; an empty word when it is not there.
std::string_view TakeLine(std::string_view name, std::string_view& rest) {
  if (rest.substr(0, name.size()) != name || rest.size() <= name.size() || rest[name.size()] != ' ') return {};
  const size_t end = rest.find('\n');
  if (end == std::string_view::npos) return {};
  const std::string_view word = rest.substr(name.size() + 1, end - name.size() - 1);
  rest.remove_prefix(end + 1);
  return word;
}

}  // namespace

absl::StatusOr<DirectoryFormat> DecodeDirectoryFormat(std::string_view text) {
  const std::string prefix = absl::StrCat(kDirectoryMagic, "\nversion ");
  const size_t sum_at = text.rfind("checksum ");
  if (text.substr(0, prefix.size()) != prefix || sum_at == std::string_view::npos) {
    return Damaged("FORMAT file");
  }
  std::string_view rest = text.substr(sum_at);
  uint64_t checksum = 0;
  const std::string word(TakeLine("checksum", rest));
  if (word.size() != 16 || !rest.empty() || !absl::SimpleHexAtoi(word, &checksum) ||
      checksum != Checksum64(text.substr(0, sum_at), kDirectorySeed)) {
    return Damaged("FORMAT file");
  }
  rest = text.substr(sizeof(kDirectoryMagic), sum_at - sizeof(kDirectoryMagic));
  DirectoryFormat format;
  if (!absl::SimpleAtoi(std::string(TakeLine("version", rest)), &format.version)) return Damaged("FORMAT file");
  // The checksum holds, so a version that is not known is a newer program's, not damage; its other lines are its own.
  if (format.version != kDirectoryFormat) {
    return absl::FailedPreconditionError(absl::StrCat("the data directory has format ", format.version,
                                                      "; this program reads format ", kDirectoryFormat));
  }
  if (!absl::SimpleHexAtoi(std::string(TakeLine("deployment", rest)), &format.deployment) ||
      !absl::SimpleAtoi(std::string(TakeLine("shards", rest)), &format.shards) || !rest.empty() ||
      format.deployment == 0 || format.shards == 0 || format.shards > limits::kMaxShards ||
      text != EncodeDirectoryFormat(format)) {
    return Damaged("FORMAT file");
  }
  return format;
}

}  // namespace mneme::format
