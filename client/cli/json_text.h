// JsonText: JSON as files hold it, and bytes as JSON holds them.
#ifndef MNEME_CLIENT_CLI_JSON_TEXT_H_
#define MNEME_CLIENT_CLI_JSON_TEXT_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace mneme::cli {

using Json = nlohmann::ordered_json;

// nullopt when `text` is no JSON, or is nested deeper than limits::kMaxJsonDepth.
std::optional<Json> ParseJson(const std::string& text);

// Bytes as a string, or {"base64": ..} where they are no UTF-8; and back. FromJson returns INVALID_ARGUMENT for another
// form.
Json BytesJson(const std::string& bytes);
absl::StatusOr<std::string> BytesFromJson(const Json& json);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_JSON_TEXT_H_
