#include "index/dead_rows.h"

#include <algorithm>
#include <bit>

namespace mneme {

DeadRows DeadRows::With(absl::Span<const Row> rows) const {
  if (rows.empty()) return *this;
  std::vector<Row> ascending(rows.begin(), rows.end());
  std::sort(ascending.begin(), ascending.end());

  auto chunks = chunks_ == nullptr ? std::make_shared<std::vector<std::shared_ptr<const Chunk>>>()
                                   : std::make_shared<std::vector<std::shared_ptr<const Chunk>>>(*chunks_);
  if (const size_t needed = ascending.back() / kRowsPerChunk + 1; needed > chunks->size()) chunks->resize(needed);

  DeadRows result;
  result.count_ = count_;
  for (size_t i = 0; i < ascending.size();) {
    const size_t number = ascending[i] / kRowsPerChunk;
    std::shared_ptr<const Chunk>& slot = (*chunks)[number];
    auto changed = slot == nullptr ? std::make_shared<Chunk>() : std::make_shared<Chunk>(*slot);
    for (; i < ascending.size() && ascending[i] / kRowsPerChunk == number; ++i) {
      const size_t bit = ascending[i] % kRowsPerChunk;
      uint64_t& word = (*changed)[bit / 64];
      const uint64_t mask = uint64_t{1} << (bit % 64);
      if ((word & mask) == 0) ++result.count_;
      word |= mask;
    }
    slot = std::move(changed);
  }
  result.chunks_ = std::move(chunks);
  return result;
}

std::vector<Row> DeadRows::NotIn(const DeadRows& older) const {
  std::vector<Row> rows;
  if (chunks_ == nullptr || chunks_ == older.chunks_) return rows;
  for (size_t number = 0; number < chunks_->size(); ++number) {
    const std::shared_ptr<const Chunk>& chunk = (*chunks_)[number];
    const bool had = older.chunks_ != nullptr && number < older.chunks_->size();
    const Chunk* before = had ? (*older.chunks_)[number].get() : nullptr;
    if (chunk == nullptr || chunk.get() == before) continue;
    for (size_t w = 0; w < chunk->size(); ++w) {
      uint64_t word = (*chunk)[w] & ~(before == nullptr ? 0 : (*before)[w]);
      for (; word != 0; word &= word - 1) {
        rows.push_back(number * kRowsPerChunk + w * 64 + static_cast<Row>(std::countr_zero(word)));
      }
    }
  }
  return rows;
}

uint64_t DeadRows::CountIn(Row first, Row last) const {
  if (chunks_ == nullptr) return 0;
  last = std::min<Row>(last, chunks_->size() * kRowsPerChunk);
  uint64_t found = 0;
  while (first < last) {
    const std::shared_ptr<const Chunk>& chunk = (*chunks_)[first / kRowsPerChunk];
    if (chunk == nullptr) {
      first = (first / kRowsPerChunk + 1) * kRowsPerChunk;
      continue;
    }
    // One word at a time: drop the bits below `first` and from `last` on.
    const size_t bit = first % kRowsPerChunk;
    const Row word_end = std::min<Row>(last, first - bit % 64 + 64);
    uint64_t word = (*chunk)[bit / 64] >> (bit % 64);
    const uint64_t wanted = word_end - first;
    if (wanted < 64) word &= (uint64_t{1} << wanted) - 1;
    found += static_cast<uint64_t>(std::popcount(word));
    first = word_end;
  }
  return found;
}

}  // namespace mneme
