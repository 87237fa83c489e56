#include "tests/readout/shakespeare.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "common/checksum.h"

namespace mneme {

Shakespeare::Shakespeare(std::string_view text) : symbols_(text.size()) {
  std::array<bool, 256> occurs = {};
  for (const char character : text) occurs[static_cast<uint8_t>(character)] = true;
  std::array<uint8_t, 256> rank = {};
  for (size_t byte = 0; byte < 256; ++byte) {
    if (occurs[byte]) rank[byte] = static_cast<uint8_t>(vocabulary_size_++);
  }
  for (size_t i = 0; i < text.size(); ++i) symbols_[i] = rank[static_cast<uint8_t>(text[i])];

  const size_t v = vocabulary_size_;
  embeddings_.resize(v * kEmbedding);
  for (size_t i = 0; i < embeddings_.size(); ++i) {
    const double uniform = static_cast<double>(Mix64(i) >> 11) * 0x1p-53;
    embeddings_[i] = (2.0 * uniform - 1.0) * std::sqrt(3.0 / 16.0);
  }
  blocks_.resize(kContext * v * kEmbedding);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const size_t age = i / (v * kEmbedding);
    blocks_[i] = static_cast<float>(std::pow(0.8, static_cast<double>(age)) * embeddings_[i % (v * kEmbedding)]);
  }
  block_distances_.resize(kContext * v * v);
  for (size_t i = 0; i < block_distances_.size(); ++i) {
    const size_t age = i / (v * v);
    const float* a = &blocks_[(age * v + i / v % v) * kEmbedding];
    const float* b = &blocks_[(age * v + i % v) * kEmbedding];
    for (size_t j = 0; j < kEmbedding; ++j) {
      const double difference = static_cast<double>(a[j]) - b[j];
      block_distances_[i] += difference * difference;
    }
  }
}

std::vector<float> Shakespeare::KeysFrom(size_t first_byte, size_t count) const {
  std::vector<float> keys(count * kDimension);
  for (size_t i = 0; i < count; ++i) {
    for (size_t age = 0; age < kContext; ++age) {
      const size_t symbol = symbols_[first_byte + i + kContext - 1 - age];
      std::copy_n(&blocks_[(age * vocabulary_size_ + symbol) * kEmbedding], kEmbedding,
                  &keys[i * kDimension + age * kEmbedding]);
    }
  }
  return keys;
}

std::vector<float> Shakespeare::StoreKeys() const { return KeysFrom(0, kEntries); }
std::vector<float> Shakespeare::QueryKeys() const { return KeysFrom(kFirstQueryByte, kQueries); }

std::vector<Token> Shakespeare::StoreValues() const {
  const auto first = symbols_.begin() + kContext;
  return {first, first + kEntries};
}

std::vector<Token> Shakespeare::QueryTargets() const {
  const auto first = symbols_.begin() + kFirstQueryByte + kContext;
  return {first, first + kQueries};
}

std::vector<double> Shakespeare::QueryLmLogProbs() const {
  std::vector<double> pairs(vocabulary_size_ * vocabulary_size_, 0.1);
  std::vector<double> totals(vocabulary_size_, 0.1 * static_cast<double>(vocabulary_size_));
  for (size_t i = 0; i + 1 < kStoreCharacters; ++i) {
    pairs[symbols_[i] * vocabulary_size_ + symbols_[i + 1]] += 1.0;
    totals[symbols_[i]] += 1.0;
  }
  std::vector<double> log_probs(kQueries);
  for (size_t i = 0; i < kQueries; ++i) {
    const uint8_t* next = &symbols_[kFirstQueryByte + kContext + i];
    log_probs[i] = std::log(pairs[next[-1] * vocabulary_size_ + next[0]] / totals[next[-1]]);
  }
  return log_probs;
}

std::vector<Shakespeare::Neighbour> Shakespeare::Nearest(size_t query, size_t k, Ties ties) const {
  std::array<const double*, kContext> rows = {};
  for (size_t age = 0; age < kContext; ++age) {
    const size_t symbol = symbols_[kFirstQueryByte + query + kContext - 1 - age];
    rows[age] = &block_distances_[(age * vocabulary_size_ + symbol) * vocabulary_size_];
  }
  std::vector<Neighbour> all(kEntries);
  for (size_t i = 0; i < kEntries; ++i) {
    double distance = 0.0;
    for (size_t age = 0; age < kContext; ++age) distance += rows[age][symbols_[i + kContext - 1 - age]];
    all[i] = {distance, static_cast<uint32_t>(i)};
  }
  const bool earlier_first = ties == Ties::kEarlierFirst;
  const auto nearer = [earlier_first](const Neighbour& a, const Neighbour& b) {
    return a.distance < b.distance || (a.distance == b.distance && (a.entry < b.entry) == earlier_first);
  };
  const auto kth = all.begin() + static_cast<std::ptrdiff_t>(std::min(k, all.size()));
  std::nth_element(all.begin(), kth, all.end(), nearer);
  std::sort(all.begin(), kth, nearer);
  all.erase(kth, all.end());
  return all;
}

}  // namespace mneme
