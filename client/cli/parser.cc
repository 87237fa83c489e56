#include "client/cli/parser.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "common/option_text.h"

namespace mneme::cli {
namespace {

// To read of what CLI11 shows as constant.
Command CommandOf(const CLI::App& app) { return Command(const_cast<CLI::App&>(app)); }

// The help of one verb: no "SUBCOMMAND", options in a column narrow enough for 100 characters a line.
class HelpFormatter final : public CLI::Formatter {
 public:
  HelpFormatter() {
    column_width(28);
    label("REQUIRED", "(required)");
    label("TEXT", "");
  }
  // Needs, Excludes and environment names are told by the errors and the overview; here they would take a line each.
  std::string make_option_opts(const CLI::Option* option) const override {
    std::string text = option->get_type_name().empty() ? "" : " " + option->get_type_name();
    if (!option->get_default_str().empty()) text += " (" + option->get_default_str() + ")";
    if (option->get_required() && !option->get_positional()) text += " *";
    return text;
  }
  std::string make_usage(const CLI::App* app, std::string) const override {
    if (app->get_parent() == nullptr) return "Usage: mneme [options] VERB ..   (mneme VERB --help for each)\n";
    const std::string path = CommandOf(*app).Path();
    if (!CommandOf(*app).Verbs().empty()) {
      return absl::StrCat("Usage: mneme ", path, " VERB ..   (mneme ", path, " VERB --help for each)\n");
    }
    std::string usage = "Usage: mneme " + path;
    for (const CLI::Option* option : app->get_options([](const CLI::Option* o) { return o->get_positional(); })) {
      std::string word = option->get_single_name();
      std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::toupper(c); });
      usage += option->get_required() ? " " + word : " [" + word + "]";
    }
    return usage + " [options]   (* required)\n";
  }
  // What a positional is, the usage line has said; blank lines between groups are one, not two.
  std::string make_positionals(const CLI::App*) const override { return ""; }
  std::string make_group(std::string group, bool positional, std::vector<const CLI::Option*> options) const override {
    std::string text = CLI::Formatter::make_group(std::move(group), positional, std::move(options));
    return text.empty() ? text : "\n" + text.substr(text.find_first_not_of('\n'));
  }
  // The hidden options of the program are a group, too, and have left the blank line that comes before its verbs.
  std::string make_subcommands(const CLI::App* app, CLI::AppFormatMode mode) const override {
    const std::string text = CLI::Formatter::make_subcommands(app, mode);
    return app->get_parent() == nullptr && !text.empty() ? text.substr(1) : text;
  }
  std::string make_footer(const CLI::App* app) const override {
    return app->get_footer().empty() ? "" : "Examples:\n" + app->get_footer() + "\n";
  }
};

constexpr char kOverviewExamples[] =
    "  mneme create wiki --dim 1024 --metric l2 --value token --vocab-size 50257\n"
    "  mneme import wiki --keys keys.npy --values values.npy\n"
    "  mneme query wiki --keys q.npy -k 10 -o json\n\n"
    "Exit codes: 0 ok, 1 failed, 2 usage, 64 + the gRPC code of a failed call (NOT_FOUND: 69), 130 Ctrl-C.";

// Each from its flag or its variable. A token itself is in MNEME_TOKEN or in a file: arguments are for all users of a
// machine to see. The overview shows what most need; the rest is in SECURITY.md.
void DeclareSecurity(Command root, GlobalOptions& options) {
  const auto add = [&root](const char* flag, std::string& value, const char* environment, const char* description) {
    return root.AddOption(flag, value, description).Environment(environment).Type("FILE");
  };
  add("--tls-ca", options.tls_files.ca, "MNEME_TLS_CA", "Encrypt, trusting who is in FILE; or MNEME_TLS_CA");
  add("--tls-certificate", options.tls_files.certificate, "MNEME_TLS_CERTIFICATE", "What this client shows").Group("");
  add("--tls-key", options.tls_files.key, "MNEME_TLS_KEY", "Of --tls-certificate").Group("");
  add("--token-file", options.token_file, "MNEME_TOKEN_FILE", "Show this token; or MNEME_TOKEN_FILE, MNEME_TOKEN");
  add("--tls-server-name", options.tls_server_name, "MNEME_TLS_SERVER_NAME",
      "What the server's certificate names, if not the host of --server").Type("NAME").Group("");
  root.AddFlag("--tls", options.tls, "Encrypt, trusting whom the system trusts").Environment("MNEME_TLS").Group("");
  root.AddFlag("--insecure-token", options.insecure_token, "Show the token unencrypted beyond this machine")
      .Environment("MNEME_INSECURE_TOKEN").Group("");
}

Command DeepestParsed(CLI::App& app) {
  const std::vector<CLI::App*> parsed = app.get_subcommands();
  return parsed.empty() ? Command(app) : DeepestParsed(*parsed.front());
}

std::vector<std::string> LongNames(const Command& command) {
  std::vector<std::string> names;
  for (const OptionSummary& option : command.Options()) {
    for (const std::string& name : option.spellings) {
      if (absl::StartsWith(name, "--")) names.push_back(name);
    }
  }
  return names;
}

// Of the program's options, which alone have variables: those that have a value although the command line gave none.
std::vector<OptionVariable> Variables(const CLI::App& app) {
  const std::vector<CLI::Option*>& given = app.parse_order();
  std::vector<OptionVariable> variables;
  for (const CLI::Option* option : app.get_options()) {
    if (option->count() == 0 || std::find(given.begin(), given.end(), option) != given.end()) continue;
    variables.push_back({"--" + option->get_lnames().front(), option->get_envname()});
  }
  return variables;
}

// What is wrong, what was probably meant, where to read on.
std::string Advice(CLI::App& app, const CLI::ParseError& error) {
  const Command verb = DeepestParsed(app);
  const std::string path = verb.Path();
  const std::string help = absl::StrCat("; see: mneme ", path.empty() ? "" : path + " ", "--help");
  const std::string what = path.empty() ? "" : path + ": ";
  const std::vector<std::string> extras = app.remaining(true);
  const auto is_option = [](const std::string& word) { return word.size() > 1 && word[0] == '-'; };
  const auto unknown = std::find_if(extras.begin(), extras.end(), is_option);
  const std::vector<Command> verbs = verb.Verbs();
  if (!verbs.empty() && !extras.empty() && !is_option(extras.front())) {
    std::vector<std::string> names;
    for (const Command& known : verbs) names.push_back(known.name());
    const std::string meant = Nearest(extras.front(), names);
    return absl::StrCat(what, "there is no verb \"", extras.front(), "\"",
                        meant.empty() ? "" : "; did you mean " + meant + "?", help);
  }
  if (unknown != extras.end()) {
    std::vector<std::string> names = LongNames(verb);
    if (!path.empty()) {
      for (std::string& name : LongNames(Command(app))) names.push_back(std::move(name));
    }
    const std::string meant = Nearest(unknown->substr(0, unknown->find('=')), names);
    return absl::StrCat(what, "there is no option ", *unknown, meant.empty() ? "" : "; did you mean " + meant + "?",
                        help);
  }
  const bool unfinished = !path.empty() && !verbs.empty();
  return absl::StrCat(what, unfinished ? "needs one of its verbs" : WithVariables(error.what(), Variables(app)), help);
}

}  // namespace

Parser::Parser(GlobalOptions& options, Action& action)
    : options_(options),
      app_(std::make_unique<CLI::App>("mneme: a memory that neural networks read and write over the network",
                                      "mneme")) {
  app_->formatter(std::make_shared<HelpFormatter>());
  app_->footer(kOverviewExamples);
  app_->require_subcommand(0, 1);
  const Command root = program();
  root.AddOption("--server", options.server, "HOST:PORT or unix:PATH; or MNEME_SERVER").Environment("MNEME_SERVER")
      .Type("").ShowDefault();
  root.AddOption("-o,--output", options.output, "text or json: data on stdout, the rest on stderr")
      .Type("FORMAT").ShowDefault().OneOf({"text", "json"});
  root.AddOption("--timeout", options.timeout_seconds, "Bound of one call in seconds; 0: none")
      .Type("SECONDS").ShowDefault().NonNegative();
  DeclareSecurity(root, options);
  root.AddFlag("-q,--quiet", options.quiet, "No progress and no notes");
  app_->set_version_flag("--version", "mneme " + Version(), "Print the version of this program");
  app_->set_help_flag("-h,--help", "Print this and exit");
  AddCreate(root, action);
  AddInfo(root, action);
  AddBuild(root, action);
  AddPlan(root, action);
  AddPrune(root, action);
  AddDrop(root, action);
  AddAlias(root, action);
  AddImport(root, action);
  AddExport(root, action);
  AddGet(root, action);
  AddDelete(root, action);
  AddReceipt(root, action);
  AddRemember(root, action);
  AddQuery(root, action);
  AddDistribution(root, action);
  AddAttention(root, action);
  AddCentroids(root, action);
  AddMatch(root, action);
  AddSelect(root, action);
  AddEvaluate(root, action);
  AddState(root, action);
  AddSession(root, action);
  AddFacts(root, action);
  AddVocabulary(root, action);
  AddMask(root, action);
  AddBackup(root, action);
  AddCluster(root, action);
  AddHealth(root, action);
  AddToken(root, action);
  AddCompletion(root, action);
}

Parser::~Parser() = default;

absl::StatusOr<std::string> Parser::Parse(std::vector<std::string> words) {
  std::reverse(words.begin(), words.end());  // as CLI11 takes them
  try {                                      // how it reports everything, --help included
    app_->parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    return Help();
  } catch (const CLI::CallForVersion& version) {
    return absl::StrCat(version.what(), "\n");
  } catch (const CLI::ParseError& error) {
    return UsageError(Advice(*app_, error));
  }
  options_.variables = Variables(*app_);
  return "";
}

std::string Parser::Help() const { return app_->help(); }

}  // namespace mneme::cli
