#include "index/row_filter.h"

#include <algorithm>

namespace mneme {
namespace {

template <typename T>
bool Allows(const std::optional<std::vector<T>>& list, T value) {
  return !list || std::binary_search(list->begin(), list->end(), value);
}

}  // namespace

bool RowFilter::SameButForStamp(const RowFilter& other) const {
  return ids == other.ids && labels == other.labels && sources == other.sources &&
         created_from_ms == other.created_from_ms && created_to_ms == other.created_to_ms;
}

bool RowFilter::Accepts(EntryId id, const Attributes& attributes) const {
  if (attributes.expiry_ms != 0 && attributes.expiry_ms <= stamp_ms) return false;
  if (created_from_ms && attributes.created_ms < *created_from_ms) return false;
  if (created_to_ms && attributes.created_ms >= *created_to_ms) return false;
  return Allows(sources, attributes.source) && Allows(labels, attributes.label) && Allows(ids, id);
}

bool RowFilter::Accepts(const RowBlock& block, size_t i) const {
  // Most memories have neither filter nor expiry: answer those without reading a column.
  if (block.expiries_ms == nullptr && AcceptsEverything()) return true;
  return Accepts(block.ids[i], block.AttributesAt(i));
}

}  // namespace mneme
