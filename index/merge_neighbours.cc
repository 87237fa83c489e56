#include <queue>

#include "index/search.h"

namespace mneme {
namespace {

// The next neighbour of one part.
struct Head {
  const NeighbourColumns* part = nullptr;
  size_t next = 0;
  size_t end = 0;

  // The order of I4, reversed for a queue whose top is its greatest.
  friend bool operator<(const Head& a, const Head& b) {
    const double a_score = a.part->scores[a.next];
    const double b_score = b.part->scores[b.next];
    if (a_score != b_score) return a_score < b_score;
    if (a.part->ids[a.next] != b.part->ids[b.next]) return a.part->ids[a.next] > b.part->ids[b.next];
    return a.part->partitions[a.next] > b.part->partitions[b.next];
  }
};

bool SameEntryAsLast(const NeighbourColumns& out, const Head& head) {
  return out.ids.size() > out.offsets.back() && out.ids.back() == head.part->ids[head.next] &&
         out.partitions.back() == head.part->partitions[head.next];
}

void AppendFrom(const NeighbourColumns& part, size_t i, NeighbourColumns& out) {
  out.scores.push_back(part.scores[i]);
  out.ids.push_back(part.ids[i]);
  out.partitions.push_back(part.partitions[i]);
  out.values.Append(part.values.At(i));
  out.weights.push_back(part.weights[i]);
  out.labels.push_back(part.labels[i]);
  out.sources.push_back(part.sources[i]);
  out.positions.push_back(part.positions[i]);
  if (part.key_bytes != 0) {
    const char* key = part.keys.data() + i * part.key_bytes;
    out.keys.insert(out.keys.end(), key, key + part.key_bytes);
  }
}

}  // namespace

NeighbourColumns MergeNeighbours(absl::Span<const NeighbourColumns* const> parts, uint32_t k) {
  NeighbourColumns out;
  if (parts.empty()) return out;
  out.values.width = parts.front()->values.width;
  out.key_bytes = parts.front()->key_bytes;
  for (size_t q = 0; q < parts.front()->queries(); ++q) {
    std::priority_queue<Head> heads;
    for (const NeighbourColumns* part : parts) {
      if (part->offsets[q] < part->offsets[q + 1]) heads.push({part, part->offsets[q], part->offsets[q + 1]});
    }
    while (!heads.empty() && out.ids.size() - out.offsets.back() < k) {
      Head head = heads.top();
      heads.pop();
      // Copies of one entry have the same score, so they come one after the other.
      if (!SameEntryAsLast(out, head)) AppendFrom(*head.part, head.next, out);
      if (++head.next < head.end) heads.push(head);
    }
    out.offsets.push_back(out.ids.size());
  }
  return out;
}

}  // namespace mneme
