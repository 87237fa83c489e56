#include "client/cli/operation_lines.h"

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "client/cli/json_text.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

// An error of a line; `what` says what it is and what it must be.
absl::Status LineError(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

// Reads one line: {"op": "put", "session": "chat42", "name": "mode", "value": "draft"}.
class OperationLine {
 public:
  OperationLine(std::string where, Json json) : where_(std::move(where)), json_(std::move(json)) {}

  absl::StatusOr<v1::StateOperation> Read() {
    v1::StateOperation operation;
    ASSIGN_OR_RETURN(*operation.mutable_session(), Text("session"));
    ASSIGN_OR_RETURN(*operation.mutable_name(), Text("name"));
    ASSIGN_OR_RETURN(const std::string op, Text("op"));
    if (op == "get") {
      operation.mutable_register_get();
    } else if (op == "remove") {
      operation.mutable_remove();
    } else if (op == "put") {
      RETURN_IF_ERROR(ReadWrite(*operation.mutable_register_put()));
    } else if (op == "cas") {
      ASSIGN_OR_RETURN(const int64_t version, Number("expected_version", kRequired));
      operation.mutable_register_cas()->set_expected_version(static_cast<uint64_t>(version));
      RETURN_IF_ERROR(ReadWrite(*operation.mutable_register_cas()));
    } else {
      return LineError(where_, absl::StrCat("\"op\" is \"", op, "\"; must be put, get, cas or remove"));
    }
    for (const auto& [field, value] : json_.items()) {
      return LineError(where_, absl::StrCat("there is no \"", field, "\" of ", op));
    }
    return operation;
  }

 private:
  enum Presence { kOptional, kRequired };

  // Takes a field out; null where it is not there.
  Json Take(const std::string& field) {
    Json value = json_.contains(field) ? json_[field] : Json(nullptr);
    json_.erase(field);
    return value;
  }
  absl::StatusOr<std::string> Text(const std::string& field) {
    const Json value = Take(field);
    if (value.is_string()) return value.get<std::string>();
    return LineError(where_, absl::StrCat("\"", field, "\" is ", value.dump(), "; must be a string"));
  }
  absl::StatusOr<int64_t> Number(const std::string& field, Presence presence) {
    const Json value = Take(field);
    if (value.is_null() && presence == kOptional) return int64_t{0};
    const bool fits = value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t{INT64_MAX};
    if (fits) return value.get<int64_t>();
    return LineError(where_, absl::StrCat("\"", field, "\" is ", value.dump(), "; must be an integer, 0 or more"));
  }
  template <typename Put>
  absl::Status ReadWrite(Put& put) {
    const absl::StatusOr<std::string> value = BytesFromJson(Take("value"));
    if (!value.ok()) return LineError(where_, absl::StrCat("\"value\": ", value.status().message()));
    put.set_value(*value);
    ASSIGN_OR_RETURN(const int64_t expiry_ms, Number("expiry_ms", kOptional));
    put.set_expiry_ms(expiry_ms);
    return absl::OkStatus();
  }

  const std::string where_;
  Json json_;
};

}  // namespace

absl::StatusOr<std::vector<v1::StateOperation>> ReadOperations(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> lines, ReadLines(path));
  std::vector<v1::StateOperation> operations;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].empty()) continue;
    const std::string where = absl::StrCat(path, " line ", i + 1);
    std::optional<Json> json = ParseJson(lines[i]);
    if (!json.has_value() || !json->is_object()) return LineError(where, "is no JSON object");
    ASSIGN_OR_RETURN(v1::StateOperation operation, OperationLine(where, *std::move(json)).Read());
    operations.push_back(std::move(operation));
  }
  return operations;
}

}  // namespace mneme::cli
