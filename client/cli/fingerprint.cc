#include "client/cli/fingerprint.h"

#include <cstdint>

#include "absl/strings/numbers.h"
#include "client/cli/exit_code.h"
#include "common/option_text.h"

namespace mneme::cli {
namespace {

constexpr char kBound[] =
    "NAME=VALUE of model, revision, layer, tokenizer_hash, vocabulary_size (a number) or normalization";

}  // namespace

void AddFingerprintOption(Command verb, std::vector<std::string>& parts, const std::string& description) {
  verb.AddOption("--fingerprint", parts, description).Commas().Type("K=V,..")
      .Check([](const std::string& part) { return ParseFingerprint({part}).ok(); }, kBound);
}

absl::StatusOr<v1::Fingerprint> ParseFingerprint(const std::vector<std::string>& parts) {
  v1::Fingerprint fingerprint;
  for (const std::string& part : parts) {
    const size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    const std::string text = equals == std::string::npos ? "" : part.substr(equals + 1);
    uint32_t vocabulary_size = 0;
    if (text.empty()) return UsageError(NotTaken("--fingerprint", part, kBound));
    if (name == "model") {
      fingerprint.set_model(text);
    } else if (name == "revision") {
      fingerprint.set_revision(text);
    } else if (name == "layer") {
      fingerprint.set_layer(text);
    } else if (name == "tokenizer_hash") {
      fingerprint.set_tokenizer_hash(text);
    } else if (name == "normalization" || name == "normalisation") {
      fingerprint.set_normalization(text);
    } else if (name == "vocabulary_size" && absl::SimpleAtoi(text, &vocabulary_size)) {
      fingerprint.set_vocabulary_size(vocabulary_size);
    } else {
      return UsageError(NotTaken("--fingerprint", part, kBound));
    }
  }
  return fingerprint;
}

}  // namespace mneme::cli
