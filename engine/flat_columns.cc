#include "engine/flat_columns.h"

#include <algorithm>

namespace mneme {
namespace {

template <typename T>
bool AbsentOr(const std::vector<T>& column, size_t count) {
  return column.empty() || column.size() == count;
}

bool IsWhole(const ValueColumn& values, size_t count) {
  if (values.width != 0) return values.offsets.empty() && values.bytes.size() / values.width == count &&
                                values.bytes.size() % values.width == 0;
  if (count == 0 && values.offsets.empty()) return values.bytes.empty();
  return values.offsets.size() == count + 1 && values.offsets.front() == 0 &&
         values.offsets.back() == values.bytes.size() && std::is_sorted(values.offsets.begin(), values.offsets.end());
}

bool AreKeys(size_t bytes, size_t count, size_t key_bytes) {
  if (bytes == 0) return true;
  return key_bytes != 0 && bytes % key_bytes == 0 && bytes / key_bytes == count;
}

absl::Status Damaged() { return absl::DataLossError("columns are damaged: they do not fit each other"); }

}  // namespace

absl::Status CheckWhole(const EntryColumns& entries) {
  const size_t count = entries.count;
  const bool whole = AreKeys(entries.keys.size(), count, entries.key_bytes) && IsWhole(entries.values, count) &&
                     AbsentOr(entries.ids, count) && AbsentOr(entries.weights, count) &&
                     AbsentOr(entries.scores, count) && AbsentOr(entries.labels, count) &&
                     AbsentOr(entries.sources, count) && AbsentOr(entries.positions, count) &&
                     AbsentOr(entries.expiries_ms, count) && AbsentOr(entries.created_ms, count);
  return whole ? absl::OkStatus() : Damaged();
}

absl::Status CheckWhole(const NeighbourColumns& neighbours) {
  const size_t count = neighbours.size();
  const std::vector<size_t>& offsets = neighbours.offsets;
  const size_t attributes = neighbours.labels.empty() ? 0 : count;
  const size_t ids = neighbours.ids.empty() ? 0 : count;
  const bool whole = !offsets.empty() && offsets.front() == 0 && offsets.back() == count &&
                     std::is_sorted(offsets.begin(), offsets.end()) && neighbours.ids.size() == ids &&
                     neighbours.partitions.size() == ids && IsWhole(neighbours.values, count) &&
                     neighbours.weights.size() == count && neighbours.labels.size() == attributes &&
                     neighbours.sources.size() == attributes && neighbours.positions.size() == attributes &&
                     AreKeys(neighbours.keys.size(), count, neighbours.key_bytes);
  return whole ? absl::OkStatus() : Damaged();
}

size_t RoomFor(const NeighbourColumns& neighbours) {
  constexpr size_t kAround = 1024;
  const size_t id = neighbours.ids.empty() ? 0 : sizeof(uint32_t);  // how far it is from the least
  return neighbours.size() * (sizeof(double) + id) + neighbours.offsets.size() * sizeof(size_t) +
         neighbours.values.bytes.size() + neighbours.values.offsets.size() * sizeof(uint64_t) +
         neighbours.keys.size() + kAround;
}

}  // namespace mneme
