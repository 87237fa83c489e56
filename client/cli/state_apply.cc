// `mneme state apply`: many operations on registers from a file of JSON lines, in order.
#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/operation_lines.h"
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
      .Type("MS").Range(int64_t{0}, std::numeric_limits<int64_t>::max());
  verb.AddOption("--durability", options->durability, "sync (default) or written").Type("LEVEL")
      .OneOf({"sync", "written"});
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Apply(*options, session); };
  });
}

}  // namespace mneme::cli
