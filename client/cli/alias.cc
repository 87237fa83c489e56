// `mneme alias set`, `mneme alias drop` and `mneme alias list`.
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "client/cli/describe.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

absl::Status Set(const v1::SetAliasRequest& request, Session& session) {
  ASSIGN_OR_RETURN(const v1::SetAliasResponse set, session.admin().SetAlias(request));
  const std::string& before = set.previous_memory();
  if (session.json()) {
    session.PrintJson({{"alias", set.alias().alias()},
                       {"memory", set.alias().memory()},
                       {"previous_memory", before.empty() ? Json(nullptr) : Json(before)}});
  } else {
    session.Note(absl::StrCat("alias \"", set.alias().alias(), "\" points to memory \"", set.alias().memory(), "\"",
                              before.empty() ? "" : absl::StrCat(", before to \"", before, "\"")));
  }
  return absl::OkStatus();
}

absl::Status Drop(const std::string& alias, Session& session) {
  RETURN_IF_ERROR(session.admin().DropAlias(alias));
  if (session.json()) {
    session.PrintJson({{"dropped", true}});
  } else {
    session.Note(absl::StrCat("dropped alias \"", alias, "\"; its memory is there"));
  }
  return absl::OkStatus();
}

absl::Status List(Session& session) {
  ASSIGN_OR_RETURN(const std::vector<v1::Alias> aliases, session.admin().ListAliases());
  if (session.json()) {
    Json all = Json::array();
    for (const v1::Alias& alias : aliases) all.push_back({{"alias", alias.alias()}, {"memory", alias.memory()}});
    session.PrintJson({{"aliases", all}});
    return absl::OkStatus();
  }
  Table table({"ALIAS", "MEMORY"});
  for (const v1::Alias& alias : aliases) table.Add({alias.alias(), alias.memory()});
  if (table.empty()) {
    session.Note("no aliases yet; see: mneme alias set --help");
  } else {
    session.Print(table.ToString());
  }
  return absl::OkStatus();
}

}  // namespace

void AddAlias(Command app, Action& action) {
  Command group = app.AddVerbGroup("alias", "Name memories by what points to them: set, drop, list", kMemories,
                                   "  mneme alias set live wiki-2\n  mneme alias list");
  auto request = std::make_shared<v1::SetAliasRequest>();
  auto alias = std::make_shared<std::string>();
  auto memory = std::make_shared<std::string>();
  auto expected = std::make_shared<std::optional<std::string>>();
  Command set = group.AddVerb("set", "Point an alias to a memory: make it, or swing it at one moment", kMore,
                              "  mneme alias set live wiki-2\n  mneme alias set live wiki-2 --expected wiki-1");
  set.AddOption("alias", *alias, "The alias").Required().Type("");
  set.AddOption("memory", *memory, "The memory's name").Required().Type("");
  set.AddOption("--expected", *expected, "Only if it points to this memory before; \"\": if it is new")
      .Type("MEMORY").AnyText();
  set.WhenGiven([=, &action] {
    request->set_alias(*alias);
    request->set_memory(*memory);
    if (expected->has_value()) request->set_expected_memory(**expected);
    action = [request](Session& session) { return Set(*request, session); };
  });
  Command drop = group.AddVerb("drop", "Drop an alias; the memory stays", kMore, "  mneme alias drop live");
  drop.AddOption("alias", *alias, "The alias").Required().Type("");
  drop.WhenGiven([alias, &action] { action = [alias](Session& session) { return Drop(*alias, session); }; });
  Command list = group.AddVerb("list", "List the aliases", kMore, "  mneme alias list -o json");
  list.WhenGiven([&action] { action = [](Session& session) { return List(session); }; });
}

}  // namespace mneme::cli
