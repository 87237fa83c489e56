#include "engine/state_outcome.h"

#include <cstdint>

#include "common/error_reason.h"
#include "common/limits.h"
#include "storage/byte_codec.h"

namespace mneme {
namespace {

using format::ByteReader;
using format::ByteWriter;
using format::UnZigZag;
using format::ZigZag;

// Stored on disk. RememberedOutcome (version.h) has 1.
constexpr uint8_t kStateOutcomeFormat = 2;
constexpr uint8_t kWhole = 1;
constexpr uint8_t kFound = 1;
constexpr uint8_t kReread = 2;

void WritePayloads(const StateAnswer& answer, ByteWriter& writer) {
  writer.Text(answer.value);
  writer.Varint(ZigZag(answer.expiry_ms));
  writer.Varint(answer.key_dimension);
  writer.Varint(answer.value_dimension);
  writer.Varint(answer.tokens);
  writer.Varint(ZigZag(answer.last_block));
  writer.Varint(answer.columns.size());
  for (const std::string& column : answer.columns) writer.Text(column);
}

// A u32 written as a varint; more is damage.
uint32_t ReadU32(ByteReader& reader, bool& valid) {
  const uint64_t value = reader.Varint();
  valid = valid && value <= UINT32_MAX;
  return static_cast<uint32_t>(value);
}

void ReadPayloads(ByteReader& reader, StateAnswer& answer, bool& valid) {
  answer.value = std::string(reader.Text());
  answer.expiry_ms = UnZigZag(reader.Varint());
  answer.key_dimension = ReadU32(reader, valid);
  answer.value_dimension = ReadU32(reader, valid);
  answer.tokens = reader.Varint();
  answer.last_block = UnZigZag(reader.Varint());
  for (uint64_t i = reader.Varint(); i > 0 && reader.ok(); --i) answer.columns.emplace_back(reader.Text());
}

std::string Encode(const StateOutcome& outcome, bool whole) {
  std::string out;
  ByteWriter writer(out);
  writer.Fixed(kStateOutcomeFormat);
  writer.Fixed(whole ? kWhole : uint8_t{0});
  writer.Varint(outcome.count);
  writer.Varint(outcome.answers.size());
  for (const StateAnswer& answer : outcome.answers) {
    writer.Fixed(static_cast<uint8_t>(answer.status.code()));
    if (!answer.status.ok()) {
      writer.Text(ReasonOf(answer.status));
      writer.Text(whole ? std::string(answer.status.message()) : "");
      continue;
    }
    writer.Fixed(static_cast<uint8_t>((answer.found ? kFound : 0) | (answer.reread ? kReread : 0)));
    writer.Varint(answer.version);
    if (whole) WritePayloads(answer, writer);
  }
  return out;
}

absl::Status Damaged() { return absl::DataLossError("a remembered outcome of working memory is damaged"); }

}  // namespace

std::string EncodeStateOutcome(const StateOutcome& outcome) {
  uint64_t bytes = 0;
  for (const StateAnswer& answer : outcome.answers) bytes += answer.PayloadBytes() + answer.status.message().size();
  if (bytes <= limits::kMaxRememberedAnswerBytes) return Encode(outcome, /*whole=*/true);
  return Encode(outcome, /*whole=*/false);
}

absl::StatusOr<RememberedStates> DecodeStateOutcome(std::string_view bytes) {
  ByteReader reader(bytes);
  RememberedStates remembered;
  const auto format = reader.Fixed<uint8_t>();
  const auto whole = reader.Fixed<uint8_t>();
  remembered.whole = whole != 0;
  remembered.outcome.count = reader.Varint();
  const uint64_t answers = reader.Varint();
  if (!reader.ok() || format != kStateOutcomeFormat || whole > kWhole || answers > bytes.size()) return Damaged();
  bool valid = true;
  for (uint64_t i = 0; i < answers && reader.ok() && valid; ++i) {
    StateAnswer answer;
    const auto code = reader.Fixed<uint8_t>();
    if (code != 0) {
      const std::string_view reason = reader.Text();
      const std::string_view message = reader.Text();
      valid = code <= static_cast<uint8_t>(absl::StatusCode::kUnauthenticated) && (remembered.whole || message.empty());
      if (!valid) break;
      answer.status = absl::Status(static_cast<absl::StatusCode>(code),
                                   remembered.whole ? std::string(message) : "it failed when it was first asked");
      if (!reason.empty()) answer.status = WithReason(answer.status, reason);
    } else {
      const auto flags = reader.Fixed<uint8_t>();
      answer.found = (flags & kFound) != 0;
      answer.reread = (flags & kReread) != 0;
      valid = (flags & ~(kFound | kReread)) == 0;
      answer.version = reader.Varint();
      if (remembered.whole) ReadPayloads(reader, answer, valid);
    }
    remembered.outcome.answers.push_back(std::move(answer));
  }
  if (!reader.AtEnd() || !valid) return Damaged();
  return remembered;
}

}  // namespace mneme
