#include "client/cli/parser.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace mneme::cli {
namespace {

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
    std::string text = option->get_type_name().empty() ? "" : " " + Word(option->get_type_name());
    if (!option->get_default_str().empty()) text += " (" + option->get_default_str() + ")";
    if (option->get_required() && !option->get_positional()) text += " *";
    return text;
  }
  std::string make_usage(const CLI::App* app, std::string) const override {
    if (app->get_parent() == nullptr) return "Usage: mneme [options] VERB ..   (mneme VERB --help for each)\n";
    const std::string path = VerbPath(*app);
    if (!VerbsOf(*app).empty()) {
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
  std::string make_footer(const CLI::App* app) const override {
    return app->get_footer().empty() ? "" : "Examples:\n" + app->get_footer() + "\n";
  }

 private:
  // A validator's description comes after the type's name: the first word is enough.
  static std::string Word(const std::string& type) { return type.substr(0, type.find_first_of(": ")); }
};

constexpr char kOverviewExamples[] =
    "  mneme create wiki --dim 1024 --metric l2 --value token --vocab-size 50257\n"
    "  mneme import wiki --keys keys.npy --values values.npy\n"
    "  mneme query wiki --keys q.npy -k 10 -o json\n\n"
    "Exit codes: 0 ok, 1 failed, 2 usage, 64 + the gRPC code of a failed call (NOT_FOUND: 69), 130 Ctrl-C.";

const CLI::App& DeepestParsed(const CLI::App& app) {
  const std::vector<CLI::App*> parsed = const_cast<CLI::App&>(app).get_subcommands();
  return parsed.empty() ? app : DeepestParsed(*parsed.front());
}

std::vector<std::string> OptionNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

CLI::App* AddVerb(CLI::App& app, const std::string& name, const std::string& description, const std::string& group,
                  const std::string& examples) {
  CLI::App* verb = app.add_subcommand(name, description);
  verb->group(group);
  verb->footer(examples);
  // -o json, --server and the like may stand anywhere.
  verb->fallthrough();
  verb->set_help_flag("-h,--help", "Print this and exit");
  return verb;
}

CLI::App* AddVerbGroup(CLI::App& app, const std::string& name, const std::string& description, const std::string& group,
                       const std::string& examples) {
  CLI::App* verb = AddVerb(app, name, description, group, examples);
  verb->require_subcommand(1);
  return verb;
}

std::vector<const CLI::App*> VerbsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

std::string VerbPath(const CLI::App& verb) {
  const CLI::App* parent = verb.get_parent();
  if (parent == nullptr) return "";
  const std::string before = VerbPath(*parent);
  return before.empty() ? verb.get_name() : before + " " + verb.get_name();
}

std::unique_ptr<CLI::App> NewParser(GlobalOptions& options, Action& action) {
  auto app = std::make_unique<CLI::App>("mneme: a memory that neural networks read and write over the network", "mneme");
  app->formatter(std::make_shared<HelpFormatter>());
  app->footer(kOverviewExamples);
  app->require_subcommand(0, 1);
  app->add_option("--server", options.server, "HOST:PORT or unix:PATH; or MNEME_SERVER")->envname("MNEME_SERVER")
      ->type_name("ADDRESS")->capture_default_str();
  app->add_option("-o,--output", options.output, "text or json: data on stdout, the rest on stderr")
      ->type_name("FORMAT")->capture_default_str()->check(CLI::IsMember({"text", "json"}));
  app->add_option("--timeout", options.timeout_seconds, "Bound of one call in seconds; 0: none")
      ->type_name("SECONDS")->capture_default_str()->check(CLI::NonNegativeNumber);
  app->add_flag("-q,--quiet", options.quiet, "No progress and no notes");
  app->set_version_flag("--version", "mneme " + Version(), "Print the version of this program");
  app->set_help_flag("-h,--help", "Print this and exit");
  AddCreate(*app, action);
  AddInfo(*app, action);
  AddBuild(*app, action);
  AddPlan(*app, action);
  AddPrune(*app, action);
  AddDrop(*app, action);
  AddAlias(*app, action);
  AddImport(*app, action);
  AddExport(*app, action);
  AddGet(*app, action);
  AddDelete(*app, action);
  AddRemember(*app, action);
  AddQuery(*app, action);
  AddDistribution(*app, action);
  AddAttention(*app, action);
  AddCentroids(*app, action);
  AddMatch(*app, action);
  AddSelect(*app, action);
  AddEvaluate(*app, action);
  AddState(*app, action);
  AddSession(*app, action);
  AddFacts(*app, action);
  AddVocabulary(*app, action);
  AddMask(*app, action);
  AddHealth(*app, action);
  AddCompletion(*app, action);
  return app;
}

std::string Nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string nearest;
  // One slip in a short word, two in a longer one.
  size_t least = word.size() <= 5 ? 2 : 3;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

std::string UsageLine(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& verb = DeepestParsed(app);
  const std::string path = VerbPath(verb);
  const std::string help = absl::StrCat("; see: mneme ", path.empty() ? "" : path + " ", "--help");
  const std::string what = path.empty() ? "error: " : absl::StrCat("error: ", path, ": ");
  const std::vector<std::string> extras = app.remaining(true);
  const auto is_option = [](const std::string& word) { return word.size() > 1 && word[0] == '-'; };
  const auto unknown = std::find_if(extras.begin(), extras.end(), is_option);
  const std::vector<const CLI::App*> verbs = VerbsOf(verb);
  if (!verbs.empty() && !extras.empty() && !is_option(extras.front())) {
    std::vector<std::string> names;
    for (const CLI::App* known : verbs) names.push_back(known->get_name());
    const std::string meant = Nearest(extras.front(), names);
    return absl::StrCat(what, "there is no verb \"", extras.front(), "\"",
                        meant.empty() ? "" : "; did you mean " + meant + "?", help);
  }
  if (unknown != extras.end()) {
    std::vector<std::string> names = OptionNames(verb);
    if (&verb != &app) {
      for (std::string& name : OptionNames(app)) names.push_back(std::move(name));
    }
    const std::string meant = Nearest(unknown->substr(0, unknown->find('=')), names);
    return absl::StrCat(what, "there is no option ", *unknown, meant.empty() ? "" : "; did you mean " + meant + "?",
                        help);
  }
  std::string message = error.what();
  if (!path.empty() && !verbs.empty()) message = "needs one of its verbs";
  std::replace(message.begin(), message.end(), '\n', ' ');
  return absl::StrCat(what, message, help);
}

}  // namespace mneme::cli
