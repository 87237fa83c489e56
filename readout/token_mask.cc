#include "readout/token_mask.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/utf8.h"

namespace mneme {
namespace {

bool StartsWith(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

void SortUnique(std::vector<std::string>& strings) {
  std::sort(strings.begin(), strings.end());
  strings.erase(std::unique(strings.begin(), strings.end()), strings.end());
}

}  // namespace

bool TokenVocabulary::BreakAt(std::string_view text, size_t at) const {
  return breaks_.contains(CharacterAt(text, at).first);
}

absl::StatusOr<TokenVocabulary> TokenVocabulary::Make(std::vector<std::string> texts,
                                                      std::string_view break_characters) {
  TokenVocabulary made;
  for (size_t at = 0; at < break_characters.size();) {
    const auto [point, bytes] = CharacterAt(break_characters, at);
    if (point == kNoCharacter) {
      return absl::InvalidArgumentError(absl::StrCat("break_characters has no UTF-8 character at byte ", at));
    }
    made.breaks_.insert(point);
    at += bytes;
  }
  made.texts_ = std::move(texts);
  made.holds_break_.resize(made.texts_.size());
  for (Token token = 0; token < made.texts_.size(); ++token) {
    const std::string_view text = made.texts_[token];
    if (text.empty()) continue;
    made.sorted_.push_back(token);
    if (made.BreakAt(text, 0)) made.begin_with_break_.push_back(token);
    for (size_t at = 0; at < text.size() && !made.holds_break_[token];) {
      made.holds_break_[token] = made.BreakAt(text, at);
      at += CharacterAt(text, at).second;
    }
  }
  std::sort(made.sorted_.begin(), made.sorted_.end(),
            [&made](Token a, Token b) { return made.text(a) < made.text(b); });
  return made;
}

// Tokens that begin alike lie together: for each character of a string the range that is left narrows, and its first
// tokens are those that end there. So a string costs what it matches, and a token that many strings begin with is told
// once.
std::vector<Token> TokenVocabulary::Allowed(const std::vector<std::string>& legal) const {
  std::vector<Token> allowed;
  absl::flat_hash_set<std::string_view> looked_at;
  absl::flat_hash_set<Token> told;  // the first of the tokens of one text
  for (const std::string& rest : legal) {
    if (!looked_at.insert(rest).second) continue;
    if (rest.empty()) allowed.insert(allowed.end(), begin_with_break_.begin(), begin_with_break_.end());
    auto first = sorted_.begin();
    auto last = sorted_.end();
    for (size_t at = 0; at < rest.size() && first != last; ++at) {
      const int wanted = static_cast<uint8_t>(rest[at]);
      // Of a text that ends here: before all others.
      const auto character = [this, at](Token token) {
        return at < text(token).size() ? static_cast<uint8_t>(text(token)[at]) : -1;
      };
      first = std::lower_bound(first, last, wanted, [&](Token token, int bound) { return character(token) < bound; });
      last = std::upper_bound(first, last, wanted, [&](int bound, Token token) { return bound < character(token); });
      const bool ends_here = first != last && text(*first).size() == at + 1;
      if (!ends_here || !told.insert(*first).second) continue;
      for (auto token = first; token != last && text(*token).size() == at + 1; ++token) allowed.push_back(*token);
    }
    if (rest.empty()) continue;
    for (; first != last; ++first) {
      if (BreakAt(text(*first), rest.size())) allowed.push_back(*first);
    }
  }
  std::sort(allowed.begin(), allowed.end());
  allowed.erase(std::unique(allowed.begin(), allowed.end()), allowed.end());
  return allowed;
}

std::vector<std::string> LegalAfter(const std::vector<std::string>& legal, std::string_view token) {
  std::vector<std::string> rest;
  for (const std::string& string : legal) {
    if (StartsWith(string, token)) rest.push_back(string.substr(token.size()));
  }
  SortUnique(rest);
  return rest;
}

namespace {

// What a node holds while a trie is made.
size_t BytesOf(const std::vector<std::string>& strings) {
  size_t bytes = sizeof(strings);
  for (const std::string& string : strings) bytes += sizeof(string) + string.size();
  return bytes;
}

absl::Status TooLarge(const std::string& what) {
  return absl::ResourceExhaustedError(
      absl::StrCat("the legal strings need a trie of ", what, "; ask for masks instead"));
}

}  // namespace

absl::StatusOr<TokenTrie> MakeTokenTrie(const TokenVocabulary& vocabulary, std::vector<std::string> legal,
                                        size_t max_edges) {
  SortUnique(legal);
  TokenTrie trie;
  size_t bytes = BytesOf(legal);
  std::map<std::vector<std::string>, uint32_t> numbers;
  // Of the map, whose keys stay where they are.
  std::vector<const std::vector<std::string>*> nodes = {&numbers.try_emplace(std::move(legal), 0).first->first};
  for (size_t n = 0; n < nodes.size(); ++n) {
    const std::vector<Token> allowed = vocabulary.Allowed(*nodes[n]);
    if (trie.tokens.size() + allowed.size() > max_edges) {
      return TooLarge(absl::StrCat("more than ", max_edges, " tokens"));
    }
    absl::flat_hash_map<std::string_view, uint32_t> children;  // by text, which many tokens may have
    for (const Token token : allowed) {
      const auto [child, is_new] = children.try_emplace(vocabulary.text(token), TokenTrie::kUnconstrained);
      if (is_new && !vocabulary.HoldsBreak(token)) {
        const auto [node, added] = numbers.try_emplace(LegalAfter(*nodes[n], vocabulary.text(token)),
                                                       static_cast<uint32_t>(nodes.size()));
        child->second = node->second;
        if (added) nodes.push_back(&node->first);
        if (added) bytes += BytesOf(node->first);
        if (bytes > limits::kMaxMessageBytes) {
          return TooLarge(absl::StrCat("more than ", limits::kMaxMessageBytes, " bytes of strings"));
        }
      }
      trie.tokens.push_back(token);
      trie.children.push_back(child->second);
    }
    trie.offsets.push_back(trie.tokens.size());
  }
  return trie;
}

}  // namespace mneme
