// What the catalogue stores of memories and aliases, and the FORMAT and WATERMARK files of a data directory.
#include "common/checksum.h"
#include "common/error_reason.h"
#include "storage/format.h"
#include "tests/fuzz/fuzz.h"

#include "absl/strings/str_format.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

// kSummed: the last line of a FORMAT file, which is its checksum, is set right.
enum Kind : uint8_t {
  kMemory,
  kAlias,
  kMemoryKey,
  kDirectory,
  kSummedDirectory,
  kWatermark,
  kChange,
  kReplicas,
  kReplicasKey,
  kKinds
};

// docs/formats.md, "FORMAT".
constexpr uint64_t kDirectorySeed = 0x6469726563746F72ULL;

bool Directory(std::string_view text) {
  const auto decoded = format::DecodeDirectoryFormat(text);
  return Through(decoded, text, format::EncodeDirectoryFormat, {StatusCode::kDataLoss, StatusCode::kFailedPrecondition},
                 {"is damaged", "has format"});
}

bool Watermark(std::string_view slot) {
  const auto sequence = format::DecodeWatermarkSlot(slot);
  Expect(!sequence.has_value() || format::EncodeWatermarkSlot(*sequence) == slot, "a slot is one of its encoder's");
  return sequence.has_value();
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  const std::string_view bytes = in.Rest();
  const AllocationBound bound(1024 + 4 * bytes.size());
  switch (kind) {
    case kMemory:
      Expect(!format::IsAlias(bytes) || !format::DecodeMemory(7, bytes).ok(), "no record is of both kinds");
      return Through(format::DecodeMemory(7, bytes), bytes, format::EncodeMemory, {StatusCode::kDataLoss},
                     {"memory record is damaged", "memory record has version"});
    case kAlias:
      return Through(format::DecodeAlias(8, bytes), bytes, format::EncodeAlias, {StatusCode::kDataLoss},
                     {"alias record is damaged", "alias record has version"});
    case kMemoryKey:
      return Through(format::ParseMemoryKey(bytes), bytes, format::MemoryPrefix, {StatusCode::kDataLoss},
                     {"memory key is damaged"});
    case kDirectory: return Directory(bytes);
    case kSummedDirectory:
      return Directory(absl::StrFormat("%schecksum %016x\n", std::string(bytes),
                                       Checksum64(bytes, kDirectorySeed)));
    case kWatermark: return Watermark(bytes);
    case kChange:
      return Through(format::DecodeChange(9, bytes), bytes, format::EncodeChange, {StatusCode::kDataLoss},
                     {"change of the catalogue is damaged", "change of the catalogue has version",
                      "memory record is damaged", "memory record has version"});
    case kReplicas:
      return Through(format::DecodeReplicas(bytes), bytes, format::EncodeReplicas, {StatusCode::kDataLoss},
                     {"list of replicas is damaged", "list of replicas has version"});
    case kReplicasKey:
      Expect(format::IsReplicasKey(bytes) || !format::ParseReplicasKey(bytes).ok(), "a key says what it is of");
      return Through(format::ParseReplicasKey(bytes), bytes, format::ReplicasKey, {StatusCode::kDataLoss},
                     {"key of replicas is damaged"});
    default: return false;
  }
}

std::string Seed(Kind kind, const std::string& bytes) { return std::string(1, static_cast<char>(kind)) + bytes; }

std::vector<std::string> Seeds() {
  MemoryRecord memory;
  memory.number = 7;
  memory.created_ms = 1'717'000'000'123;
  memory.spec.name = "wiki";
  memory.spec.dimension = 1024;
  memory.spec.vocabulary_size = 50'257;
  memory.spec.fingerprint = {"gpt2", "abc", "transformer.h.11", "d41d8", 50'257, "l2"};
  MemoryRecord choosing = memory;
  choosing.spec.index = {{CodecKind::kPq, 64, 4}, 4096};
  choosing.spec.capacity = 300;
  choosing.spec.spread = Spread::kOne;
  choosing.dropped = true;
  const std::string hosted = format::EncodeDirectoryFormat({format::kHostedDirectoryFormat, 0x1234, 4, 2});
  return {Seed(kMemory, format::EncodeMemory(memory)),
          Seed(kMemory, format::EncodeMemory(choosing)),
          Seed(kAlias, format::EncodeAlias({8, "production", 7})),
          Seed(kMemoryKey, format::MemoryPrefix(7)),
          Seed(kDirectory, format::EncodeDirectoryFormat({format::kDirectoryFormat, 0x1234, 4, {}})),
          Seed(kDirectory, hosted),
          Seed(kSummedDirectory, hosted.substr(0, hosted.rfind("checksum "))),
          Seed(kWatermark, format::EncodeWatermarkSlot(300)),
          Seed(kReplicas, format::EncodeReplicas({{"a:1", "", "b:2"}, true})),
          Seed(kReplicasKey, format::ReplicasKey(3)),
          Seed(kChange, format::EncodeChange({9, {1, 2}, absl::OkStatus(), choosing})),
          Seed(kChange, format::EncodeChange({9, {1, 2}, WithReason(absl::NotFoundError("gone"), "MEMORY_NOT_FOUND"),
                                              {}}))};
}

const Registration kTarget({"catalogue_record", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
