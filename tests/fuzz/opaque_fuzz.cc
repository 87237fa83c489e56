// Bytes that clients keep for the engine (versions, scan positions), and what is remembered with request ids.
#include "engine/slot_table.h"
#include "engine/state_outcome.h"
#include "engine/version.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

enum Kind : uint8_t { kVersion, kScanPosition, kOutcome, kStates, kSlots, kReceipt, kKinds };

constexpr uint64_t kDeployment = 0x1234;
constexpr MemoryNumber kMemory = 7;

bool States(std::string_view bytes) {
  const auto states = DecodeStateOutcome(bytes);
  if (!states.ok()) {
    ExpectRefusal(states.status(), {StatusCode::kDataLoss}, {"is damaged"});
    return false;
  }
  uint64_t payload = 0;
  for (const StateAnswer& answer : states->outcome.answers) {
    payload += answer.PayloadBytes() + answer.status.message().size();
  }
  const bool kept_whole = states->whole && payload <= limits::kMaxRememberedAnswerBytes;
  Expect(!kept_whole || EncodeStateOutcome(states->outcome) == bytes, "an outcome encodes to the same bytes");
  return true;
}

// Text that decodes to the same may be spelt in several ways.
bool Receipt(std::string_view text) {
  const auto receipt = DecodeReceipt(kDeployment, kMemory, text);
  if (!receipt.ok()) {
    ExpectRefusal(receipt.status(), {StatusCode::kInvalidArgument, StatusCode::kFailedPrecondition}, {"receipt"});
    return false;
  }
  const std::string written = EncodeReceipt(kDeployment, *receipt);
  const auto again = DecodeReceipt(kDeployment, kMemory, written);
  Expect(again.ok() && EncodeReceipt(kDeployment, *again) == written, "a receipt is written so that it reads the same");
  return true;
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  const std::string_view bytes = in.Rest();
  const AllocationBound bound(8 * 1024 + 256 * bytes.size());
  switch (kind) {
    case kVersion:
      return Through(DecodeVersion(kDeployment, kMemory, bytes), bytes,
                     [](const Version& version) { return EncodeVersion(kDeployment, version); },
                     {StatusCode::kInvalidArgument, StatusCode::kFailedPrecondition}, {"version"});
    case kScanPosition:
      return Through(DecodeScanPosition(kDeployment, kMemory, bytes), bytes,
                     [](const ScanPosition& position) { return EncodeScanPosition(kDeployment, position); },
                     {StatusCode::kInvalidArgument, StatusCode::kFailedPrecondition}, {"page_token"});
    case kOutcome:
      return Through(DecodeOutcome(bytes), bytes, EncodeOutcome, {StatusCode::kDataLoss}, {"is damaged"});
    case kStates: return States(bytes);
    case kSlots:
      return Through(DecodeSlotAnswers(bytes), bytes, EncodeSlotAnswers, {StatusCode::kDataLoss}, {"are damaged"});
    case kReceipt: return Receipt(bytes);
    default: return false;
  }
}

std::string Seed(Kind kind, const std::string& bytes) { return std::string(1, static_cast<char>(kind)) + bytes; }

StateOutcome Outcome(size_t value_bytes) {
  StateOutcome outcome;
  outcome.count = 2;
  outcome.answers.emplace_back().status = WithReason(absl::AbortedError("version is 3"), reason::kVersionMismatch);
  StateAnswer& answer = outcome.answers.emplace_back();
  answer.found = true;
  answer.version = 300;
  answer.value = std::string(value_bytes, 'v');
  answer.key_dimension = 4;
  answer.value_dimension = 70'000;
  answer.last_block = -1;
  answer.columns = {"abc", ""};
  outcome.answers.emplace_back().reread = true;
  return outcome;
}

std::vector<std::string> Seeds() {
  SlotAnswers slots;
  slots.found = {1, 0};
  slots.slots = slots.written_slots = {300, 0};
  slots.values = slots.evicted_values = slots.evicted_ages = {-1, 0};
  slots.similarities = slots.pos = slots.neg = slots.losses = {0.5, 0.0};
  slots.correct = slots.actions = slots.evicted = {1, 0};
  return {Seed(kVersion, EncodeVersion(kDeployment, {kMemory, {{0, 300}, {3, 70'000}}})),
          Seed(kVersion, EncodeVersion(kDeployment, {kMemory, {}})),
          Seed(kScanPosition, EncodeScanPosition(kDeployment, {kMemory, 1, 42, 300})),
          Seed(kOutcome, EncodeOutcome({300, 7, 70'000, true})),
          Seed(kStates, EncodeStateOutcome(Outcome(3))),
          Seed(kStates, EncodeStateOutcome(Outcome(limits::kMaxRememberedAnswerBytes + 1))),
          Seed(kSlots, EncodeSlotAnswers(slots)),
          Seed(kReceipt, EncodeReceipt(kDeployment, {kMemory, {{0, 300}, {3, 70'000}}}))};
}

const Registration kTarget({"opaque", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
