// `mneme drop`.
#include <unistd.h>

#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

// Asks on the terminal; the answer is the memory's name, which nobody types by accident.
absl::Status Confirm(const std::string& name, uint64_t entries) {
  if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1) {
    return UsageError(absl::StrCat("drop ", name, " needs --yes where there is no terminal to ask on"));
  }
  std::cerr << "Drop memory \"" << name << "\" with " << HumanCount(entries)
            << " entries? This cannot be undone. Type its name: " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer == name ? absl::OkStatus() : absl::CancelledError("not dropped");
}

absl::Status Drop(const std::string& name, bool yes, Session& session) {
  if (!yes) {
    ASSIGN_OR_RETURN(const v1::GetStatisticsResponse statistics, session.admin().GetStatistics(name));
    RETURN_IF_ERROR(Confirm(name, statistics.entries()));
  }
  RETURN_IF_ERROR(session.admin().DropMemory(name));
  if (session.json()) {
    session.Print("{\"dropped\":true}\n");
  } else {
    session.Note(absl::StrCat("dropped memory \"", name, "\""));
  }
  return absl::OkStatus();
}

}  // namespace

void AddDrop(Command app, Action& action) {
  Command verb = app.AddVerb("drop", "Drop a memory and all its entries", kMemories, "  mneme drop wiki --yes");
  auto name = std::make_shared<std::string>();
  auto yes = std::make_shared<bool>(false);
  verb.AddOption("memory", *name, "The memory's name").Required().Type("");
  verb.AddFlag("--yes,-y", *yes, "Do not ask");
  verb.WhenGiven([name, yes, &action] {
    action = [name, yes](Session& session) { return Drop(*name, *yes, session); };
  });
}

}  // namespace mneme::cli
