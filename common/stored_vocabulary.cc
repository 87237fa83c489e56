#include "common/stored_vocabulary.h"

#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mneme {
namespace {

void AppendU32(std::string& out, size_t number) {
  const auto narrow = static_cast<uint32_t>(number);
  out.append(reinterpret_cast<const char*>(&narrow), sizeof(narrow));
}

}  // namespace

std::string EncodeVocabulary(const StoredVocabulary& vocabulary) {
  std::string stored;
  AppendU32(stored, vocabulary.texts.size());
  for (const std::string& text : vocabulary.texts) AppendU32(stored, text.size());
  for (const std::string& text : vocabulary.texts) stored += text;
  return stored + vocabulary.break_characters;
}

absl::StatusOr<StoredVocabulary> DecodeVocabulary(std::string_view stored) {
  uint32_t count = 0;
  if (stored.size() >= sizeof(count)) std::memcpy(&count, stored.data(), sizeof(count));
  if (stored.size() < sizeof(count) + uint64_t{count} * sizeof(uint32_t)) {
    return absl::InvalidArgumentError(absl::StrCat("has ", stored.size(), " bytes, too few for ", count, " tokens"));
  }
  std::vector<uint32_t> bytes(count);
  stored.remove_prefix(sizeof(count));
  if (count != 0) std::memcpy(bytes.data(), stored.data(), count * sizeof(uint32_t));
  stored.remove_prefix(count * sizeof(uint32_t));
  StoredVocabulary vocabulary;
  vocabulary.texts.reserve(count);
  for (const uint32_t length : bytes) {
    if (length > stored.size()) {
      return absl::InvalidArgumentError(absl::StrCat("ends within the text of token ", vocabulary.texts.size()));
    }
    vocabulary.texts.emplace_back(stored.substr(0, length));
    stored.remove_prefix(length);
  }
  vocabulary.break_characters = std::string(stored);
  return vocabulary;
}

}  // namespace mneme
