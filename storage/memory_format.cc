// The catalogue's records (format.h).
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/record.h"

namespace mneme::format {
namespace {

// A memory with an index choice or a capacity; one with neither is still written as version 1.
constexpr uint8_t kChoosingMemoryVersion = 2;

// An alias, in the place of a memory.
constexpr uint8_t kAliasVersion = 3;

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
         in(spec.value_kind, ValueKind::kToken, ValueKind::kBytes);
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

bool IsAlias(std::string_view record) {
  return !record.empty() && static_cast<uint8_t>(record.front()) == kAliasVersion;
}

std::string EncodeAlias(const AliasRecord& alias) {
  std::string out(1, static_cast<char>(kAliasVersion));
  ByteWriter writer(out);
  writer.Text(alias.name);
  writer.Varint(alias.memory);
  return out;
}

absl::StatusOr<AliasRecord> DecodeAlias(MemoryNumber number, std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "alias record", kAliasVersion));
  AliasRecord alias;
  alias.number = number;
  bool valid = true;
  alias.name = std::string(reader.Text());
  alias.memory = ReadU32(reader, valid);
  // 0 is the number of no memory.
  if (!reader.AtEnd() || !valid || alias.memory == 0) return Damaged("alias record");
  return alias;
}

std::string EncodeChange(const RememberedChange& change) {
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Fixed(change.request.low);
  writer.Fixed(change.request.high);
  writer.Fixed(static_cast<uint8_t>(change.status.code()));
  if (!change.status.ok()) {
    writer.Text(std::string(change.status.message()));
    writer.Text(ReasonOf(change.status));
  }
  writer.Fixed(static_cast<uint8_t>(change.memory.has_value() ? 1 : 0));
  if (change.memory.has_value()) {
    writer.Varint(change.memory->number);
    writer.Text(EncodeMemory(*change.memory));
  }
  return out;
}

absl::StatusOr<RememberedChange> DecodeChange(Sequence sequence, std::string_view record) {
  constexpr char kWhat[] = "change of the catalogue";
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, kWhat));
  RememberedChange change;
  change.sequence = sequence;
  change.request.low = reader.Fixed<uint64_t>();
  change.request.high = reader.Fixed<uint64_t>();
  const auto code = reader.Fixed<uint8_t>();
  bool valid = code <= static_cast<uint8_t>(absl::StatusCode::kUnauthenticated);
  if (code != 0 && valid) {
    const std::string message(reader.Text());
    const std::string reason(reader.Text());
    change.status = absl::Status(static_cast<absl::StatusCode>(code), message);
    if (!reason.empty()) change.status = WithReason(std::move(change.status), reason);
  }
  const auto has_memory = reader.Fixed<uint8_t>();
  if (has_memory == 1) {
    const uint32_t number = ReadU32(reader, valid);
    const std::string_view memory = reader.Text();
    if (!reader.ok()) return Damaged(kWhat);
    ASSIGN_OR_RETURN(change.memory, DecodeMemory(number, memory));
    valid = valid && number != 0;
  }
  if (!reader.AtEnd() || !valid || has_memory > 1) return Damaged(kWhat);
  return change;
}

namespace {

constexpr char kReplicasMark = 'r';

}  // namespace

std::string ReplicasKey(uint32_t shard) {
  std::string key(1, kReplicasMark);
  ByteWriter(key).BigEndian(shard);
  return key;
}

bool IsReplicasKey(std::string_view bytes) { return !bytes.empty() && bytes.front() == kReplicasMark; }

absl::StatusOr<uint32_t> ParseReplicasKey(std::string_view bytes) {
  ByteReader reader(bytes);
  const auto mark = reader.Fixed<char>();
  const auto shard = reader.BigEndian<uint32_t>();
  if (!reader.AtEnd() || mark != kReplicasMark) return Damaged("key of replicas");
  return shard;
}

std::string EncodeReplicas(const ReplicaList& replicas) {
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Varint(replicas.addresses.size());
  for (const std::string& address : replicas.addresses) writer.Text(address);
  writer.Fixed(static_cast<uint8_t>(replicas.fixed ? 1 : 0));
  return out;
}

absl::StatusOr<ReplicaList> DecodeReplicas(std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "list of replicas"));
  const uint64_t count = reader.Varint();
  if (count > limits::kMaxReplicas) return Damaged("list of replicas");  // nobody writes so many
  ReplicaList replicas;
  for (uint64_t i = 0; i < count && reader.ok(); ++i) replicas.addresses.emplace_back(reader.Text());
  const auto fixed = reader.Fixed<uint8_t>();
  replicas.fixed = fixed == 1;
  if (!reader.AtEnd() || fixed > 1) return Damaged("list of replicas");
  return replicas;
}

absl::StatusOr<MemoryNumber> ParseMemoryKey(std::string_view bytes) {
  ByteReader reader(bytes);
  const auto number = reader.BigEndian<MemoryNumber>();
  if (!reader.AtEnd()) return Damaged("memory key");
  return number;
}

}  // namespace mneme::format
