#include "readout/token_mask.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
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
    made.by_text_[text].push_back(token);
    made.longest_ = std::max(made.longest_, text.size());
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

std::vector<Token> TokenVocabulary::Allowed(const std::vector<std::string>& legal) const {
  std::vector<Token> allowed;
  for (const std::string& rest : legal) {
    if (rest.empty()) {
      allowed.insert(allowed.end(), begin_with_break_.begin(), begin_with_break_.end());
      continue;
    }
    for (size_t length = 1; length <= std::min(rest.size(), longest_); ++length) {
      const auto found = by_text_.find(std::string_view(rest).substr(0, length));
      if (found != by_text_.end()) allowed.insert(allowed.end(), found->second.begin(), found->second.end());
    }
    // Tokens that begin with the rest lie together.
    auto at = std::lower_bound(sorted_.begin(), sorted_.end(), rest,
                               [this](Token token, const std::string& bound) { return text(token) < bound; });
    for (; at != sorted_.end() && StartsWith(text(*at), rest); ++at) {
      if (BreakAt(text(*at), rest.size())) allowed.push_back(*at);
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

absl::StatusOr<TokenTrie> MakeTokenTrie(const TokenVocabulary& vocabulary, std::vector<std::string> legal,
                                        size_t max_edges) {
  SortUnique(legal);
  TokenTrie trie;
  std::map<std::vector<std::string>, uint32_t> numbers = {{legal, 0}};
  std::vector<std::vector<std::string>> nodes = {std::move(legal)};
  for (size_t n = 0; n < nodes.size(); ++n) {
    const std::vector<Token> allowed = vocabulary.Allowed(nodes[n]);
    if (trie.tokens.size() + allowed.size() > max_edges) {
      return absl::ResourceExhaustedError(absl::StrCat("the legal strings need a trie of more than ", max_edges,
                                                       " tokens; ask for masks instead"));
    }
    for (const Token token : allowed) {
      uint32_t child = TokenTrie::kUnconstrained;
      if (!vocabulary.HoldsBreak(token)) {
        std::vector<std::string> rest = LegalAfter(nodes[n], vocabulary.text(token));
        const auto [at, added] = numbers.try_emplace(rest, static_cast<uint32_t>(nodes.size()));
        if (added) nodes.push_back(std::move(rest));
        child = at->second;
      }
      trie.tokens.push_back(token);
      trie.children.push_back(child);
    }
    trie.offsets.push_back(trie.tokens.size());
  }
  return trie;
}

}  // namespace mneme
