#include "engine/write_operations.h"

namespace mneme {
namespace {

// What an operation costs beside its columns.
constexpr uint64_t kOverheadBytes = 256;

}  // namespace

uint64_t BytesOf(const EntryColumns& entries) {
  const size_t columns = 1 + !entries.weights.empty() + !entries.scores.empty() + !entries.labels.empty() +
                         !entries.sources.empty() + !entries.positions.empty() + !entries.expiries_ms.empty();
  return entries.keys.size() + entries.values.bytes.size() + entries.count * columns * sizeof(EntryId);
}

std::optional<LoggedMoment> MomentOf(const WriteOperation& operation) {
  return std::visit(
      [](const auto& each) -> std::optional<LoggedMoment> {
        if constexpr (requires { each.ticket; }) {
          return LoggedMoment{each.ticket.position, each.ticket.stamp_ms};
        } else if constexpr (requires { each.position; }) {
          return LoggedMoment{each.position, each.stamp_ms};
        } else if constexpr (requires { each.survivors; }) {
          return LoggedMoment{};  // a merge of a shard without a log
        } else {
          return std::nullopt;
        }
      },
      operation);
}

uint64_t BytesOf(const WriteOperation& operation) {
  if (const auto* insert = std::get_if<InsertOperation>(&operation)) return kOverheadBytes + BytesOf(insert->entries);
  if (const auto* erase = std::get_if<DeleteOperation>(&operation)) {
    uint64_t listed = erase->ids.has_value() ? erase->ids->size() : 0;
    if (erase->filter.has_value()) {
      const RowFilter& filter = *erase->filter;
      listed += filter.ids.has_value() ? filter.ids->size() : 0;
      listed += filter.labels.has_value() ? filter.labels->size() : 0;
      listed += filter.sources.has_value() ? filter.sources->size() : 0;
    }
    return kOverheadBytes + listed * sizeof(EntryId);
  }
  if (const auto* expire = std::get_if<ExpireOperation>(&operation)) {
    return kOverheadBytes + expire->rows.size() * sizeof(StoredRow);
  }
  if (const auto* merge = std::get_if<MergeOperation>(&operation)) {
    return kOverheadBytes + BytesOf(merge->survivors) + merge->merged.size() * sizeof(StoredRow);
  }
  if (const auto* merge = std::get_if<MergeRowsOperation>(&operation)) {
    return kOverheadBytes + (merge->merges.survivors.size() + merge->merges.merged.size()) * sizeof(StoredRow);
  }
  if (const auto* expire = std::get_if<ExpireStatesOperation>(&operation)) {
    return kOverheadBytes * (1 + expire->due.size());
  }
  if (const auto* states = std::get_if<StateOperation>(&operation)) return kOverheadBytes + BytesOf(states->request);
  if (const auto* remember = std::get_if<RememberOperation>(&operation)) {
    return kOverheadBytes + remember->batch.queries.size() + remember->batch.labels.size() * sizeof(int64_t);
  }
  return kOverheadBytes;
}

}  // namespace mneme
