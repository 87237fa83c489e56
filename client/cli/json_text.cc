#include "client/cli/json_text.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/utf8.h"

namespace mneme::cli {

std::optional<Json> ParseJson(const std::string& text) {
  bool deep = false;
  // What it is told false of is not kept.
  const auto within = [&deep](int depth, Json::parse_event_t, const Json&) {
    deep = deep || depth > limits::kMaxJsonDepth;
    return !deep;
  };
  Json json = Json::parse(text, within, /*allow_exceptions=*/false);
  if (deep || json.is_discarded()) return std::nullopt;
  return json;
}

Json BytesJson(const std::string& bytes) {
  if (IsUtf8(bytes)) return bytes;
  return {{"base64", absl::Base64Escape(bytes)}};
}

absl::StatusOr<std::string> BytesFromJson(const Json& json) {
  if (json.is_string()) return json.get<std::string>();
  std::string bytes;
  if (json.is_object() && json.size() == 1 && json.contains("base64") && json["base64"].is_string() &&
      absl::Base64Unescape(json["base64"].get<std::string>(), &bytes)) {
    return bytes;
  }
  return absl::InvalidArgumentError(absl::StrCat(json.dump(), " is no bytes; must be a string or {\"base64\": ..}"));
}

}  // namespace mneme::cli
