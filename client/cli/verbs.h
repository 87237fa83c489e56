// Verbs: every subcommand of `mneme`, each added to the parser by its own function.
#ifndef MNEME_CLIENT_CLI_VERBS_H_
#define MNEME_CLIENT_CLI_VERBS_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "client/cli/command.h"
#include "client/cli/session.h"

namespace mneme::cli {

// What the chosen verb does once the whole command line is known to be well formed.
using Action = std::function<absl::Status(Session&)>;

// The groups of the overview, and the one of the verbs of a verb.
inline constexpr char kMore[] = "Verbs";
inline constexpr char kMemories[] = "Memories";
inline constexpr char kEntries[] = "Entries";
inline constexpr char kQuestions[] = "Questions";
inline constexpr char kSessions[] = "Sessions";
inline constexpr char kServer[] = "Server";

// Each sets `action` when its verb is the one given. `action` outlives the parser.
void AddCreate(Command app, Action& action);
void AddInfo(Command app, Action& action);  // info, list, stats
void AddPlan(Command app, Action& action);
void AddPrune(Command app, Action& action);
void AddDrop(Command app, Action& action);
void AddAlias(Command app, Action& action);  // alias set, drop, list
void AddBuild(Command app, Action& action);  // build, probe
void AddImport(Command app, Action& action);
void AddExport(Command app, Action& action);
void AddGet(Command app, Action& action);  // get, scan
void AddDelete(Command app, Action& action);
void AddReceipt(Command app, Action& action);  // receipt show, list
void AddRemember(Command app, Action& action);
void AddQuery(Command app, Action& action);
void AddDistribution(Command app, Action& action);
void AddAttention(Command app, Action& action);
void AddCentroids(Command app, Action& action);
void AddMatch(Command app, Action& action);
void AddSelect(Command app, Action& action);
void AddState(Command app, Action& action);       // state put, get, cas, remove, apply, linear, ..
void AddSession(Command app, Action& action);     // session list, fork, export, import, reset
void AddFacts(Command app, Action& action);       // facts put, get
void AddVocabulary(Command app, Action& action);  // vocabulary put, get
void AddMask(Command app, Action& action);
void AddEvaluate(Command app, Action& action);
void AddBackup(Command app, Action& action);      // backup, backups, verify, restore
void AddCluster(Command app, Action& action);     // cluster show, add, drain, move
void AddHealth(Command app, Action& action);      // health, ping
void AddToken(Command app, Action& action);
void AddCompletion(Command app, Action& action);  // completion, version

// The program's version, as CMakeLists.txt has it.
std::string Version();

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_VERBS_H_
