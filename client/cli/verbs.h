// Verbs: every subcommand of `mneme`, each added to the parser by its own function.
#ifndef MNEME_CLIENT_CLI_VERBS_H_
#define MNEME_CLIENT_CLI_VERBS_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/session.h"

namespace mneme::cli {

// What the chosen verb does once the whole command line is known to be well formed.
using Action = std::function<absl::Status(Session&)>;

// A verb in `group` of the overview; `examples` is what its --help ends with.
CLI::App* AddVerb(CLI::App& app, const std::string& name, const std::string& description, const std::string& group,
                  const std::string& examples);

// A verb that is only the first word of others, which AddVerb adds to it in the group kMore: `state` of `state put`.
CLI::App* AddVerbGroup(CLI::App& app, const std::string& name, const std::string& description, const std::string& group,
                       const std::string& examples);
// The verbs of `app`, and the words by which one is called: "state put".
std::vector<const CLI::App*> VerbsOf(const CLI::App& app);
std::string VerbPath(const CLI::App& verb);

inline constexpr char kMore[] = "Verbs";
inline constexpr char kMemories[] = "Memories";
inline constexpr char kEntries[] = "Entries";
inline constexpr char kQuestions[] = "Questions";
inline constexpr char kSessions[] = "Sessions";
inline constexpr char kServer[] = "Server";

// Each sets `action` when its verb is the one given. `action` outlives the parser.
void AddCreate(CLI::App& app, Action& action);
void AddInfo(CLI::App& app, Action& action);  // info, list, stats
void AddPlan(CLI::App& app, Action& action);
void AddPrune(CLI::App& app, Action& action);
void AddDrop(CLI::App& app, Action& action);
void AddAlias(CLI::App& app, Action& action);  // alias set, drop, list
void AddBuild(CLI::App& app, Action& action);  // build, probe
void AddImport(CLI::App& app, Action& action);
void AddExport(CLI::App& app, Action& action);
void AddGet(CLI::App& app, Action& action);  // get, scan
void AddDelete(CLI::App& app, Action& action);
void AddRemember(CLI::App& app, Action& action);
void AddQuery(CLI::App& app, Action& action);
void AddDistribution(CLI::App& app, Action& action);
void AddAttention(CLI::App& app, Action& action);
void AddCentroids(CLI::App& app, Action& action);
void AddMatch(CLI::App& app, Action& action);
void AddSelect(CLI::App& app, Action& action);
void AddState(CLI::App& app, Action& action);       // state put, get, cas, remove, apply, linear, ..
void AddSession(CLI::App& app, Action& action);     // session list, fork, export, import, reset
void AddFacts(CLI::App& app, Action& action);       // facts put, get
void AddVocabulary(CLI::App& app, Action& action);  // vocabulary put, get
void AddMask(CLI::App& app, Action& action);
void AddEvaluate(CLI::App& app, Action& action);
void AddHealth(CLI::App& app, Action& action);      // health, ping
void AddCompletion(CLI::App& app, Action& action);  // completion, version

// The program's version, as CMakeLists.txt has it.
std::string Version();

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_VERBS_H_
