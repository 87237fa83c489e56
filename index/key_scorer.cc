#include "index/key_scorer.h"

#include <algorithm>

namespace mneme {
namespace {

// Scores of one call, which bounds the arrays on the way.
constexpr size_t kBatch = 256;
// Whether to stop and whether pages are missing is asked so seldom that it costs nothing, but oftener where each row
// may be one that waits for the disk.
constexpr size_t kRowsBetweenQuestions = 1024;
constexpr size_t kReadRowsBetweenQuestions = 256;

}  // namespace

// Counts `rows` rows more; true when they are enough to ask the questions of this file again.
bool KeyScorer::IsTimeToAsk(size_t rows, size_t between) {
  unasked_ += rows;
  if (unasked_ < between) return false;
  unasked_ = 0;
  return true;
}

// True when nothing more should be scored.
bool KeyScorer::Stopped() {
  if (status_.ok() && stop_) status_ = stop_();
  return !status_.ok();
}

void KeyScorer::Score(absl::Span<const Rows> all) {
  if (!status_.ok()) return;
  if (missing_.lately()) return ScoreAsTheyLie(all);
  for (const Rows& rows : all) ScoreAsTheyCome(rows);
}

void KeyScorer::ScoreAsTheyCome(const Rows& rows) {
  const char* keys[kBatch];
  for (size_t first = 0; first < rows.places.size(); first += kBatch) {
    const size_t count = std::min(kBatch, rows.places.size() - first);
    if (IsTimeToAsk(count, kRowsBetweenQuestions)) {
      missing_.Look();
      if (Stopped()) return;
    }
    for (size_t i = 0; i < count; ++i) keys[i] = KeyAt(rows.places[first + i]);
    ExactScores(shape_, rows.query, keys, count, rows.scores + first);
  }
}

void KeyScorer::ScoreAsTheyLie(absl::Span<const Rows> all) {
  struct Wanted {
    const char* key;
    uint32_t rows;
    uint32_t place;
  };
  std::vector<Wanted> wanted;
  for (uint32_t r = 0; r < all.size(); ++r) {
    for (uint32_t p = 0; p < all[r].places.size(); ++p) wanted.push_back({KeyAt(all[r].places[p]), r, p});
  }
  std::sort(wanted.begin(), wanted.end(), [](const Wanted& a, const Wanted& b) { return a.key < b.key; });
  std::vector<ByteRange> keys;
  keys.reserve(wanted.size());
  for (const Wanted& one : wanted) {
    const bool in_file = blocks_[all[one.rows].places[one.place].block].rows.sparse_map.has_value();
    keys.push_back({one.key, in_file ? shape_.KeyBytes() : 0});
  }
  ReadAhead ahead(keys, /*read_once=*/true);
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (IsTimeToAsk(1, kReadRowsBetweenQuestions) && Stopped()) return;
    ahead.Reach(i);
    const Rows& rows = all[wanted[i].rows];
    ExactScores(shape_, rows.query, &wanted[i].key, 1, rows.scores + wanted[i].place);
  }
  // Once for all of them: behind the last request there is nothing more to read, but more will be missing next time.
  missing_.Look();
}

std::vector<ByteRange> KeyScorer::KeysAt(absl::Span<const RowPlace> places) const {
  std::vector<ByteRange> keys;
  keys.reserve(places.size());
  for (const RowPlace& place : places) {
    keys.push_back({KeyAt(place), blocks_[place.block].rows.sparse_map ? shape_.KeyBytes() : 0});
  }
  return keys;
}

}  // namespace mneme
