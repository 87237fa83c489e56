// Files of text and JSON that the command line reads: operations on registers, vocabularies, facts.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "client/cli/json_text.h"
#include "client/cli/operation_lines.h"
#include "client/cli/vocabulary_file.h"
#include "client/token_texts.h"
#include "common/utf8.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

enum Kind : uint8_t { kOperations, kJson, kByteLevel, kTexts, kFacts, kKinds };

// Of an id: a list has as many texts as its greatest id says, which may be millions.
constexpr int kMostDigits = 4;

bool Operations(std::string_view text) {
  const std::string path = FileOf(text);
  const auto operations = cli::ReadOperations(path);
  if (!operations.ok()) {
    ExpectRefusal(operations.status(), {StatusCode::kInvalidArgument}, {path + " line "});
    return false;
  }
  for (const v1::StateOperation& operation : *operations) {
    Expect(operation.action_case() != v1::StateOperation::ACTION_NOT_SET, "an operation does something");
    Expect(IsUtf8(operation.session()) && IsUtf8(operation.name()), "names are text");
    if (operation.has_register_put()) {
      const std::string& value = operation.register_put().value();
      const auto again = cli::BytesFromJson(cli::BytesJson(value));
      Expect(again.ok() && *again == value, "bytes are shown so that they read the same");
    }
  }
  return true;
}

bool HasGreatNumbers(std::string_view text) {
  int digits = 0;
  for (const char c : text) {
    digits = absl::ascii_isdigit(static_cast<unsigned char>(c)) ? digits + 1 : 0;
    if (digits > kMostDigits) return true;
  }
  return false;
}

// The first line says which tokens are special.
bool Vocabulary(Input in, Kind kind) {
  const std::string_view rest = in.Rest();
  const std::string special(rest.substr(0, rest.find('\n')));
  const std::string_view text = rest.substr(std::min(rest.size(), special.size() + 1));
  if (HasGreatNumbers(text)) return false;
  cli::VocabularyFiles files;
  (kind == kTexts ? files.texts : files.json) = FileOf(text);
  files.byte_level = kind == kByteLevel;
  if (!special.empty()) files.special = {special};
  const auto vocabulary = cli::ReadVocabulary(files);
  if (!vocabulary.ok()) {
    ExpectRefusal(vocabulary.status(), {StatusCode::kInvalidArgument}, {files.json + ": ", "--special is "});
    return false;
  }
  Expect(IsUtf8(vocabulary->break_characters), "break characters are text");
  const auto again = DecodeVocabulary(EncodeVocabulary(*vocabulary));
  Expect(again.ok() && again->texts == vocabulary->texts, "a vocabulary is stored so that it reads the same");
  for (const std::string& each : vocabulary->texts) {
    Expect(kind == kTexts || IsUtf8(each), "a token of JSON is text");
  }
  return true;
}

bool Facts(std::string_view stored) {
  const std::vector<std::string> facts = DecodeFacts(stored);
  const auto encoded = EncodeFacts(facts);
  Expect(encoded.ok() && DecodeFacts(*encoded) == facts, "facts are stored so that they read the same");
  const std::string one(stored);
  const auto refused = EncodeFacts({one});
  if (!refused.ok()) ExpectRefusal(refused.status(), {StatusCode::kInvalidArgument}, {"a legal string may not"});
  return !facts.empty();
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  switch (kind) {
    case kOperations: return Operations(in.Rest());
    case kFacts: return Facts(in.Rest());
    default: return Vocabulary(in, static_cast<Kind>(kind));
  }
}

std::vector<std::string> Seeds() {
  const auto seed = [](Kind kind, const std::string& text) { return std::string(1, static_cast<char>(kind)) + text; };
  return {seed(kOperations,
               R"({"op": "put", "session": "chat42", "name": "mode", "value": "draft", "expiry_ms": 1717000000123})"
               "\n\n"
               R"({"op": "cas", "session": "c", "name": "m", "expected_version": 3, "value": {"base64": "AP8="}})"
               "\n"
               R"({"op":"get","session":"c","name":"m"})"
               "\n"
               R"({"op":"remove","session":"c","name":"m"})"),
          seed(kJson, "0-1\n{\"a\": 0, \"b\\u00e9\": 2, \"(\": 7}"),
          seed(kJson, "\n[\"a\", \"\", \"\\ud83d\\ude00\"]"),
          seed(kByteLevel, "7\n{\"\\u0120na\": 0, \"me\": 1, \"\\u00e9\": 2, \"\\u00c3\\u00a9\": 3, \"<s>\": 7}"),
          seed(kTexts, "\na\nb\n\xc3\xa9\n.;"),
          seed(kFacts, "name\n\nname.first\n")};
}

const Registration kTarget({"cli_file", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
