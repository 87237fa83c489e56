#include "readout/token_mask.h"

#include <gtest/gtest.h>

#include <random>

namespace mneme {
namespace {

using Strings = std::vector<std::string>;

TokenVocabulary Small() {
  return *TokenVocabulary::Make({"", "get", "getN", "get(", "N", "Name", "a", "am", "ame", "ame(", "(", "(x",
                                 "\xC3\xA9", "\xE2\x82\xAC", "get\xE2\x82\xAC", ")"},
                                "()\xE2\x82\xAC");
}

TEST(TokenMaskTest, PrefixesAndWhatABreakCharacterEnds) {
  const TokenVocabulary vocabulary = Small();
  EXPECT_EQ(vocabulary.Allowed({"getName"}), (std::vector<Token>{1, 2}));
  EXPECT_EQ(vocabulary.Allowed({"get"}), (std::vector<Token>{1, 3, 14}));
  EXPECT_EQ(vocabulary.Allowed({"get", "getName"}), (std::vector<Token>{1, 2, 3, 14}));
  EXPECT_EQ(vocabulary.Allowed({"ame"}), (std::vector<Token>{6, 7, 8, 9}));
  EXPECT_EQ(vocabulary.Allowed({""}), (std::vector<Token>{10, 11, 13, 15}));
  EXPECT_TRUE(vocabulary.Allowed({}).empty());
  EXPECT_TRUE(vocabulary.Allowed({"zzz"}).empty());
  EXPECT_EQ(LegalAfter({"get", "getName", "put"}, "get"), (Strings{"", "Name"}));
}

TEST(TokenMaskTest, RefusesBreakCharactersThatAreNoText) {
  EXPECT_EQ(TokenVocabulary::Make({"a"}, "(\xFF").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TokenMaskTest, ATrieIsTheMasksOfEveryStep) {
  const TokenVocabulary vocabulary = Small();
  const absl::StatusOr<TokenTrie> trie = MakeTokenTrie(vocabulary, {"getName", "get"}, 1000);
  ASSERT_TRUE(trie.ok());
  EXPECT_EQ(MakeTokenTrie(vocabulary, {"getName", "get"}, 3).status().code(), absl::StatusCode::kResourceExhausted);
  const auto child = [&](uint32_t node, Token token) {
    for (uint64_t i = trie->offsets[node]; i < trie->offsets[node + 1]; ++i) {
      if (trie->tokens[i] == token) return trie->children[i];
    }
    ADD_FAILURE() << "token " << token << " is not allowed in node " << node;
    return TokenTrie::kUnconstrained;
  };
  EXPECT_EQ(child(0, 3), TokenTrie::kUnconstrained);  // "get("
  const uint32_t after_get = child(0, 1);
  EXPECT_EQ(child(after_get, 10), TokenTrie::kUnconstrained);
  const uint32_t done = child(after_get, 5);  // "Name"
  EXPECT_EQ(child(done, 15), TokenTrie::kUnconstrained);
  EXPECT_EQ(child(child(after_get, 4), 8), done);  // "N", "ame"
}

// The definition, token by token, over random vocabularies of a small alphabet.
TEST(TokenMaskTest, AgreesWithTheDefinition) {
  std::mt19937_64 random(7);
  const auto text = [&](size_t longest) {
    std::string out;
    for (size_t i = 1 + random() % longest; i > 0; --i) out.push_back("ab(."[random() % 4]);
    return out;
  };
  for (int round = 0; round < 500; ++round) {
    Strings texts(1);
    for (int i = 0; i < 60; ++i) texts.push_back(text(5));
    const auto vocabulary = TokenVocabulary::Make(texts, "(.");
    ASSERT_TRUE(vocabulary.ok());
    Strings legal;
    for (size_t i = random() % 4; i > 0; --i) {
      std::string string = text(6);
      string.erase(0, random() % (string.size() + 1));
      legal.push_back(string);
    }
    std::vector<Token> wanted;
    for (Token token = 0; token < texts.size(); ++token) {
      const std::string& t = texts[token];
      bool allowed = false;
      for (const std::string& l : legal) {
        const bool prefix = l.compare(0, t.size(), t) == 0;
        const bool past = t.size() > l.size() && t.compare(0, l.size(), l) == 0 &&
                          (t[l.size()] == '(' || t[l.size()] == '.');
        allowed = allowed || (!t.empty() && (prefix || past));
      }
      if (allowed) wanted.push_back(token);
    }
    EXPECT_EQ(vocabulary->Allowed(legal), wanted);
  }
}

// Many tokens of one text and many strings that begin with it: one would be told for each of the others.
TEST(TokenMaskTest, ManyStringsThatBeginWithManyTokensOfOneTextCostTheirSum) {
  constexpr size_t kTokens = 20'000;
  constexpr size_t kStrings = 20'000;
  const auto vocabulary = TokenVocabulary::Make(Strings(kTokens, "a"), ".");
  ASSERT_TRUE(vocabulary.ok());
  Strings legal(kStrings, "a");
  for (size_t i = 0; i < kStrings; i += 2) legal[i] += std::to_string(i);
  EXPECT_EQ(vocabulary->Allowed(legal).size(), kTokens);
  EXPECT_TRUE(vocabulary->Allowed(Strings(kStrings, "")).empty());
}

// Every node of the trie holds what is left of the string.
TEST(TokenMaskTest, ATrieOfALongStringIsRefusedBeforeItFillsTheRam) {
  const auto vocabulary = TokenVocabulary::Make({"a"}, ".");
  ASSERT_TRUE(vocabulary.ok());
  const auto trie = MakeTokenTrie(*vocabulary, {std::string(1'000'000, 'a')}, 4'000'000);
  EXPECT_TRUE(absl::IsResourceExhausted(trie.status())) << trie.status();
  const auto short_one = MakeTokenTrie(*vocabulary, {std::string(1'000, 'a')}, 4'000'000);
  ASSERT_TRUE(short_one.ok()) << short_one.status();
  EXPECT_EQ(short_one->tokens.size(), 1'000U);
}

}  // namespace
}  // namespace mneme
