#include "engine/session_bytes.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/counter_cells.h"
#include "engine/state_change.h"
#include "storage/byte_codec.h"

namespace mneme {
namespace {

using format::ByteReader;
using format::ByteWriter;
using format::UnZigZag;
using format::ZigZag;

// Clients keep these bytes: raise it when they change.
constexpr uint8_t kSessionBytesFormat = 1;
// What stands around the name and the payload of a state, at most, and around all of them.
constexpr size_t kOverheadBytes = 48;

absl::Status Malformed() {
  return absl::InvalidArgumentError("content is damaged or no session; present the bytes that an answer gave");
}

// True when the payload is one that the kind has: it can be read.
bool IsReadable(const StateRecord& state) {
  switch (state.kind) {
    case StateKind::kRegister: return true;
    case StateKind::kLinear:
    case StateKind::kFeedback: return CheckVectorPayload(state).ok();
    case StateKind::kCounters: return DecodeCells(state.payload).ok();
    case StateKind::kRemoved:
    case StateKind::kExpired:
    case StateKind::kCounterMatrix:
    case StateKind::kPiece: break;
  }
  return false;
}

}  // namespace

std::string EncodeSessionBytes(const NamedStates& states) {
  size_t bytes = kOverheadBytes;
  for (const auto& [name, state] : states) bytes += name.size() + state->payload.size() + kOverheadBytes;
  std::string out;
  out.reserve(bytes);
  ByteWriter writer(out);
  writer.Fixed(kSessionBytesFormat);
  writer.Varint(states.size());
  for (const auto& [name, state] : states) {
    writer.Text(name);
    writer.Fixed(static_cast<uint8_t>(state->kind));
    writer.Varint(state->version);
    writer.Varint(ZigZag(state->expiry_ms));
    writer.Text(state->payload);
  }
  writer.Fixed(Checksum64(out));
  return out;
}

absl::StatusOr<NamedStates> DecodeSessionBytes(std::string_view bytes) {
  if (bytes.size() < sizeof(uint64_t)) return Malformed();
  const std::string_view body = bytes.substr(0, bytes.size() - sizeof(uint64_t));
  ByteReader sum(bytes.substr(body.size()));
  if (sum.Fixed<uint64_t>() != Checksum64(body)) return Malformed();
  ByteReader reader(body);
  NamedStates states;
  if (reader.Fixed<uint8_t>() != kSessionBytesFormat) {
    return absl::InvalidArgumentError("content has a format that this server does not know");
  }
  const uint64_t count = reader.Varint();
  // Of a few bytes each, more of them would take many times the ram of a message before anybody counted them.
  if (count > limits::kMaxSessionStates) return Malformed();
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    std::string name(reader.Text());
    StateRecord state;
    const auto kind = reader.Fixed<uint8_t>();
    state.version = reader.Varint();
    state.expiry_ms = UnZigZag(reader.Varint());
    state.payload = std::string(reader.Text());
    if (!reader.ok() || kind > static_cast<uint8_t>(StateKind::kCounters)) return Malformed();
    state.kind = static_cast<StateKind>(kind);
    const bool named = !name.empty() && name.size() <= limits::kMaxStateNameBytes;
    const bool ascends = states.empty() || states.rbegin()->first < name;
    if (!named || !ascends || state.version == 0 || state.expiry_ms < 0 || !IsReadable(state)) return Malformed();
    states.emplace_hint(states.end(), std::move(name), std::make_shared<const StateRecord>(std::move(state)));
  }
  if (!reader.AtEnd()) return Malformed();
  return states;
}

}  // namespace mneme
