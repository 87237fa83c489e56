// The stored bytes of working memory.
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/byte_codec.h"
#include "storage/format.h"
#include "storage/record.h"

namespace mneme::format {
namespace {

constexpr char kSessionMark = 's';
constexpr char kStateMark = 'v';
constexpr char kPieceMark = 'c';
constexpr char kReferenceMark = 'r';
constexpr char kExpiryMark = 'e';

std::string Marked(MemoryNumber memory, char mark) {
  std::string out = MemoryPrefix(memory);
  out.push_back(mark);
  return out;
}

std::string MarkedSpace(const StateSpace& space, char mark) {
  std::string out = Marked(space.memory, mark);
  ByteWriter(out).BigEndian(space.number);
  return out;
}

}  // namespace

std::string SessionKeyOf(const SessionKey& key) { return Marked(key.memory, kSessionMark) + key.session; }
std::string StateSpacePrefix(const StateSpace& space) { return MarkedSpace(space, kStateMark); }
std::string PieceSpacePrefix(const StateSpace& space) { return MarkedSpace(space, kPieceMark); }

std::string StateKeyOf(const StateKey& key) {
  if (key.piece == 0) return StateSpacePrefix(key.space) + key.name;
  std::string out = PieceSpacePrefix(key.space);
  ByteWriter(out).BigEndian(key.piece);
  return out + key.name;
}

std::string ReferenceKeyOf(const StateSpace& space) { return MarkedSpace(space, kReferenceMark); }

absl::StatusOr<SessionKey> ParseSessionKey(std::string_view bytes) {
  ByteReader reader(bytes);
  SessionKey key;
  key.memory = reader.BigEndian<uint32_t>();
  const auto mark = reader.Fixed<char>();
  if (!reader.ok() || mark != kSessionMark) return Damaged("session key");
  key.session = std::string(bytes.substr(kMemoryPrefixBytes + 1));
  return key;
}

absl::StatusOr<StateKey> ParseStateKey(std::string_view bytes) {
  ByteReader reader(bytes);
  StateKey key;
  key.space.memory = reader.BigEndian<uint32_t>();
  const auto mark = reader.Fixed<char>();
  key.space.number = reader.BigEndian<uint64_t>();
  if (!reader.ok() || mark != kStateMark) return Damaged("state key");
  key.name = std::string(bytes.substr(kMemoryPrefixBytes + 1 + sizeof(uint64_t)));
  return key;
}

absl::StatusOr<StateKey> ParsePieceKey(std::string_view bytes) {
  ByteReader reader(bytes);
  StateKey key;
  key.space.memory = reader.BigEndian<uint32_t>();
  const auto mark = reader.Fixed<char>();
  key.space.number = reader.BigEndian<uint64_t>();
  key.piece = reader.BigEndian<uint32_t>();
  if (!reader.ok() || mark != kPieceMark || key.piece == 0) return Damaged("key of a piece");
  key.name = std::string(bytes.substr(kMemoryPrefixBytes + 1 + sizeof(uint64_t) + sizeof(uint32_t)));
  return key;
}

std::string ExpiryPrefix() { return Marked(0, kExpiryMark); }

std::string ExpiryKeyFrom(int64_t expiry_ms) {
  std::string out = ExpiryPrefix();
  ByteWriter(out).BigEndian(static_cast<uint64_t>(expiry_ms));
  return out;
}

std::string ExpiryKeyOf(const StateExpiry& expiry) {
  std::string out = ExpiryKeyFrom(expiry.expiry_ms);
  ByteWriter writer(out);
  writer.BigEndian(expiry.memory);
  writer.BigEndian(expiry.space);
  writer.Fixed(static_cast<uint8_t>(expiry.session.size()));
  return out + expiry.session + expiry.name;
}

absl::StatusOr<StateExpiry> ParseExpiryKey(std::string_view bytes) {
  ByteReader reader(bytes);
  StateExpiry expiry;
  const auto none = reader.BigEndian<uint32_t>();
  const auto mark = reader.Fixed<char>();
  expiry.expiry_ms = static_cast<int64_t>(reader.BigEndian<uint64_t>());
  expiry.memory = reader.BigEndian<uint32_t>();
  expiry.space = reader.BigEndian<uint64_t>();
  const auto session_bytes = reader.Fixed<uint8_t>();
  constexpr size_t kStart = kMemoryPrefixBytes + 1 + 2 * sizeof(uint64_t) + sizeof(uint32_t) + 1;
  const bool whole = reader.ok() && none == 0 && mark == kExpiryMark && bytes.size() >= kStart + session_bytes;
  if (!whole || expiry.expiry_ms <= 0 || expiry.memory == 0) return Damaged("expiry of a session");
  expiry.session = std::string(bytes.substr(kStart, session_bytes));
  expiry.name = std::string(bytes.substr(kStart + session_bytes));
  if ((expiry.space == 0) != expiry.name.empty()) return Damaged("expiry of a session");
  return expiry;
}

absl::StatusOr<MemoryNumber> ParseMemoryPrefix(std::string_view bytes) {
  ByteReader reader(bytes);
  const auto memory = reader.BigEndian<uint32_t>();
  if (!reader.ok()) return Damaged("state key");
  return memory;
}

std::string EncodeSession(const SessionRecord& session) {
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Varint(session.number);
  writer.Varint(session.bases.size());
  for (const uint64_t base : session.bases) writer.Varint(base);
  writer.Varint(session.states);
  writer.Varint(session.bytes);
  writer.Varint(ZigZag(session.expiry_ms));
  return out;
}

absl::StatusOr<SessionRecord> DecodeSession(std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "session"));
  SessionRecord session;
  session.number = reader.Varint();
  const uint64_t bases = reader.Varint();
  if (bases > limits::kMaxSessionBases) return Damaged("session");
  for (uint64_t i = 0; i < bases; ++i) session.bases.push_back(reader.Varint());
  session.states = reader.Varint();
  session.bytes = reader.Varint();
  session.expiry_ms = UnZigZag(reader.Varint());
  if (!reader.AtEnd() || session.number == 0) return Damaged("session");
  return session;
}

std::string EncodeStateStart(const StateRecord& state) {
  std::string out = OpenedRecord();
  ByteWriter writer(out);
  writer.Fixed(static_cast<uint8_t>(state.kind));
  writer.Varint(state.version);
  writer.Varint(ZigZag(state.expiry_ms));
  writer.Varint(state.payload.size());
  return out;
}

std::string EncodeSessionState(const StateRecord& state) { return EncodeStateStart(state) + state.payload; }

absl::StatusOr<StateRecord> DecodeSessionState(std::string_view record) {
  ASSIGN_OR_RETURN(ByteReader reader, OpenRecord(record, "state of a session"));
  StateRecord state;
  const auto kind = reader.Fixed<uint8_t>();
  state.version = reader.Varint();
  state.expiry_ms = UnZigZag(reader.Varint());
  state.kind = static_cast<StateKind>(kind);
  state.payload = std::string(reader.Text());
  if (!reader.AtEnd() || kind > static_cast<uint8_t>(StateKind::kPiece)) return Damaged("state of a session");
  const bool removed = state.kind == StateKind::kRemoved;
  if (removed && (state.version != 0 || state.expiry_ms != 0 || !state.payload.empty())) {
    return Damaged("state of a session");
  }
  return state;
}

}  // namespace mneme::format
