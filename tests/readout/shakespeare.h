// Shakespeare: a kNN-LM experiment made from raw text alone, so that anyone can repeat it without a neural network.
//
// Symbols are characters, numbered by rank among the distinct bytes of the file. A context's key is the concatenation
// over i = 0 .. 7 of 0.8^i e[x_{t-i}] (i = 0 the most recent), 8 x 16 = 128 components stored as f32, with the
// embedding e[c][j] = (2 u - 1) sqrt(3/16), u = (splitmix64(16 c + j) >> 11) 2^-53. Its value is the next symbol. The
// datastore is the first 100,000 characters (99,992 entries); the queries predict 2,000 characters of the last tenth.
// The language model to better is an add-0.1 bigram of the same 100,000 characters.
#ifndef MNEME_TESTS_READOUT_SHAKESPEARE_H_
#define MNEME_TESTS_READOUT_SHAKESPEARE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "common/types.h"

namespace mneme {

class Shakespeare {
 public:
  static constexpr size_t kContext = 8;
  static constexpr size_t kEmbedding = 16;
  static constexpr size_t kDimension = kContext * kEmbedding;
  static constexpr size_t kStoreCharacters = 100'000;
  static constexpr size_t kEntries = kStoreCharacters - kContext;
  static constexpr size_t kFirstQueryByte = 1'003'854;  // where the first query's context begins
  static constexpr size_t kQueries = 2'000;

  // `text` is tinyshakespeare.txt, whole: at least kFirstQueryByte + kContext + kQueries bytes.
  explicit Shakespeare(std::string_view text);

  size_t vocabulary_size() const { return vocabulary_size_; }
  double EmbeddingAt(size_t symbol, size_t component) const { return embeddings_[symbol * kEmbedding + component]; }

  // [kEntries x kDimension] and [kQueries x kDimension], row by row.
  std::vector<float> StoreKeys() const;
  std::vector<float> QueryKeys() const;
  // [kEntries]: entry i's next symbol; [kQueries]: what really follows.
  std::vector<Token> StoreValues() const;
  std::vector<Token> QueryTargets() const;
  // [kQueries]: ln of the bigram's probability of each target.
  std::vector<double> QueryLmLogProbs() const;

  // Equal contexts are equally far, and at k = 1024 one query in five has such a tie across the last place: which of
  // the tied entries belong to the k nearest moves the perplexity by 2e-4.
  enum class Ties { kEarlierFirst, kLaterFirst };

  // For each query the min(k, kEntries) nearest entries by squared distance, then entry: brute force in f64. Keys
  // being concatenations, a distance is a sum of eight of 8 x 65 x 65 distances between blocks, tabulated once.
  struct Neighbour {
    double distance = 0.0;
    uint32_t entry = 0;
  };
  std::vector<Neighbour> Nearest(size_t query, size_t k, Ties ties = Ties::kEarlierFirst) const;

 private:
  std::vector<float> KeysFrom(size_t first_byte, size_t count) const;

  std::vector<uint8_t> symbols_;  // the text
  size_t vocabulary_size_ = 0;
  std::vector<double> embeddings_;
  std::vector<float> blocks_;              // [kContext x vocabulary x kEmbedding]: 0.8^i e[c], rounded as in a key
  std::vector<double> block_distances_;    // [kContext x vocabulary x vocabulary]
};

}  // namespace mneme

#endif  // MNEME_TESTS_READOUT_SHAKESPEARE_H_
