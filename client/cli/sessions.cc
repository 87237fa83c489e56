// `mneme session`: whole sessions: list, fork, export, import, reset.
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "client/cli/states.h"
#include "client/cli/table.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct SessionOptions {
  std::string memory;
  std::string session;
  WriteOptions write;
  std::string to;
  bool replace = false;
  std::string file;
  int64_t expiry_ms = 0;
  std::string prefix;
  std::vector<std::string> sessions;
};

absl::Status List(const SessionOptions& options, Session& session) {
  v1::ListSessionsRequest request;
  request.set_memory(options.memory);
  request.set_prefix(options.prefix);
  bool any = false;
  const auto print_page = [&](const v1::ListSessionsResponse& page) {
    Table table(any ? std::vector<std::string>() : std::vector<std::string>({"SESSION", "STATES", "BYTES", "EXPIRY"}));
    for (const v1::SessionDescription& each : page.sessions()) {
      const Json json = {{"session", each.session()}, {"states", each.states()}, {"bytes", each.bytes()},
                         {"expiry_ms", each.expiry_ms()}};
      if (session.json()) session.Print((any ? "," : "{\"sessions\":[") + json.dump());
      table.Add({each.session(), HumanCount(each.states()), HumanBytes(each.bytes()),
                 each.expiry_ms() == 0 ? "never" : absl::StrCat(each.expiry_ms())});
      any = true;
    }
    if (!session.json() && !table.empty()) session.Print(table.ToString());
    return session.CheckReader();
  };
  RETURN_IF_ERROR(session.working().ListSessions(request, print_page));
  if (session.json()) session.Print(any ? "]}\n" : "{\"sessions\":[]}\n");
  return absl::OkStatus();
}

absl::Status Fork(const SessionOptions& options, Session& session) {
  v1::ForkSessionRequest request;
  request.set_memory(options.memory);
  request.set_session(options.session);
  request.set_to(options.to);
  request.set_replace(options.replace);
  request.set_request_id(options.write.request_id);
  request.set_durability(options.write.ToDurability());
  ASSIGN_OR_RETURN(const v1::ForkSessionResponse response, session.working().ForkSession(request));
  if (session.json()) session.PrintJson({{"forked", true}, {"replayed", response.replayed()}});
  return absl::OkStatus();
}

absl::Status Export(const SessionOptions& options, Session& session) {
  v1::GetSessionRequest request;
  request.set_memory(options.memory);
  request.set_session(options.session);
  ASSIGN_OR_RETURN(const v1::GetSessionResponse response, session.working().GetSession(request));
  RETURN_IF_ERROR(WriteBytes(options.file, response.content()));
  if (session.json()) {
    session.PrintJson({{"bytes", response.content().size()}, {"file", options.file}});
  } else {
    session.Note(absl::StrCat("exported ", HumanBytes(response.content().size()), " to ", options.file));
  }
  return absl::OkStatus();
}

absl::Status Import(const SessionOptions& options, Session& session) {
  v1::PutSessionRequest request;
  request.set_memory(options.memory);
  request.set_session(options.session);
  ASSIGN_OR_RETURN(*request.mutable_content(), ReadBytes(options.file));
  request.set_expiry_ms(options.expiry_ms);
  request.set_request_id(options.write.request_id);
  request.set_durability(options.write.ToDurability());
  ASSIGN_OR_RETURN(const v1::PutSessionResponse response, session.working().PutSession(request));
  if (session.json()) session.PrintJson({{"imported", true}, {"replayed", response.replayed()}});
  return absl::OkStatus();
}

absl::Status Reset(const SessionOptions& options, Session& session) {
  v1::ResetSessionsRequest request;
  request.set_memory(options.memory);
  for (const std::string& each : options.sessions) request.add_sessions(each);
  request.set_request_id(options.write.request_id);
  request.set_durability(options.write.ToDurability());
  ASSIGN_OR_RETURN(const v1::ResetSessionsResponse response, session.working().ResetSessions(request));
  if (session.json()) {
    session.PrintJson({{"removed", response.removed()}, {"replayed", response.replayed()}});
  } else {
    session.Print(absl::StrCat(HumanCount(response.removed()), " removed\n"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddSession(Command app, Action& action) {
  Command group = app.AddVerbGroup("session", "List, fork, move and reset whole sessions", kSessions,
                                   "  mneme session list chats --prefix chat42\n"
                                 "  mneme session fork chats chat42 chat42/beam1");
  auto options = std::make_shared<SessionOptions>();
  const auto add = [&](const std::string& name, const std::string& description, const std::string& examples,
                       absl::Status (*run)(const SessionOptions&, Session&)) {
    Command verb = group.AddVerb(name, description, kMore, examples);
    AddMemoryName(verb, options->memory);
    verb.WhenGiven([options, &action, run] {
      action = [options, run](Session& session) { return run(*options, session); };
    });
    return verb;
  };
  const auto add_session = [&](Command verb) {
    verb.AddOption("session", options->session, "The session's name").Required().Type("");
  };
  add("list", "List sessions by name", "  mneme session list chats --prefix chat42", &List)
      .AddOption("--prefix", options->prefix, "Only those that begin with it").Type("TEXT").AnyText();
  Command fork = add("fork", "Give another session of the same root the states of this one",
                     "  mneme session fork chats chat42 chat42/beam1", &Fork);
  add_session(fork);
  fork.AddOption("to", options->to, "The new one, of the same root").Required().Type("");
  fork.AddFlag("--replace", options->replace, "Reset the new one first where it is there");
  AddWriteOptions(fork, options->write);
  Command exported = add("export", "Write a whole session to a file",
                         "  mneme session export chats chat42 --out chat42.session", &Export);
  add_session(exported);
  exported.AddOption("--out", options->file, "The file to write").Required().Type("FILE");
  Command imported = add("import", "Make a session of such a file, whatever it was",
                         "  mneme session import chats chat43 --file chat42.session", &Import);
  add_session(imported);
  imported.AddOption("--file", options->file, "As export wrote it").Required().Type("FILE");
  imported
      .AddOption("--expiry", options->expiry_ms, "Unix milliseconds from which on it is as if not there; 0: never")
      .Type("MS").Range(int64_t{0}, std::numeric_limits<int64_t>::max());
  AddWriteOptions(imported, options->write);
  Command reset = add("reset", "Remove whole sessions", "  mneme session reset chats chat42 chat43", &Reset);
  reset.AddOption("sessions", options->sessions, "The sessions' names").Required().Type("")
      .Words(1, limits::kMaxResetSessions);
  AddWriteOptions(reset, options->write);
}

}  // namespace mneme::cli
