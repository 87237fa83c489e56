// What is known of matches. A key is compared whole, and there are few: a list is enough.
#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/match_entries.h"

namespace mneme {
namespace {

// Of a list node and the vectors' headers.
constexpr uint64_t kOverheadBytes = 1024;

// But for the stamps.
bool SameSide(const MatchKey::Side& a, const MatchKey::Side& b) {
  return a.memory == b.memory && a.contents == b.contents && a.components == b.components &&
         a.filter.SameButForStamp(b.filter);
}

bool SameKey(const MatchKey& a, const MatchKey& b) {
  return a.csls_k == b.csls_k && a.form == b.form && SameSide(a.source, b.source) && SameSide(a.target, b.target);
}

bool AnyExpires(const MatchCache::Versions& versions, int64_t one_ms, int64_t other_ms) {
  const auto [from_ms, to_ms] = std::minmax(one_ms, other_ms);
  return std::any_of(versions.begin(), versions.end(),
                     [from = from_ms, to = to_ms](const auto& version) { return version->ExpiresWithin(from, to); });
}

uint64_t BytesOf(const MatchKey::Side& side) {
  const RowFilter& filter = side.filter;
  const size_t listed = (filter.ids ? filter.ids->size() : 0) + (filter.labels ? filter.labels->size() : 0) +
                        (filter.sources ? filter.sources->size() : 0);
  return side.components.size() * sizeof(uint32_t) + side.contents.size() * sizeof(MatchKey::Content) +
         listed * sizeof(uint64_t);
}

uint64_t BytesOf(const MatchedEntries& entries) {
  // An id, a mean, a best one and its score for each row of either side.
  return (entries.source_ids.size() + entries.target_ids.size()) * 4 * sizeof(uint64_t) +
         entries.source_ids.size() / 8;
}

}  // namespace

std::shared_ptr<const MatchedEntries> MatchCache::Find(const MatchKey& key, const Versions& sources,
                                                       const Versions& targets) {
  int64_t source_ms = 0;
  int64_t target_ms = 0;
  std::shared_ptr<const MatchedEntries> found;
  {
    MutexLock lock(&mutex_);
    const auto at =
        std::find_if(known_.begin(), known_.end(), [&](const Known& known) { return SameKey(known.key, key); });
    if (at == known_.end()) return nullptr;
    known_.splice(known_.begin(), known_, at);
    source_ms = at->key.source.filter.stamp_ms;
    target_ms = at->key.target.filter.stamp_ms;
    found = at->entries;
  }
  const bool expired = AnyExpires(sources, source_ms, key.source.filter.stamp_ms) ||
                       AnyExpires(targets, target_ms, key.target.filter.stamp_ms);
  return expired ? nullptr : found;
}

void MatchCache::Keep(MatchKey key, std::shared_ptr<const MatchedEntries> entries) {
  const uint64_t bytes = kOverheadBytes + BytesOf(key.source) + BytesOf(key.target) + BytesOf(*entries);
  MutexLock lock(&mutex_);
  const auto same =
      std::find_if(known_.begin(), known_.end(), [&](const Known& known) { return SameKey(known.key, key); });
  if (same != known_.end()) Drop(same);
  ram_bytes_ += bytes;
  known_.push_front({std::move(key), std::move(entries), bytes});
  while (ram_bytes_ > budget_bytes_ || known_.size() > limits::kMaxKnownMatches) Drop(std::prev(known_.end()));
}

void MatchCache::Drop(std::list<Known>::iterator known) {
  ram_bytes_ -= known->bytes;
  known_.erase(known);
}

void MatchCache::Forget(MemoryNumber memory) {
  MutexLock lock(&mutex_);
  for (auto at = known_.begin(); at != known_.end();) {
    const auto next = std::next(at);
    if (at->key.source.memory == memory || at->key.target.memory == memory) Drop(at);
    at = next;
  }
}

uint64_t MatchCache::ram_bytes() const {
  MutexLock lock(&mutex_);
  return ram_bytes_;
}

}  // namespace mneme
