// 1. Which neighbours, row by row: a heap of the next one of each part.
// 2. Their columns, one after the other.
#include <algorithm>
#include <vector>

#include "index/search.h"

namespace mneme {
namespace {

// The next neighbour of one part.
struct Head {
  const NeighbourColumns* part = nullptr;
  size_t next = 0;
  size_t end = 0;

  // The order of I4, reversed for a heap whose top is its greatest.
  friend bool operator<(const Head& a, const Head& b) {
    const double a_score = a.part->scores[a.next];
    const double b_score = b.part->scores[b.next];
    if (a_score != b_score) return a_score < b_score;
    if (a.part->ids[a.next] != b.part->ids[b.next]) return a.part->ids[a.next] > b.part->ids[b.next];
    return a.part->partitions[a.next] > b.part->partitions[b.next];
  }
};

struct Taken {
  const NeighbourColumns* part = nullptr;
  size_t i = 0;
};

bool SameEntry(const Taken& a, const Head& b) {
  return a.part->ids[a.i] == b.part->ids[b.next] && a.part->partitions[a.i] == b.part->partitions[b.next];
}

// Takes up to `k` of row `q`. `heads` is room for the heap.
void TakeRow(absl::Span<const NeighbourColumns* const> parts, size_t q, uint32_t k, std::vector<Head>& heads,
             std::vector<Taken>& taken) {
  heads.clear();
  for (const NeighbourColumns* part : parts) {
    if (part->offsets[q] < part->offsets[q + 1]) heads.push_back({part, part->offsets[q], part->offsets[q + 1]});
  }
  std::make_heap(heads.begin(), heads.end());
  const size_t first = taken.size();
  while (!heads.empty() && taken.size() - first < k) {
    std::pop_heap(heads.begin(), heads.end());
    Head& head = heads.back();
    // Copies of one entry have the same score, so they come one after the other.
    if (taken.size() == first || !SameEntry(taken.back(), head)) taken.push_back({head.part, head.next});
    if (++head.next < head.end) {
      std::push_heap(heads.begin(), heads.end());
    } else {
      heads.pop_back();
    }
  }
}

// A column that the parts leave out is left out.
template <typename T>
void Gather(const std::vector<Taken>& taken, std::vector<T> NeighbourColumns::*column, NeighbourColumns& out) {
  if (taken.empty() || (taken.front().part->*column).empty()) return;
  (out.*column).reserve(taken.size());
  for (const Taken& each : taken) (out.*column).push_back((each.part->*column)[each.i]);
}

void GatherValues(const std::vector<Taken>& taken, ValueColumn& out) {
  out.bytes.reserve(taken.size() * out.width);
  for (const Taken& each : taken) out.Append(each.part->values.At(each.i));
}

void GatherKeys(const std::vector<Taken>& taken, NeighbourColumns& out) {
  out.keys.reserve(taken.size() * out.key_bytes);
  for (const Taken& each : taken) {
    const char* key = each.part->keys.data() + each.i * each.part->key_bytes;
    out.keys.insert(out.keys.end(), key, key + each.part->key_bytes);
  }
}

}  // namespace

NeighbourColumns MergeNeighbours(absl::Span<const NeighbourColumns* const> parts, uint32_t k) {
  NeighbourColumns out;
  if (parts.empty()) return out;
  std::vector<Head> heads;
  std::vector<Taken> taken;
  for (size_t q = 0; q < parts.front()->queries(); ++q) {
    TakeRow(parts, q, k, heads, taken);
    out.offsets.push_back(taken.size());
  }
  Gather(taken, &NeighbourColumns::scores, out);
  Gather(taken, &NeighbourColumns::ids, out);
  Gather(taken, &NeighbourColumns::partitions, out);
  Gather(taken, &NeighbourColumns::weights, out);
  Gather(taken, &NeighbourColumns::labels, out);
  Gather(taken, &NeighbourColumns::sources, out);
  Gather(taken, &NeighbourColumns::positions, out);
  out.values.width = parts.front()->values.width;
  GatherValues(taken, out.values);
  out.key_bytes = parts.front()->key_bytes;
  GatherKeys(taken, out);
  return out;
}

}  // namespace mneme
