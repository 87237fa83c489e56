// The linear and the feedback state of a session: their actions and their payloads (docs/formats.md).
#include <bit>
#include <cstring>
#include <deque>
#include <utility>
#include <vector>

#include "common/limits.h"
#include "common/status_macros.h"
#include "engine/content_hash.h"
#include "engine/state_change.h"
#include "readout/feedback_memory.h"
#include "readout/linear_memory.h"
#include "storage/byte_codec.h"

namespace mneme {
namespace {

using format::ByteReader;
using format::ByteWriter;

absl::Status Damaged() { return absl::DataLossError("the payload of a state is damaged"); }

absl::Status ShapeMismatch(size_t key_dim, size_t value_dim, size_t given_keys, size_t given_values) {
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        "the state has keys of ", key_dim, " and values of ", value_dim, " components; given are ",
                        given_keys, " and ", given_values)),
                    reason::kStateShapeMismatch);
}

std::vector<float> Narrow(const std::vector<double>& items) { return {items.begin(), items.end()}; }

template <typename T>
void AppendItems(absl::Span<const T> items, std::string& out) {
  out.append(reinterpret_cast<const char*>(items.data()), items.size() * sizeof(T));
}

template <typename T>
std::vector<T> TakeItems(ByteReader& reader, uint64_t rows, uint64_t columns) {
  // A count that no payload can hold is damage, and must not overflow.
  const bool sane = columns != 0 && rows <= limits::kMaxStateBytes / columns;
  const std::string_view bytes = reader.Bytes(sane ? rows * columns * sizeof(T) : UINT64_MAX);
  std::vector<T> items(bytes.size() / sizeof(T));
  if (!items.empty()) std::memcpy(items.data(), bytes.data(), bytes.size());
  return items;
}

std::string EncodeLinear(const LinearMemory& memory) {
  std::string out;
  out.reserve(memory.flat().size() * sizeof(double) + 32);
  ByteWriter writer(out);
  writer.Varint(memory.key_dim());
  writer.Varint(memory.value_dim());
  writer.Varint(memory.tokens());
  AppendItems(memory.flat(), out);
  return out;
}

// A linear memory as it is stored: M and z are f64.
struct StoredLinear {
  uint64_t key_dim = 0;
  uint64_t value_dim = 0;
  uint64_t tokens = 0;
  std::string_view items;
};

absl::StatusOr<StoredLinear> ParseLinear(std::string_view payload) {
  ByteReader reader(payload);
  StoredLinear stored{reader.Varint(), reader.Varint(), reader.Varint(), {}};
  if (stored.key_dim == 0 || stored.value_dim == 0 || stored.value_dim >= limits::kMaxStateBytes) return Damaged();
  if (stored.key_dim > limits::kMaxStateBytes / (stored.value_dim + 1)) return Damaged();
  stored.items = reader.Bytes(stored.key_dim * (stored.value_dim + 1) * sizeof(double));
  if (!reader.AtEnd()) return Damaged();
  return stored;
}

absl::StatusOr<LinearMemory> DecodeLinear(std::string_view payload) {
  ASSIGN_OR_RETURN(const StoredLinear stored, ParseLinear(payload));
  std::vector<double> flat(stored.items.size() / sizeof(double));
  std::memcpy(flat.data(), stored.items.data(), stored.items.size());
  return LinearMemory::FromFlat(stored.key_dim, stored.value_dim, stored.tokens, flat);
}

// A feedback memory with what its last block was and was answered.
struct Attended {
  FeedbackMemory memory;
  uint64_t hash = 0;
  std::vector<float> tokens;
  std::vector<float> fam;
};

void AppendRows(const FeedbackMemory::Rows& rows, size_t key_dim, std::string& out) {
  ByteWriter(out).Varint(rows.keys.size() / key_dim);
  AppendItems(absl::MakeConstSpan(rows.keys), out);
  AppendItems(absl::MakeConstSpan(rows.values), out);
}

FeedbackMemory::Rows TakeRows(ByteReader& reader, size_t key_dim, size_t value_dim) {
  FeedbackMemory::Rows rows;
  const uint64_t count = reader.Varint();
  rows.keys = TakeItems<float>(reader, count, key_dim);
  rows.values = TakeItems<float>(reader, count, value_dim);
  return rows;
}

std::string EncodeFeedback(const Attended& state) {
  const FeedbackMemory& memory = state.memory;
  std::string out;
  ByteWriter writer(out);
  writer.Varint(memory.key_dim());
  writer.Varint(memory.value_dim());
  writer.Varint(static_cast<uint64_t>(memory.last_block()));
  writer.Fixed(state.hash);
  writer.Varint(memory.ring().size());
  for (const FeedbackMemory::Rows& block : memory.ring()) AppendRows(block, memory.key_dim(), out);
  AppendRows(memory.fam(), memory.key_dim(), out);
  writer.Varint(state.tokens.size() / memory.value_dim());
  AppendItems(absl::MakeConstSpan(state.tokens), out);
  writer.Varint(state.fam.size() / memory.value_dim());
  AppendItems(absl::MakeConstSpan(state.fam), out);
  return out;
}

absl::StatusOr<Attended> DecodeFeedback(std::string_view payload) {
  ByteReader reader(payload);
  const uint64_t key_dim = reader.Varint();
  const uint64_t value_dim = reader.Varint();
  const auto last_block = static_cast<int64_t>(reader.Varint());
  const auto hash = reader.Fixed<uint64_t>();
  const uint64_t blocks = reader.Varint();
  if (!reader.ok() || key_dim == 0 || value_dim == 0 || blocks > limits::kMaxRingBlocks) return Damaged();
  std::deque<FeedbackMemory::Rows> ring;
  for (uint64_t i = 0; i < blocks; ++i) ring.push_back(TakeRows(reader, key_dim, value_dim));
  FeedbackMemory::Rows fam = TakeRows(reader, key_dim, value_dim);
  std::vector<float> tokens = TakeItems<float>(reader, reader.Varint(), value_dim);
  std::vector<float> fam_answer = TakeItems<float>(reader, reader.Varint(), value_dim);
  if (!reader.AtEnd()) return Damaged();
  auto memory = FeedbackMemory::FromParts(key_dim, value_dim, last_block, std::move(ring), std::move(fam));
  if (!memory.ok()) return Damaged();
  return Attended{*std::move(memory), hash, std::move(tokens), std::move(fam_answer)};
}

uint64_t HashOf(const FeedbackAttend& action) {
  ContentHash hash;
  hash.Add(std::bit_cast<uint64_t>(action.scale));
  hash.Add(uint64_t{action.ring_blocks} * 2 + (action.causal ? 1 : 0));
  for (const StateRows* rows : {&action.queries, &action.keys, &action.values, &action.fam_queries, &action.fam_keys,
                                &action.fam_values}) {
    hash.Add(uint64_t{rows->columns});
    hash.Add(rows->items);
  }
  return hash.value();
}

StateAnswer Shaped(StateAnswer answer, size_t key_dim, size_t value_dim) {
  answer.key_dimension = static_cast<uint32_t>(key_dim);
  answer.value_dimension = static_cast<uint32_t>(value_dim);
  return answer;
}

StateChange AnswerBlock(const Attended& state, StateAnswer answer) {
  StateChange change{.answer = Shaped(std::move(answer), state.memory.key_dim(), state.memory.value_dim())};
  change.answer.last_block = state.memory.last_block();
  change.answer.columns = {Packed(state.tokens), Packed(state.fam)};
  return change;
}

}  // namespace

absl::Status CheckVectorPayload(const StateRecord& state) {
  return state.kind == StateKind::kLinear ? ParseLinear(state.payload).status()
                                          : DecodeFeedback(state.payload).status();
}

absl::StatusOr<StateChange> ActLinear(const LinearApply& action, const StateRecord* current) {
  RETURN_IF_ERROR(CheckKind(current, StateKind::kLinear));
  const bool writes = !action.keys.items.empty();
  const size_t key_dim = writes ? action.keys.columns : action.queries.columns;
  const size_t value_dim = action.values.columns;
  if (current == nullptr && !writes) {  // nothing was written: zeros, of the width that was said
    StateChange change{.answer = Shaped(AnswerOf(nullptr, false), key_dim, value_dim)};
    change.answer.columns = {Packed(std::vector<float>(action.queries.rows() * value_dim, 0.0F))};
    return change;
  }
  if (current == nullptr && key_dim > limits::kMaxStateBytes / sizeof(double) / (value_dim + 1)) {
    return absl::ResourceExhaustedError(absl::StrCat("a linear memory of ", key_dim, " x ", value_dim,
                                                     " has more than the ", limits::kMaxStateBytes,
                                                     " bytes that a state may have"));
  }
  absl::StatusOr<LinearMemory> memory =
      current == nullptr ? LinearMemory(key_dim, value_dim) : DecodeLinear(current->payload);
  RETURN_IF_ERROR(memory.status());
  const bool fits = (key_dim == 0 || key_dim == memory->key_dim()) &&
                    (value_dim == 0 || value_dim == memory->value_dim());
  if (!fits) return ShapeMismatch(memory->key_dim(), memory->value_dim(), key_dim, value_dim);
  const LinearUpdate update{action.keys.items, action.values.items,      action.queries.items, action.rule,
                            action.order,      action.segment_length, action.epsilon};
  ASSIGN_OR_RETURN(const std::vector<double> reads, memory->Apply(update));
  StateChange change{.answer = Shaped(AnswerOf(current, writes), memory->key_dim(), memory->value_dim())};
  change.answer.tokens = memory->tokens();
  change.answer.columns = {Packed(Narrow(reads))};
  if (writes) change.next = NextOf(current, StateKind::kLinear, EncodeLinear(*memory));
  return change;
}

absl::StatusOr<StateChange> ActLinear(const LinearGet&, const StateRecord* current) {
  RETURN_IF_ERROR(CheckKind(current, StateKind::kLinear));
  if (current == nullptr) return StateChange{.answer = AnswerOf(nullptr, false)};
  ASSIGN_OR_RETURN(const LinearMemory memory, DecodeLinear(current->payload));
  StateChange change{.answer = Shaped(AnswerOf(current, false), memory.key_dim(), memory.value_dim())};
  change.answer.tokens = memory.tokens();
  change.answer.columns = {Packed(memory.matrix()), Packed(memory.normaliser())};
  return change;
}

absl::StatusOr<StateChange> ActFeedback(const FeedbackAttend& action, const StateRecord* current) {
  RETURN_IF_ERROR(CheckKind(current, StateKind::kFeedback));
  const size_t key_dim = action.keys.columns;
  const size_t value_dim = action.values.columns;
  absl::StatusOr<Attended> state = current == nullptr ? Attended{.memory = FeedbackMemory(key_dim, value_dim)}
                                                      : DecodeFeedback(current->payload);
  RETURN_IF_ERROR(state.status());
  FeedbackMemory& memory = state->memory;
  if (key_dim != memory.key_dim() || value_dim != memory.value_dim()) {
    return ShapeMismatch(memory.key_dim(), memory.value_dim(), key_dim, value_dim);
  }
  const uint64_t hash = HashOf(action);
  const BlockOrder order = memory.OrderOf(action.block_index);
  if (order == BlockOrder::kReplay && hash == state->hash) return AnswerBlock(*state, AnswerOf(current, false));
  if (order != BlockOrder::kNext) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          "block_index is ", action.block_index, "; must be ", memory.last_block() + 1,
                          order == BlockOrder::kReplay ? ", or the last block again with the same content" : "")),
                      reason::kBlockGap);
  }
  ASSIGN_OR_RETURN(const FeedbackAnswer answer,
                   memory.Attend({action.block_index, action.scale, action.ring_blocks, action.causal,
                                  action.queries.items, action.keys.items, action.values.items,
                                  action.fam_queries.items, action.fam_keys.items, action.fam_values.items}));
  state->hash = hash;
  state->tokens = Narrow(answer.tokens);
  state->fam = Narrow(answer.fam);
  StateChange change = AnswerBlock(*state, AnswerOf(current, true));
  change.next = NextOf(current, StateKind::kFeedback, EncodeFeedback(*state));
  return change;
}

absl::StatusOr<StateChange> ActFeedback(const FeedbackGet&, const StateRecord* current) {
  RETURN_IF_ERROR(CheckKind(current, StateKind::kFeedback));
  if (current == nullptr) return StateChange{.answer = AnswerOf(nullptr, false)};
  ASSIGN_OR_RETURN(const Attended state, DecodeFeedback(current->payload));
  const FeedbackMemory& memory = state.memory;
  StateChange change{.answer = Shaped(AnswerOf(current, false), memory.key_dim(), memory.value_dim())};
  change.answer.last_block = memory.last_block();
  std::string keys;
  std::string values;
  std::vector<uint64_t> offsets = {0};
  for (const FeedbackMemory::Rows& block : memory.ring()) {
    keys += Packed(block.keys);
    values += Packed(block.values);
    offsets.push_back(offsets.back() + block.keys.size() / memory.key_dim());
  }
  change.answer.columns = {std::move(keys), std::move(values), Packed(offsets), Packed(memory.fam().keys),
                           Packed(memory.fam().values)};
  return change;
}

}  // namespace mneme
