// What registers of sessions hold that the server reads: vocabularies; and SPARSE_VECTOR values as they are stored.
#include "common/sparse_vector.h"
#include "common/stored_vocabulary.h"
#include "common/utf8.h"
#include "common/vector_codec.h"
#include "readout/token_mask.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

enum Kind : uint8_t { kVocabulary, kSparse, kKinds };

constexpr size_t kMostEdges = 256;

// Masks and tries of what the vocabulary's own texts begin.
void Mask(StoredVocabulary stored) {
  std::vector<std::string> legal = {"name", ""};
  if (!stored.texts.empty()) legal.push_back(stored.texts.back() + stored.texts.front());
  const size_t size = stored.texts.size();
  const bool utf8 = IsUtf8(stored.break_characters);
  const auto vocabulary = TokenVocabulary::Make(std::move(stored.texts), stored.break_characters);
  Expect(vocabulary.ok() == utf8, "break characters are UTF-8, or there is no vocabulary");
  if (!vocabulary.ok()) return ExpectRefusal(vocabulary.status(), {StatusCode::kInvalidArgument}, {"break_characters"});
  for (const Token token : vocabulary->Allowed(legal)) Expect(token < size, "a token of the vocabulary is allowed");
  const auto trie = MakeTokenTrie(*vocabulary, legal, kMostEdges);
  if (!trie.ok()) return ExpectRefusal(trie.status(), {StatusCode::kResourceExhausted}, {"trie"});
  Expect(trie->tokens.size() == trie->children.size() && trie->offsets.back() == trie->tokens.size(),
         "a trie's columns fit each other");
}

bool Vocabulary(std::string_view bytes) {
  absl::StatusOr<StoredVocabulary> stored;
  {
    const AllocationBound bound(4096 + 16 * bytes.size());
    stored = DecodeVocabulary(bytes);
  }
  if (stored.ok() && bytes.size() < 1024) Mask(*stored);
  return Through(stored, bytes, EncodeVocabulary, {StatusCode::kInvalidArgument}, {"too few", "ends within"});
}

bool Sparse(std::string_view bytes) {
  const AllocationBound bound(4096 + 4 * bytes.size());
  SparseVector vector;
  if (!DecodeSparseVector(bytes, vector)) return false;
  Expect(vector.indices.size() == vector.components.size() && SparseVectorBytes(vector.indices.size()) == bytes.size(),
         "a sparse vector has as many components as its bytes");
  std::vector<uint16_t> halves;
  bool nan = false;
  for (const float component : vector.components) {
    nan = nan || component != component;
    halves.push_back(FloatToHalf(component));
  }
  std::vector<char> encoded;
  AppendSparseVector(vector.indices.data(), halves.data(), halves.size(), vector.remainder, encoded);
  Expect(nan || std::string_view(encoded.data(), encoded.size()) == bytes, "it is stored as the same bytes");
  return true;
}

bool Run(std::string_view input) {
  Input in(input);
  return in.Byte() % kKinds == kVocabulary ? Vocabulary(in.Rest()) : Sparse(in.Rest());
}

std::vector<std::string> Seeds() {
  const Token indices[] = {3, 300, 70'000};
  const uint16_t halves[] = {FloatToHalf(0.5F), FloatToHalf(-1.0F), FloatToHalf(1e-5F)};
  std::vector<char> sparse = {static_cast<char>(kSparse)};
  AppendSparseVector(indices, halves, 3, 0.25F, sparse);
  return {std::string(1, static_cast<char>(kVocabulary)) +
              EncodeVocabulary({{"name", "na", "me", "", "n", "(", "me.x", "\xc3\xa9t\xc3\xa9"}, " .,;()\xe2\x82\xac"}),
          std::string(1, static_cast<char>(kVocabulary)) + EncodeVocabulary({}),
          std::string(sparse.begin(), sparse.end())};
}

const Registration kTarget({"vocabulary", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
