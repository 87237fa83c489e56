// Keys and records of a shard's store: the first byte says which, the rest is it.
#include "storage/format.h"

#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

enum Kind : uint8_t {
  kRow,
  kNumber,
  kIdRun,
  kHead,
  kSegment,
  kRequest,
  kRequestAge,
  kState,
  kStoreFormat,
  kPartitionKey,
  kNumberedKey,
  kRequestAgeKey,
  kMemoryPrefix,
  kReceipt,
  kErasure,
  kSequenceKey,
  kRequestKey,
  kKinds,
};

// What the keys of the records say.
const format::ParsedKey kKey{{7, 42}, uint64_t{1} << 40};
const Hash128 kId{1, 2};

template <typename T, typename Encode>
bool Record(const absl::StatusOr<T>& decoded, std::string_view bytes, const Encode& encode,
            const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return Through(decoded, bytes, encode, {StatusCode::kDataLoss}, {"is damaged", "has version"}, file, line);
}

std::string RowOf(const EntryView& entry) {
  std::string out;
  format::AppendRow(entry, out);
  return out;
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  const std::string_view bytes = in.Rest();
  // Three bytes of a receipt may name a partition and its rows, 24 bytes; three of a request a part of it, 40 bytes, in
  // a vector that doubles.
  const size_t times = kind == kReceipt ? 8 : kind == kRequest || kind == kRequestAge ? 32 : 4;
  const AllocationBound bound(1024 + times * bytes.size());
  switch (kind) {
    case kRow: return Record(format::DecodeRow(bytes), bytes, RowOf);
    case kNumber: return Record(format::DecodeNumber(bytes), bytes, format::EncodeNumber);
    case kIdRun: return Record(format::DecodeIdRun(kKey, bytes), bytes, format::EncodeIdRun);
    case kHead: return Record(format::DecodeHead(kKey.partition, bytes), bytes, format::EncodeHead);
    case kSegment: return Record(format::DecodeSegment(kKey, bytes), bytes, format::EncodeSegment);
    case kRequest: return Record(format::DecodeRequest(kId, bytes), bytes, format::EncodeRequest);
    case kRequestAge: return Record(format::DecodeRequestAge({9, kId}, bytes), bytes, format::EncodeRequestAge);
    case kState: return Record(format::DecodeState(bytes), bytes, format::EncodeState);
    case kStoreFormat: return Record(format::DecodeStoreFormat(bytes), bytes, format::EncodeStoreFormat);
    case kPartitionKey: return Record(format::ParsePartitionKey(bytes), bytes, format::PartitionPrefix);
    case kNumberedKey:
      return Record(format::ParseNumberedKey(bytes), bytes, [](const format::ParsedKey& key) {
        std::string numbered = format::NumberedKey(key.partition, key.number);
        std::string other = format::NumberedKey(key.partition, ~key.number);
        Expect(other < format::PrefixEnd(format::PartitionPrefix(key.partition)), "a prefix ends after its keys");
        format::SetNumber(key.number, other);
        Expect(other == numbered, "a key of another number is that key");
        return numbered;
      });
    case kRequestAgeKey:
      return Record(format::ParseRequestByAgeKey(bytes), bytes, [](const format::ParsedRequestAge& key) {
        return format::RequestByAgeKey(key.sequence, key.id);
      });
    case kMemoryPrefix: {
      const auto memory = format::ParseMemoryPrefix(bytes);
      Expect(memory.ok() == (bytes.size() >= format::kMemoryPrefixBytes), "four bytes name a memory");
      return memory.ok() && format::MemoryPrefix(*memory) == bytes.substr(0, format::kMemoryPrefixBytes);
    }
    case kReceipt: return Record(format::DecodeReceipt(9, bytes), bytes, format::EncodeReceipt);
    case kErasure: return Record(format::DecodeErasure(9, bytes), bytes, format::EncodeErasure);
    case kSequenceKey:
      return Record(format::ParseSequenceKey(format::kReceiptPrefix, bytes), bytes,
                    [](Sequence sequence) { return format::SequenceKey(format::kReceiptPrefix, sequence); });
    case kRequestKey: return Record(format::ParseRequestKey(bytes), bytes, format::RequestKey);
    default: return false;
  }
}

std::string Seed(Kind kind, const std::string& bytes) { return std::string(1, static_cast<char>(kind)) + bytes; }

std::vector<std::string> Seeds() {
  EntryView plain;
  plain.id = 300;
  plain.key = "12345678";
  plain.value = "abcd";
  EntryView full = plain;
  full.attributes = {2.5F, -0.125, -7, 300, 70'000, 1'717'000'000'123, 1'717'000'000'000};
  RememberedRequest request{kId, 77, 300, 1'717'000'000'123, "outcome"};
  RememberedRequest in_parts = request;
  in_parts.earlier = {{2, 0, "outcome"}, {256, 255, "another"}};
  return {Seed(kRow, RowOf(plain)),
          Seed(kRow, RowOf(full)),
          Seed(kNumber, format::EncodeNumber(300)),
          Seed(kIdRun, format::EncodeIdRun({300, 70'000})),
          Seed(kHead, format::EncodeHead({kKey.partition, 300, 200, 70'000, 0})),
          Seed(kHead, format::EncodeHead({kKey.partition, 300, 200, 70'000, 1'717'000'000'123})),
          Seed(kSegment, format::EncodeSegment({kKey.partition, kKey.number, 2, 300, 70'000})),
          Seed(kRequest, format::EncodeRequest(request)),
          Seed(kRequest, format::EncodeRequest(in_parts)),
          Seed(kRequestAge, format::EncodeRequestAge(request)),
          Seed(kState, format::EncodeState({300, 301, 70'000})),
          Seed(kStoreFormat, format::EncodeStoreFormat(format::kStoreFormat)),
          Seed(kPartitionKey, format::PartitionPrefix(kKey.partition)),
          Seed(kNumberedKey, format::NumberedKey(kKey.partition, kKey.number)),
          Seed(kRequestAgeKey, format::RequestByAgeKey(300, kId)),
          Seed(kMemoryPrefix, format::MemoryPrefix(7)),
          Seed(kReceipt, format::EncodeReceipt({9, 7, 300, 1'717'000'000'123, false, {{0, 5, 1000}, {3, 0, 1}}})),
          Seed(kReceipt, format::EncodeReceipt({9, 7, 300, 1'717'000'000'123, true, {}})),
          Seed(kErasure, format::EncodeErasure({9, 1000, 1001, 1002, 3})),
          Seed(kSequenceKey, format::SequenceKey(format::kReceiptPrefix, 9)),
          Seed(kRequestKey, format::RequestKey(kId))};
}

const Registration kTarget({"stored_record", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
