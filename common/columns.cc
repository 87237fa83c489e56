#include "common/columns.h"

#include <cstring>

namespace mneme {
namespace {

// Appends `value` to an optional column that holds `count` entries: the column stays absent while all are `absent`.
template <typename T>
void AppendOptional(std::vector<T>& column, size_t count, T value, T absent) {
  if (column.empty() && std::memcmp(&value, &absent, sizeof(T)) == 0) return;  // as bits: -0.0 is not 0.0
  if (column.empty()) column.assign(count, absent);
  column.push_back(value);
}

template <typename T>
T AtOr(const std::vector<T>& column, size_t i, T absent) {
  return column.empty() ? absent : column[i];
}

}  // namespace

EntryView EntryColumns::At(size_t i) const {
  const Attributes absent;
  EntryView entry;
  entry.id = ids.empty() ? 0 : ids[i];
  if (!keys.empty()) entry.key = keys.view().substr(i * key_bytes, key_bytes);
  entry.value = values.At(i);
  entry.attributes.weight = AtOr(weights, i, absent.weight);
  entry.attributes.score = AtOr(scores, i, absent.score);
  entry.attributes.label = AtOr(labels, i, absent.label);
  entry.attributes.source = AtOr(sources, i, absent.source);
  entry.attributes.position = AtOr(positions, i, absent.position);
  entry.attributes.expiry_ms = AtOr(expiries_ms, i, absent.expiry_ms);
  entry.attributes.created_ms = AtOr(created_ms, i, absent.created_ms);
  return entry;
}

void EntryColumns::Append(const EntryView& entry) {
  const Attributes absent;
  keys.Append(entry.key);
  key_bytes = entry.key.size();
  values.Append(entry.value);
  ids.push_back(entry.id);
  AppendOptional(weights, count, entry.attributes.weight, absent.weight);
  AppendOptional(scores, count, entry.attributes.score, absent.score);
  AppendOptional(labels, count, entry.attributes.label, absent.label);
  AppendOptional(sources, count, entry.attributes.source, absent.source);
  AppendOptional(positions, count, entry.attributes.position, absent.position);
  AppendOptional(expiries_ms, count, entry.attributes.expiry_ms, absent.expiry_ms);
  AppendOptional(created_ms, count, entry.attributes.created_ms, absent.created_ms);
  ++count;
}

void SearchStatistics::Add(const SearchStatistics& other) {
  rows_total += other.rows_total;
  rows_scanned += other.rows_scanned;
  lists_probed += other.lists_probed;
  rows_reranked += other.rows_reranked;
  segments += other.segments;
  tail_rows += other.tail_rows;
  exact = exact && other.exact;
}

}  // namespace mneme
