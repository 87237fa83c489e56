#include "engine/slot_table.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

constexpr uint8_t kAnswersVersion = 1;

// Calls `visit` on every column that is remembered, in the order in which they are written.
template <typename Answers, typename Visit>
void ForEachColumn(Answers& answers, Visit visit) {
  visit(answers.found);
  visit(answers.slots);
  visit(answers.values);
  visit(answers.similarities);
  visit(answers.correct);
  visit(answers.actions);
  visit(answers.written_slots);
  visit(answers.evicted);
  visit(answers.evicted_values);
  visit(answers.evicted_ages);
  visit(answers.pos);
  visit(answers.neg);
  visit(answers.losses);
}

}  // namespace

std::string EncodeSlotAnswers(const SlotAnswers& answers) {
  const auto count = static_cast<uint32_t>(answers.found.size());
  std::string out(1, static_cast<char>(kAnswersVersion));
  out.append(reinterpret_cast<const char*>(&count), sizeof(count));
  ForEachColumn(answers, [&out](const auto& column) {
    out.append(reinterpret_cast<const char*>(column.data()), column.size() * sizeof(column[0]));
  });
  return out;
}

absl::StatusOr<SlotAnswers> DecodeSlotAnswers(std::string_view bytes) {
  const absl::Status damaged = absl::DataLossError("the remembered answers of a request are damaged");
  uint32_t count = 0;
  if (bytes.size() < 1 + sizeof(count) || bytes[0] != static_cast<char>(kAnswersVersion)) return damaged;
  std::memcpy(&count, bytes.data() + 1, sizeof(count));
  bytes.remove_prefix(1 + sizeof(count));
  SlotAnswers answers;
  size_t item_bytes = 0;
  ForEachColumn(answers, [&item_bytes](auto& column) { item_bytes += sizeof(column[0]); });
  if (bytes.size() != count * item_bytes) return damaged;
  ForEachColumn(answers, [&](auto& column) {
    column.resize(count);
    if (count != 0) std::memcpy(column.data(), bytes.data(), count * sizeof(column[0]));
    bytes.remove_prefix(count * sizeof(column[0]));
  });
  return answers;
}

absl::StatusOr<SlotTable> SlotTable::Load(const EntryStore& store, const PartitionKey& key, const MemorySpec& spec) {
  struct Slot {
    EntryId id;
    int64_t label;
    int64_t last_used;
    size_t at;  // of its key
  };
  std::vector<Slot> slots;
  std::vector<float> read;
  absl::Status unfit;
  RETURN_IF_ERROR(store.ScanRows(key, 0, std::numeric_limits<Row>::max(), [&](Row, const EntryView& entry) {
    if (entry.id >= limits::kFirstServerId) {
      unfit = absl::FailedPreconditionError(
          absl::StrCat("entry ", entry.id, " has an id of the server; a slot needs one below 2^62"));
    } else if (slots.size() >= spec.capacity) {
      unfit = absl::FailedPreconditionError(absl::StrCat("there are more entries than the capacity, ", spec.capacity));
    }
    if (!unfit.ok()) return false;
    slots.push_back({entry.id, entry.attributes.label, static_cast<int64_t>(entry.attributes.position), read.size()});
    read.resize(read.size() + spec.dimension);
    std::memcpy(&read[slots.back().at], entry.key.data(), spec.dimension * sizeof(float));
    return true;
  }));
  RETURN_IF_ERROR(unfit);
  std::sort(slots.begin(), slots.end(), [](const Slot& a, const Slot& b) { return a.id < b.id; });
  std::vector<float> keys;
  std::vector<int64_t> labels;
  std::vector<int64_t> last_used;
  int64_t tick = 0;
  keys.reserve(read.size());
  for (const Slot& slot : slots) {
    // A client's own insert need not have given a unit key.
    double square = 0.0;
    for (size_t i = 0; i < spec.dimension; ++i) square += double{read[slot.at + i]} * double{read[slot.at + i]};
    const bool unit = std::abs(square - 1.0) < 1e-6;
    const double norm = unit || square == 0.0 ? 1.0 : std::sqrt(square);
    for (size_t i = 0; i < spec.dimension; ++i) keys.push_back(static_cast<float>(read[slot.at + i] / norm));
    labels.push_back(slot.label);
    last_used.push_back(std::max<int64_t>(0, slot.last_used));
    tick = std::max(tick, last_used.back());
  }
  ASSIGN_OR_RETURN(RareEvents events,
                   RareEvents::FromColumns(spec.capacity, spec.dimension, tick, keys, labels, last_used));
  SlotTable table(spec, std::move(events));
  for (const Slot& slot : slots) table.ids_.push_back(slot.id);
  table.next_id_ = slots.empty() ? 0 : slots.back().id + 1;
  return table;
}

EntryId SlotTable::IdOf(uint32_t slot) {
  while (ids_.size() <= slot) ids_.push_back(next_id_++);
  return ids_[slot];
}

absl::Status SlotTable::CheckLabels(const std::vector<int64_t>& labels) const {
  if (spec_.value_kind != ValueKind::kToken) return absl::OkStatus();
  const int64_t bound = spec_.vocabulary_size != 0 ? int64_t{spec_.vocabulary_size} : int64_t{1} << 32;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] >= 0 && labels[i] < bound) continue;
    return absl::InvalidArgumentError(absl::StrCat("labels[", i, "] is ", labels[i], "; must be in [0, ", bound,
                                                   "), the tokens of the memory"));
  }
  return absl::OkStatus();
}

absl::StatusOr<SlotAnswers> SlotTable::Observe(const SlotBatch& batch, EntryColumns& written) {
  if (batch.writes()) RETURN_IF_ERROR(CheckLabels(batch.labels));
  const auto queries = absl::MakeConstSpan(batch.queries.as<float>(), batch.count * spec_.dimension);
  ASSIGN_OR_RETURN(const std::vector<Observation> observed, events_.Observe(queries, batch.labels, batch.options));
  SlotAnswers answers;
  std::set<uint32_t> touched;
  if (batch.options.want_mask) answers.mask_offsets = {0};
  for (const Observation& item : observed) {
    answers.found.push_back(item.slot.has_value() ? 1 : 0);
    answers.slots.push_back(item.slot.has_value() ? IdOf(*item.slot) : 0);
    answers.values.push_back(item.value);
    answers.similarities.push_back(item.similarity);
    answers.correct.push_back(item.correct ? 1 : 0);
    answers.actions.push_back(static_cast<uint8_t>(item.action));
    answers.written_slots.push_back(item.written_slot.has_value() ? IdOf(*item.written_slot) : 0);
    answers.evicted.push_back(item.evicted.has_value() ? 1 : 0);
    answers.evicted_values.push_back(item.evicted.has_value() ? item.evicted->value : 0);
    answers.evicted_ages.push_back(item.evicted.has_value() ? item.evicted->age : 0);
    answers.pos.push_back(item.pos);
    answers.neg.push_back(item.neg);
    answers.losses.push_back(item.loss);
    if (item.written_slot.has_value()) touched.insert(*item.written_slot);
    if (!batch.options.want_mask) continue;
    for (const auto& [slot, weight] : item.mask) {
      answers.mask_slots.push_back(IdOf(slot));
      answers.mask_weights.push_back(weight);
    }
    answers.mask_offsets.push_back(answers.mask_slots.size());
  }
  written.values.width = spec_.ValueBytes();
  for (const uint32_t slot : touched) {
    EntryView entry;
    entry.id = ids_[slot];
    const absl::Span<const float> key = events_.key(slot);
    entry.key = {reinterpret_cast<const char*>(key.data()), key.size() * sizeof(float)};
    entry.attributes.label = events_.values()[slot];
    entry.attributes.position = static_cast<uint64_t>(events_.last_used()[slot]);
    const auto token = static_cast<Token>(entry.attributes.label);
    if (spec_.value_kind == ValueKind::kToken) entry.value = {reinterpret_cast<const char*>(&token), sizeof(token)};
    written.Append(entry);
  }
  written.key_bytes = spec_.KeyBytes();
  return answers;
}

}  // namespace mneme
