// Token masks: which tokens may come next so that the text goes on as one of some legal strings (monitor-guided
// decoding, Agrawal et al. 2023).
//
// With L the legal strings as far as they are not written yet, a token t is allowed if for some l of L
//   (i)  t is a prefix of l (l itself included), or
//   (ii) t begins with l, and the character of t after it is a break character: one that ends an identifier.
// Writing t leaves { l without t : l of L begins with t }, or ends the constraint where t holds a break character.
// A string l is not empty but by what was written: then only (ii) is left, tokens that begin with a break character.
#ifndef MNEME_READOUT_TOKEN_MASK_H_
#define MNEME_READOUT_TOKEN_MASK_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "common/types.h"

namespace mneme {

// The tokens of a model as text. Thread-safe once made.
class TokenVocabulary {
 public:
  // Token i is texts[i]; an empty text (a special token, or bytes that are no text) is never allowed. The break
  // characters are those of `break_characters`, UTF-8. Returns INVALID_ARGUMENT when that is no UTF-8.
  static absl::StatusOr<TokenVocabulary> Make(std::vector<std::string> texts, std::string_view break_characters);

  size_t size() const { return texts_.size(); }
  std::string_view text(Token token) const { return texts_[token]; }

  // The allowed tokens, ascending. Nothing is allowed by no strings at all: a dead end.
  std::vector<Token> Allowed(const std::vector<std::string>& legal) const;
  // True when writing the token ends the constraint.
  bool HoldsBreak(Token token) const { return holds_break_[token]; }

 private:
  bool BreakAt(std::string_view text, size_t at) const;

  std::vector<std::string> texts_;
  absl::flat_hash_set<uint32_t> breaks_;             // code points
  std::vector<bool> holds_break_;
  std::vector<Token> sorted_;                        // by text, without empty ones
  std::vector<Token> begin_with_break_;              // ascending
};

// What is left of the legal strings once `token` is written; each once, ascending.
std::vector<std::string> LegalAfter(const std::vector<std::string>& legal, std::string_view token);

// Every way on from some legal strings, to mask with where the model is: node 0 is the strings themselves. In node n
// the tokens [offsets[n], offsets[n + 1]) are allowed, and writing token i leads to node children[i], or out of the
// constraint (kUnconstrained).
struct TokenTrie {
  static constexpr uint32_t kUnconstrained = UINT32_MAX;
  std::vector<uint64_t> offsets = {0};
  std::vector<Token> tokens;  // ascending within a node
  std::vector<uint32_t> children;
};

// Returns RESOURCE_EXHAUSTED when it has more than `max_edges` tokens in all, or its nodes, each with what is left of
// the strings there, do not fit in limits::kMaxMessageBytes while it is made.
absl::StatusOr<TokenTrie> MakeTokenTrie(const TokenVocabulary& vocabulary, std::vector<std::string> legal,
                                        size_t max_edges);

}  // namespace mneme

#endif  // MNEME_READOUT_TOKEN_MASK_H_
