#include "client/cli/stored_texts.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/cli/states.h"
#include "client/cli/table.h"
#include "common/status_macros.h"

namespace mneme::cli {

absl::StatusOr<StoredVocabulary> FetchVocabulary(const std::string& memory, const std::string& name, Session& session) {
  v1::StateOperation operation = StateName{memory, kVocabularies, name}.Operation();
  operation.mutable_register_get();
  ASSIGN_OR_RETURN(const v1::StateResult result, ApplyOne(memory, operation, WriteOptions(), session));
  if (!result.found()) {
    return absl::NotFoundError(absl::StrCat("memory \"", memory, "\" has no vocabulary \"", name, "\""));
  }
  return DecodeVocabulary(result.register_().value());
}

void PrintVocabulary(const StoredVocabulary& vocabulary, Json json, Session& session) {
  const auto is_empty = [](const std::string& text) { return text.empty(); };
  const auto empty = std::count_if(vocabulary.texts.begin(), vocabulary.texts.end(), is_empty);
  const size_t with_text = vocabulary.texts.size() - static_cast<size_t>(empty);
  if (session.json()) {
    json["tokens"] = vocabulary.texts.size();
    json["with_text"] = with_text;
    json["break_characters"] = BytesJson(vocabulary.break_characters);
    session.PrintJson(json);
    return;
  }
  Table table({});
  table.Add({"tokens", HumanCount(vocabulary.texts.size())});
  table.Add({"with a text", HumanCount(with_text)});
  table.Add({"break characters", BytesText(vocabulary.break_characters)});
  session.Print(table.ToString());
}

}  // namespace mneme::cli
