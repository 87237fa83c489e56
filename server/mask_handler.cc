#include "server/mask_handler.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/stored_vocabulary.h"
#include "readout/token_mask.h"
#include "server/convert_columns.h"
#include "server/find_memory.h"

namespace mneme {
namespace {

std::string Row(int row) { return absl::StrCat("rows[", row, "]"); }

absl::Status CheckRequest(const v1::MaskTokensRequest& request) {
  if (request.vocabulary().empty()) return FieldError("vocabulary", "is empty; must name a register");
  if (request.rows_size() == 0 || static_cast<size_t>(request.rows_size()) > limits::kMaxMaskRows) {
    return FieldError("rows", absl::StrCat("has ", request.rows_size(), " items; must have 1 to ",
                                           limits::kMaxMaskRows));
  }
  for (int i = 0; i < request.rows_size(); ++i) {
    const v1::MaskRow& row = request.rows(i);
    if (row.strings_size() != 0 && !row.session().empty()) {
      return FieldError(Row(i), "has strings and a session; must have one of them");
    }
    if (static_cast<size_t>(row.strings_size()) > limits::kMaxLegalStrings) {
      return FieldError(absl::StrCat(Row(i), ".strings"), absl::StrCat("has ", row.strings_size(),
                                                                       " items; must have at most ",
                                                                       limits::kMaxLegalStrings));
    }
  }
  return absl::OkStatus();
}

// The vocabulary first, then the facts of the rows that name some.
ApplyStates ReadsOf(const v1::MaskTokensRequest& request) {
  ApplyStates reads;
  reads.commands.push_back({kVocabularies, request.vocabulary(), RegisterGet{}});
  for (const v1::MaskRow& row : request.rows()) {
    if (!row.session().empty()) reads.commands.push_back({row.session(), row.name(), RegisterGet{}});
  }
  return reads;
}

// Collects the answers of the rows.
class MaskWriter {
 public:
  MaskWriter(const v1::MaskTokensRequest& request, const TokenVocabulary& vocabulary, v1::MaskTokensResponse* out)
      : request_(request), vocabulary_(vocabulary), out_(out) {}

  absl::Status Add(std::vector<std::string> legal, bool unknown, const std::string& written) {
    if (!written.empty()) legal = LegalAfter(legal, written);
    const std::vector<Token> allowed = vocabulary_.Allowed(legal);
    dead_ends_.push_back(allowed.empty() ? 1 : 0);
    unknown_.push_back(unknown ? 1 : 0);
    if (request_.bitset()) {
      std::string bits((vocabulary_.size() + 7) / 8, '\0');
      for (const Token token : allowed) bits[token / 8] = static_cast<char>(bits[token / 8] | (1 << (token % 8)));
      out_->mutable_bitsets()->append(bits);
    } else {
      tokens_.insert(tokens_.end(), allowed.begin(), allowed.end());
      offsets_.push_back(tokens_.size());
    }
    if (!request_.with_trie()) return CheckBytes();
    ASSIGN_OR_RETURN(const TokenTrie trie, MakeTokenTrie(vocabulary_, std::move(legal),
                                                         limits::kMaxTrieTokens - trie_tokens_.size()));
    for (size_t node = 1; node < trie.offsets.size(); ++node) {
      trie_offsets_.push_back(trie_tokens_.size() + trie.offsets[node]);
    }
    trie_tokens_.insert(trie_tokens_.end(), trie.tokens.begin(), trie.tokens.end());
    trie_children_.insert(trie_children_.end(), trie.children.begin(), trie.children.end());
    trie_nodes_.push_back(trie_offsets_.size() - 1);
    return CheckBytes();
  }

  void Finish() {
    WriteColumn(dead_ends_, out_->mutable_dead_ends());
    WriteColumn(unknown_, out_->mutable_unknown());
    out_->set_vocabulary_size(static_cast<uint32_t>(vocabulary_.size()));
    if (!request_.bitset()) {
      WriteColumn(offsets_, out_->mutable_offsets());
      WriteColumn(tokens_, out_->mutable_tokens());
    }
    if (!request_.with_trie()) return;
    WriteColumn(trie_nodes_, out_->mutable_trie_nodes());
    WriteColumn(trie_offsets_, out_->mutable_trie_offsets());
    WriteColumn(trie_tokens_, out_->mutable_trie_tokens());
    WriteColumn(trie_children_, out_->mutable_trie_children());
  }

 private:
  absl::Status CheckBytes() const {
    const size_t bytes = out_->bitsets().size() + tokens_.size() * sizeof(Token) +
                         trie_tokens_.size() * 2 * sizeof(Token) + trie_offsets_.size() * sizeof(uint64_t);
    if (bytes <= limits::kMaxMessageBytes - limits::kMaxMetadataBytes) return absl::OkStatus();
    return WithReason(FieldError("rows", absl::StrCat("ask for masks of more than ", limits::kMaxMessageBytes,
                                                      " bytes; ask for fewer, or for bitsets")),
                      reason::kResponseTooLarge);
  }

  const v1::MaskTokensRequest& request_;
  const TokenVocabulary& vocabulary_;
  v1::MaskTokensResponse* const out_;
  std::vector<uint8_t> dead_ends_;
  std::vector<uint8_t> unknown_;
  std::vector<uint64_t> offsets_ = {0};
  std::vector<Token> tokens_;
  std::vector<uint64_t> trie_nodes_ = {0};
  std::vector<uint64_t> trie_offsets_ = {0};
  std::vector<Token> trie_tokens_;
  std::vector<uint32_t> trie_children_;
};

}  // namespace

absl::Status HandleMaskTokens(const CallContext& call, const v1::MaskTokensRequest& request,
                              v1::MaskTokensResponse* response) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  RETURN_IF_ERROR(CheckRequest(request));
  auto read = call.deployment.working_memory().Read(memory, ReadsOf(request), call.limits);
  if (!read.ok()) return WithMemory(read.status(), *memory);
  for (const StateAnswer& answer : read->answers) RETURN_IF_ERROR(answer.status);
  const StateAnswer& stored = read->answers[0];
  if (!stored.found) {
    return absl::NotFoundError(absl::StrCat("memory \"", memory->spec.name, "\" has no vocabulary \"",
                                            request.vocabulary(), "\": no such register in session \"", kVocabularies,
                                            "\""));
  }
  auto vocabulary = call.front_end.vocabularies().Get(memory->number, request.vocabulary(), stored.version,
                                                      stored.value);
  if (!vocabulary.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("register \"", request.vocabulary(), "\" of session \"",
                                                      kVocabularies, "\" is no vocabulary: it ",
                                                      vocabulary.status().message()));
  }
  MaskWriter writer(request, **vocabulary, response);
  size_t fact = 1;
  for (const v1::MaskRow& row : request.rows()) {
    RETURN_IF_ERROR(call.limits.Check());
    std::vector<std::string> legal(row.strings().begin(), row.strings().end());
    bool unknown = false;
    if (!row.session().empty()) {
      const StateAnswer& facts = read->answers[fact++];
      unknown = !facts.found;
      if (facts.found) legal = absl::StrSplit(facts.value, '\n', absl::SkipEmpty());
    }
    RETURN_IF_ERROR(writer.Add(std::move(legal), unknown, row.written()));
  }
  writer.Finish();
  return absl::OkStatus();
}

}  // namespace mneme
