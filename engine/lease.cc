#include "engine/lease.h"

#include <algorithm>

#include "absl/types/span.h"

namespace mneme {

absl::Span<const PartitionId> NamedBy(const PartitionSelection& selection) {
  static constexpr PartitionId kDefault[] = {0};
  return selection.partitions.empty() ? absl::MakeConstSpan(kDefault) : selection.partitions;
}

PartitionSelection Ascending(const PartitionSelection& selection) {
  PartitionSelection ascending;
  ascending.all = selection.all;
  const auto named = NamedBy(selection);
  if (!selection.all) ascending.partitions.assign(named.begin(), named.end());
  std::sort(ascending.partitions.begin(), ascending.partitions.end());
  return ascending;
}

bool Lease::Covers(const PartitionSelection& selection) const {
  if (partitions.all) return true;
  if (selection.all) return false;
  const auto asked = NamedBy(selection);
  return std::all_of(asked.begin(), asked.end(), [&](PartitionId each) {
    return std::binary_search(partitions.partitions.begin(), partitions.partitions.end(), each);
  });
}

}  // namespace mneme
