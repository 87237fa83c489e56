// `mneme state put`, `get`, `cas` and `remove`: registers, which hold bytes.
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "client/cli/exit_code.h"
#include "client/cli/states.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct RegisterOptions {
  StateName state;
  WriteOptions write;
  std::optional<std::string> value;
  std::string file;  // instead of value
  int64_t expiry_ms = 0;
  uint64_t expected_version = 0;
  std::string out;  // a file; empty: stdout
};

absl::StatusOr<std::string> ValueOf(const RegisterOptions& options, const std::string& verb) {
  if (options.value.has_value() == !options.file.empty()) {
    return UsageError(absl::StrCat("state ", verb, " needs one of --value and --file"));
  }
  return options.value.has_value() ? absl::StatusOr<std::string>(*options.value) : ReadBytes(options.file);
}

absl::Status Write(const RegisterOptions& options, const v1::StateOperation& operation, Session& session) {
  ASSIGN_OR_RETURN(const v1::StateResult result,
                   ApplyOne(options.state.memory, operation, options.write, session));
  if (session.json()) {
    session.PrintJson(ResultJson(result));
  } else if (operation.has_remove()) {
    session.Print(result.found() ? "removed\n" : "there was none\n");
  } else {
    session.Print(absl::StrCat("version ", result.version(), "\n"));
  }
  return absl::OkStatus();
}

absl::Status Put(const RegisterOptions& options, Session& session) {
  v1::StateOperation operation = options.state.Operation();
  ASSIGN_OR_RETURN(*operation.mutable_register_put()->mutable_value(), ValueOf(options, "put"));
  operation.mutable_register_put()->set_expiry_ms(options.expiry_ms);
  return Write(options, operation, session);
}

absl::Status Cas(const RegisterOptions& options, Session& session) {
  v1::StateOperation operation = options.state.Operation();
  ASSIGN_OR_RETURN(*operation.mutable_register_cas()->mutable_value(), ValueOf(options, "cas"));
  operation.mutable_register_cas()->set_expected_version(options.expected_version);
  operation.mutable_register_cas()->set_expiry_ms(options.expiry_ms);
  return Write(options, operation, session);
}

absl::Status Remove(const RegisterOptions& options, Session& session) {
  v1::StateOperation operation = options.state.Operation();
  operation.mutable_remove();
  return Write(options, operation, session);
}

absl::Status Get(const RegisterOptions& options, Session& session) {
  v1::StateOperation operation = options.state.Operation();
  operation.mutable_register_get();
  ASSIGN_OR_RETURN(const v1::StateResult result,
                   ApplyOne(options.state.memory, operation, options.write, session));
  const std::string& value = result.register_().value();
  if (!options.out.empty() && result.found()) RETURN_IF_ERROR(WriteBytes(options.out, value));
  if (session.json()) {
    Json json = ResultJson(result);
    json["bytes"] = value.size();
    if (options.out.empty()) json["value"] = result.found() ? BytesJson(value) : Json(nullptr);
    json["expiry_ms"] = result.register_().expiry_ms();
    session.PrintJson(json);
  } else if (!result.found()) {
    session.Note("there is no such state");
  } else if (options.out.empty()) {
    session.Print(value + "\n");
  }
  return absl::OkStatus();
}

void AddValueOptions(Command verb, RegisterOptions& options) {
  verb.AddOption("--value", options.value, "Text to write").Type("TEXT").AnyText();
  verb.AddOption("--file", options.file, "A file whose bytes to write").Type("FILE");
  verb.AddOption("--expiry", options.expiry_ms, "Unix milliseconds from which on it is as if not there; 0: never")
      .Type("MS").Range(int64_t{0}, std::numeric_limits<int64_t>::max());
  AddWriteOptions(verb, options.write);
}

}  // namespace

void AddRegisterVerbs(Command state, Action& action) {
  auto options = std::make_shared<RegisterOptions>();
  const auto add = [&](const std::string& name, const std::string& description, const std::string& examples,
                       absl::Status (*run)(const RegisterOptions&, Session&)) {
    Command verb = state.AddVerb(name, description, kMore, examples);
    AddStateName(verb, options->state);
    verb.WhenGiven([options, &action, run] {
      action = [options, run](Session& session) { return run(*options, session); };
    });
    return verb;
  };
  AddValueOptions(add("put", "Write a register", "  mneme state put chats chat42 mode --value draft", &Put), *options);
  add("get", "Read a register",
      "  mneme state get chats chat42 mode\n  mneme state get chats chat42 page --out page.bin", &Get)
      .AddOption("--out", options->out, "Where the bytes go, as they are; else stdout").Type("FILE");
  Command cas = add("cas", "Write a register if its version is still the expected one",
                    "  mneme state cas chats chat42 mode --expected-version 1 --value final", &Cas);
  cas.AddOption("--expected-version", options->expected_version, "0: there is none yet").Required().Type("N");
  AddValueOptions(cas, *options);
  AddWriteOptions(add("remove", "Remove a state of any kind", "  mneme state remove chats chat42 mode", &Remove),
                  options->write);
}

}  // namespace mneme::cli
