// `mneme state apply`: many operations on registers from a file of JSON lines, in order.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "client/cli/progress.h"
#include "client/cli/states.h"
#include "client/cli/table.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct ApplyOptions {
  std::string memory;
  std::string file;
  uint32_t batch = limits::kMaxStateOperations;
  int64_t session_expiry_ms = 0;
  std::string durability = "sync";
};

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

absl::StatusOr<std::vector<v1::StateOperation>> ReadOperations(const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> lines, ReadLines(path));
  std::vector<v1::StateOperation> operations;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].empty()) continue;
    const std::string where = absl::StrCat(path, " line ", i + 1);
    Json json = Json::parse(lines[i], nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) return LineError(where, "is no JSON object");
    ASSIGN_OR_RETURN(v1::StateOperation operation, OperationLine(where, std::move(json)).Read());
    operations.push_back(std::move(operation));
  }
  return operations;
}

Json OperationJson(const v1::StateResult& result) {
  if (result.has_error()) {
    const absl::Status status = ResultStatus(result);
    return {{"error", {{"code", absl::StatusCodeToString(status.code())}, {"reason", result.error().reason()},
                       {"message", result.error().message()}}}};
  }
  Json json = ResultJson(result);
  if (result.has_register_()) json["value"] = BytesJson(result.register_().value());
  return json;
}

std::string ResultsText(const v1::ApplyRequest& request, const v1::ApplyResponse& response) {
  Table table({"SESSION", "NAME", "VERSION", "VALUE"});
  for (int i = 0; i < response.results_size(); ++i) {
    const v1::StateResult& result = response.results(i);
    table.Add({request.operations(i).session(), request.operations(i).name(), absl::StrCat(result.version()),
               result.has_error() ? "error: " + result.error().message() : BytesText(result.register_().value())});
  }
  return table.ToString();
}

// Operations from `first` on for one call: at most `batch`, and no more bytes than travel well.
v1::ApplyRequest NextBatch(const std::vector<v1::StateOperation>& operations, size_t first,
                           const ApplyOptions& options) {
  v1::ApplyRequest request;
  request.set_memory(options.memory);
  request.set_session_expiry_ms(options.session_expiry_ms);
  request.set_durability(WriteOptions{options.durability, ""}.ToDurability());
  size_t bytes = 0;
  for (size_t i = first; i < operations.size() && i - first < options.batch; ++i) {
    bytes += operations[i].ByteSizeLong();
    if (i > first && bytes > limits::kMaxMessageBytes / 2) break;
    *request.add_operations() = operations[i];
  }
  return request;
}

absl::Status Apply(const ApplyOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const std::vector<v1::StateOperation> operations, ReadOperations(options.file));
  Progress progress(session.live(), "apply " + options.memory, "operations", operations.size());
  absl::Status refused;
  for (size_t done = 0; done < operations.size();) {
    const v1::ApplyRequest request = NextBatch(operations, done, options);
    ASSIGN_OR_RETURN(const v1::ApplyResponse response, session.working().Apply(request));
    for (const v1::StateResult& result : response.results()) {
      if (session.json()) session.Print((done == 0 && &result == &response.results(0) ? "{\"results\":[" : ",") +
                                        OperationJson(result).dump());
      if (refused.ok()) refused = ResultStatus(result);
    }
    if (!session.json()) session.Print(ResultsText(request, response));
    done += static_cast<size_t>(request.operations_size());
    progress.Set(done);
    RETURN_IF_ERROR(session.CheckReader());
  }
  if (session.json()) session.Print(operations.empty() ? "{\"results\":[]}\n" : "]}\n");
  return refused;
}

}  // namespace

void AddApplyVerb(Command state, Action& action) {
  Command verb = state.AddVerb("apply", "Apply many operations on registers, in order", kMore,
                               "  mneme state apply chats --file operations.jsonl -o json\n\n"
                               "Lines, with op put, get, cas or remove:\n"
                               R"(  {"op": "put", "session": "chat42", "name": "mode", "value": "draft"})");
  auto options = std::make_shared<ApplyOptions>();
  AddMemoryName(verb, options->memory);
  verb.AddOption("--file", options->file, "Operations, one JSON object a line").Required().Type("FILE.jsonl");
  verb.AddOption("--batch", options->batch, "Operations of one call: those of a session are all applied or none")
      .Type("N").ShowDefault().Range(size_t{1}, limits::kMaxStateOperations);
  verb.AddOption("--session-expiry", options->session_expiry_ms,
                   "Unix milliseconds from which on the sessions written to are as if not there")
      .Type("MS").NonNegative();
  verb.AddOption("--durability", options->durability, "sync (default) or written").Type("LEVEL")
      .OneOf({"sync", "written"});
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Apply(*options, session); };
  });
}

}  // namespace mneme::cli
