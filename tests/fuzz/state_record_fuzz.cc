// Keys and records of working memory in a shard's store.
#include "storage/format.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

enum Kind : uint8_t { kSession, kState, kSessionKey, kStateKey, kExpiryKey, kPieceKey, kKinds };

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  const std::string_view bytes = in.Rest();
  const AllocationBound bound(1024 + 8 * bytes.size());
  switch (kind) {
    case kSession:
      return Through(format::DecodeSession(bytes), bytes, format::EncodeSession, {StatusCode::kDataLoss},
                     {"session is damaged", "session has version"});
    case kState:
      return Through(format::DecodeSessionState(bytes), bytes, format::EncodeSessionState, {StatusCode::kDataLoss},
                     {"state of a session is damaged", "state of a session has version"});
    case kSessionKey:
      return Through(format::ParseSessionKey(bytes), bytes, format::SessionKeyOf, {StatusCode::kDataLoss},
                     {"session key is damaged"});
    case kStateKey:
      return Through(format::ParseStateKey(bytes), bytes, format::StateKeyOf, {StatusCode::kDataLoss},
                     {"state key is damaged"});
    case kExpiryKey:
      return Through(format::ParseExpiryKey(bytes), bytes, format::ExpiryKeyOf, {StatusCode::kDataLoss},
                     {"expiry of a session is damaged"});
    case kPieceKey:
      return Through(format::ParsePieceKey(bytes), bytes, format::StateKeyOf, {StatusCode::kDataLoss},
                     {"key of a piece is damaged"});
    default: return false;
  }
}

std::string Seed(Kind kind, const std::string& bytes) { return std::string(1, static_cast<char>(kind)) + bytes; }

std::vector<std::string> Seeds() {
  const StateRecord state{StateKind::kRegister, 300, 1'717'000'000'123, "payload"};
  const StateRecord removed{.kind = StateKind::kRemoved};
  return {Seed(kSession, format::EncodeSession({300, {200, 100}, 5, 70'000, 1'717'000'000'123})),
          Seed(kState, format::EncodeSessionState(state)),
          Seed(kState, format::EncodeSessionState(removed)),
          Seed(kSessionKey, format::SessionKeyOf({7, "agent/1"})),
          Seed(kStateKey, format::StateKeyOf({{7, 300}, "draft"})),
          Seed(kExpiryKey, format::ExpiryKeyOf({1'717'000'000'123, 7, 0, "agent/1", ""})),
          Seed(kExpiryKey, format::ExpiryKeyOf({1'717'000'000'123, 7, 300, "agent/1", "draft"})),
          Seed(kPieceKey, format::StateKeyOf({{7, 300}, "counts", 5}))};
}

const Registration kTarget({"state_record", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
