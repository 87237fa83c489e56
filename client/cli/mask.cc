// `mneme mask`: which tokens may come next so that the text goes on as a legal string (monitor-guided decoding).
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "client/cli/columns.h"
#include "client/cli/exit_code.h"
#include "client/cli/states.h"
#include "client/cli/stored_texts.h"
#include "client/cli/table.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct MaskOptions {
  std::string memory;
  std::string vocabulary;
  std::vector<std::string> strings;
  std::string strings_file;
  std::vector<std::string> facts;    // none, or session and name
  std::vector<std::string> written;  // a row for each; none: one row, nothing written
  std::string bitset;                // a file
  bool trie = false;
  bool texts = false;
};

absl::StatusOr<v1::MaskTokensRequest> MaskRequest(const MaskOptions& options) {
  std::vector<std::string> strings = options.strings;
  if (!options.strings_file.empty()) {
    ASSIGN_OR_RETURN(const std::vector<std::string> lines, ReadLines(options.strings_file));
    strings.insert(strings.end(), lines.begin(), lines.end());
  }
  if (strings.empty() == options.facts.empty()) {
    return UsageError("mask needs legal strings: --string and --strings, or --facts SESSION NAME");
  }
  v1::MaskTokensRequest request;
  request.set_memory(options.memory);
  request.set_vocabulary(options.vocabulary);
  for (size_t row = 0; row < std::max<size_t>(1, options.written.size()); ++row) {
    v1::MaskRow& each = *request.add_rows();
    for (const std::string& string : strings) each.add_strings(string);
    if (!options.facts.empty()) {
      each.set_session(options.facts.front());
      each.set_name(options.facts.back());
    }
    if (!options.written.empty()) each.set_written(options.written[row]);
  }
  request.set_bitset(!options.bitset.empty());
  request.set_with_trie(options.trie);
  return request;
}

// The nodes of row `row`, offsets counted from its first token; null where the constraint ends.
Json TrieJson(const v1::MaskTokensResponse& response, size_t row) {
  Json offsets = Json::array();
  Json tokens = Json::array();
  Json children = Json::array();
  const auto first_node = ColumnItem<uint64_t>(response.trie_nodes(), row);
  const auto last_node = ColumnItem<uint64_t>(response.trie_nodes(), row + 1);
  const auto first = ColumnItem<uint64_t>(response.trie_offsets(), first_node);
  const auto last = ColumnItem<uint64_t>(response.trie_offsets(), last_node);
  for (auto node = first_node; node <= last_node; ++node) {
    offsets.push_back(ColumnItem<uint64_t>(response.trie_offsets(), node) - first);
  }
  for (auto i = first; i < last; ++i) {
    const auto child = ColumnItem<uint32_t>(response.trie_children(), i);
    tokens.push_back(ColumnItem<uint32_t>(response.trie_tokens(), i));
    children.push_back(child == UINT32_MAX ? Json(nullptr) : Json(child));
  }
  return {{"offsets", std::move(offsets)}, {"tokens", std::move(tokens)}, {"children", std::move(children)}};
}

// The allowed tokens of a row, from the list or from the bits.
std::vector<uint32_t> AllowedTokens(const v1::MaskTokensResponse& response, size_t row) {
  std::vector<uint32_t> tokens;
  if (response.bitsets().empty()) {
    const auto last = ColumnItem<uint64_t>(response.offsets(), row + 1);
    for (auto i = ColumnItem<uint64_t>(response.offsets(), row); i < last; ++i) {
      tokens.push_back(ColumnItem<uint32_t>(response.tokens(), i));
    }
    return tokens;
  }
  const size_t row_bytes = (response.vocabulary_size() + 7) / 8;
  for (uint32_t token = 0; token < response.vocabulary_size(); ++token) {
    const auto byte = ColumnItem<uint8_t>(response.bitsets(), row * row_bytes + token / 8);
    if ((byte >> (token % 8) & 1) != 0) tokens.push_back(token);
  }
  return tokens;
}

// Texts of `tokens`, as JSON.
Json TextsJson(const std::vector<uint32_t>& tokens, const StoredVocabulary& vocabulary) {
  Json texts = Json::array();
  for (const uint32_t token : tokens) {
    texts.push_back(token < vocabulary.texts.size() ? BytesJson(vocabulary.texts[token]) : Json(nullptr));
  }
  return texts;
}

std::string RowText(const std::vector<uint32_t>& tokens, bool unknown, const StoredVocabulary& vocabulary) {
  constexpr size_t kShown = 40;
  std::string text = absl::StrCat(HumanCount(tokens.size()), tokens.size() == 1 ? " token" : " tokens");
  if (unknown) text += " (there are no such facts)";
  for (size_t i = 0; i < std::min(tokens.size(), kShown); ++i) {
    const bool known = tokens[i] < vocabulary.texts.size();
    absl::StrAppend(&text, i == 0 ? ": " : " ",
                    known ? BytesText(vocabulary.texts[tokens[i]]) : absl::StrCat(tokens[i]));
  }
  return text + (tokens.size() > kShown ? " ..\n" : "\n");
}

absl::Status Mask(const MaskOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const v1::MaskTokensRequest request, MaskRequest(options));
  ASSIGN_OR_RETURN(const v1::MaskTokensResponse response, session.working().MaskTokens(request));
  StoredVocabulary vocabulary;
  if (options.texts || !session.json()) {
    ASSIGN_OR_RETURN(vocabulary, FetchVocabulary(options.memory, options.vocabulary, session));
  }
  if (!options.bitset.empty()) {
    const uint64_t row_bytes = (response.vocabulary_size() + 7) / 8;
    RETURN_IF_ERROR(WriteArray(options.bitset, NpyDtype::kU8, row_bytes, response.bitsets()));
  }
  Json rows = Json::array();
  for (int row = 0; row < request.rows_size(); ++row) {
    const auto i = static_cast<size_t>(row);
    const std::vector<uint32_t> tokens = AllowedTokens(response, i);
    const std::string& written = request.rows(row).written();
    const bool unknown = ColumnItem<uint8_t>(response.unknown(), i) != 0;
    if (!session.json()) {
      session.Print(absl::StrCat("after \"", BytesText(written), "\": ", RowText(tokens, unknown, vocabulary)));
      continue;
    }
    Json each = {{"written", BytesJson(written)}, {"tokens", tokens},
                 {"dead_end", ColumnItem<uint8_t>(response.dead_ends(), i) != 0}, {"unknown", unknown}};
    if (options.texts) each["texts"] = TextsJson(tokens, vocabulary);
    if (options.trie) each["trie"] = TrieJson(response, i);
    rows.push_back(std::move(each));
  }
  if (session.json()) session.PrintJson({{"vocabulary_size", response.vocabulary_size()}, {"rows", std::move(rows)}});
  return absl::OkStatus();
}

}  // namespace

void AddMask(Command app, Action& action) {
  Command verb = app.AddVerb("mask", "Tell which tokens may come next in a legal string", kSessions,
                             "  mneme mask code --vocabulary gpt2 --facts repo/File.java builder. --written with\n"
                             "  mneme mask code --vocabulary gpt2 --string build --string toString --trie -o json");
  auto options = std::make_shared<MaskOptions>();
  AddMemoryName(verb, options->memory);
  verb.AddOption("--vocabulary", options->vocabulary, "As vocabulary put named it").Required().Type("NAME");
  verb.AddOption("--string", options->strings, "A legal string (repeatable)").Type("TEXT").AnyText();
  verb.AddOption("--strings", options->strings_file, "Legal strings, one a line").Type("FILE.txt");
  verb.AddOption("--facts", options->facts, "Those that facts put wrote").Words(2, 2).Type("SESSION NAME");
  verb.AddOption("--written", options->written, "What is written of them so far; a row for each (repeatable)")
      .Type("TEXT").AnyText();
  verb.AddOption("--bitset", options->bitset, "Where bits go: u8 [rows x ceil(tokens / 8)], bit t % 8 of byte t / 8")
      .Type("FILE.npy");
  verb.AddFlag("--trie", options->trie, "Also every way on (JSON): tokens of each node, and the node each leads to");
  verb.AddFlag("--texts", options->texts, "Also the texts of the tokens (JSON)");
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Mask(*options, session); };
  });
}

}  // namespace mneme::cli
