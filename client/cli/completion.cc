// `mneme completion` and `mneme version`. The scripts are made by walking the parser's own tree of verbs and options,
// so that they never differ from what the program takes.
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"

namespace mneme::cli {
namespace {

// "--keys", "-k", ..: what an option can be written as.
std::vector<std::string> Spellings(const CLI::Option& option) {
  std::vector<std::string> spellings;
  for (const std::string& name : option.get_snames()) spellings.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) spellings.push_back("--" + name);
  return spellings;
}

std::vector<std::string> OptionWords(const CLI::App& verb) {
  std::vector<std::string> words;
  for (const CLI::Option* option : verb.get_options([](const CLI::Option* o) { return !o->get_positional(); })) {
    for (std::string& spelling : Spellings(*option)) words.push_back(std::move(spelling));
  }
  return words;
}

std::vector<const CLI::App*> VerbsOf(const CLI::App& app) { return app.get_subcommands([](const CLI::App*) { return true; }); }

std::vector<std::string> VerbNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : VerbsOf(app)) names.push_back(verb->get_name());
  return names;
}

// The first word that is no option is the verb; after it its options and the global ones; files everywhere else.
std::string Bash(const CLI::App& app) {
  std::string cases;
  const std::string global = absl::StrJoin(OptionWords(app), " ");
  for (const CLI::App* verb : VerbsOf(app)) {
    absl::StrAppend(&cases, "    ", verb->get_name(), ") words=\"", absl::StrJoin(OptionWords(*verb), " "), " ", global,
                    "\" ;;\n");
  }
  return absl::StrCat(
      "_mneme() {\n"
      "  local current=\"${COMP_WORDS[COMP_CWORD]}\" verb=\"\" words=\"\" word\n"
      "  local verbs=\"", absl::StrJoin(VerbNames(app), " "), "\"\n"
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
      "    [[ \" $verbs \" == *\" $word \"* ]] && verb=\"$word\" && break\n"
      "  done\n"
      "  case \"$verb\" in\n", cases,
      "    *) words=\"$verbs ", global, "\" ;;\n"
      "  esac\n"
      "  if [[ -n \"$verb\" && \"$current\" != -* ]]; then\n"
      "    COMPREPLY=($(compgen -f -- \"$current\"))\n"
      "  else\n"
      "    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "  fi\n"
      "}\n"
      "complete -o filenames -F _mneme mneme\n");
}

// Single quotes, brackets and colons have a meaning in the specifications of zsh and fish.
std::string Quoted(const std::string& text) {
  std::string quoted;
  for (const char c : text) {
    if (c == '\'' || c == '[' || c == ']' || c == ':') continue;
    quoted += c;
  }
  return quoted;
}

std::string ZshOptions(const CLI::App& verb) {
  std::string options;
  for (const CLI::Option* option : verb.get_options([](const CLI::Option* o) { return !o->get_positional(); })) {
    for (const std::string& spelling : Spellings(*option)) {
      absl::StrAppend(&options, " '*", spelling, "[", Quoted(option->get_description()), "]",
                      option->get_expected_max() > 0 ? ": :_files" : "", "'");
    }
  }
  return options;
}

std::string Zsh(const CLI::App& app) {
  std::string verbs;
  std::string cases;
  for (const CLI::App* verb : VerbsOf(app)) {
    absl::StrAppend(&verbs, "    '", verb->get_name(), ":", Quoted(verb->get_description()), "'\n");
    absl::StrAppend(&cases, "    ", verb->get_name(), ") _arguments", ZshOptions(*verb), ZshOptions(app),
                    " '*: :_files' ;;\n");
  }
  return absl::StrCat("#compdef mneme\n_mneme() {\n  local -a verbs=(\n", verbs,
                      "  )\n  local verb=${words[(r)(", absl::StrJoin(VerbNames(app), "|"), ")]}\n"
                      "  case \"$verb\" in\n", cases,
                      "    *) if [[ $words[CURRENT] == -* ]]; then _arguments", ZshOptions(app),
                      "; else _describe verb verbs; fi ;;\n  esac\n}\ncompdef _mneme mneme\n");
}

std::string FishOptions(const CLI::App& verb, const std::string& condition) {
  std::string lines;
  for (const CLI::Option* option : verb.get_options([](const CLI::Option* o) { return !o->get_positional(); })) {
    std::string line = absl::StrCat("complete -c mneme", condition);
    for (const std::string& name : option->get_snames()) absl::StrAppend(&line, " -s ", name);
    for (const std::string& name : option->get_lnames()) absl::StrAppend(&line, " -l ", name);
    if (option->get_expected_max() > 0) line += " -r";
    absl::StrAppend(&lines, line, " -d '", Quoted(option->get_description()), "'\n");
  }
  return lines;
}

std::string Fish(const CLI::App& app) {
  std::string script = FishOptions(app, "");
  const std::string all = absl::StrJoin(VerbNames(app), " ");
  for (const CLI::App* verb : VerbsOf(app)) {
    absl::StrAppend(&script, "complete -c mneme -f -n 'not __fish_seen_subcommand_from ", all, "' -a ",
                    verb->get_name(), " -d '", Quoted(verb->get_description()), "'\n");
    script += FishOptions(*verb, absl::StrCat(" -n '__fish_seen_subcommand_from ", verb->get_name(), "'"));
  }
  return script;
}

}  // namespace

void AddCompletion(CLI::App& app, Action& action) {
  CLI::App* verb = AddVerb(app, "completion", "Print a completion script for bash, zsh or fish", kServer,
                           "  source <(mneme completion bash)\n  mneme completion fish > "
                           "~/.config/fish/completions/mneme.fish");
  auto shell = std::make_shared<std::string>();
  verb->add_option("shell", *shell, "bash, zsh or fish")->required()->type_name("")
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  verb->callback([shell, &action, &app] {
    action = [shell, &app](Session& session) {
      session.Print(*shell == "bash" ? Bash(app) : *shell == "zsh" ? Zsh(app) : Fish(app));
      return absl::OkStatus();
    };
  });

  CLI::App* version = AddVerb(app, "version", "Print the version of this program", kServer, "  mneme version");
  version->callback([&action] {
    action = [](Session& session) {
      session.Print(session.json() ? absl::StrCat("{\"version\":\"", Version(), "\"}\n")
                                   : absl::StrCat("mneme ", Version(), "\n"));
      return absl::OkStatus();
    };
  });
}

std::string Version() { return MNEME_VERSION; }

}  // namespace mneme::cli
