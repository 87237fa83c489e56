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

std::vector<std::string> OptionWords(const Command& verb) {
  std::vector<std::string> words;
  for (const OptionSummary& option : verb.Options()) {
    words.insert(words.end(), option.spellings.begin(), option.spellings.end());
  }
  return words;
}

std::vector<std::string> VerbNames(const Command& app) {
  std::vector<std::string> names;
  for (const Command& verb : app.Verbs()) names.push_back(verb.name());
  return names;
}

// Every verb, those of groups after their group.
std::vector<Command> AllVerbs(const Command& app) {
  std::vector<Command> all;
  for (const Command& verb : app.Verbs()) {
    all.push_back(verb);
    for (const Command& nested : AllVerbs(verb)) all.push_back(nested);
  }
  return all;
}

// " create", " state put", ..: what the scripts gather word by word to know which verb is being written.
std::string At(const Command& verb) { return " " + verb.Path(); }

std::string PathsOf(const Command& app, const std::string& separator) {
  std::vector<std::string> paths;
  for (const Command& verb : AllVerbs(app)) paths.push_back("'" + At(verb) + "'");
  return absl::StrJoin(paths, separator);
}

// After a verb its options and the global ones, and files; after a group its verbs.
std::string Bash(const Command& app) {
  std::string cases;
  const std::string global = absl::StrJoin(OptionWords(app), " ");
  for (const Command& verb : AllVerbs(app)) {
    absl::StrAppend(&cases, "    '", At(verb), "') verbs=\"", absl::StrJoin(VerbNames(verb), " "), "\"; words=\"",
                    absl::StrJoin(OptionWords(verb), " "), " ", global, "\" ;;\n");
  }
  return absl::StrCat(
      "_mneme() {\n"
      "  local current=\"${COMP_WORDS[COMP_CWORD]}\" at=\"\" verbs words word\n"
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
      "    case \"$at $word\" in ", PathsOf(app, "|"), ") at=\"$at $word\" ;; esac\n"
      "  done\n"
      "  case \"$at\" in\n", cases,
      "    *) verbs=\"", absl::StrJoin(VerbNames(app), " "), "\"; words=\"", global, "\" ;;\n"
      "  esac\n"
      "  if [[ -z \"$verbs\" && \"$current\" != -* ]]; then\n"
      "    COMPREPLY=($(compgen -f -- \"$current\"))\n"
      "  else\n"
      "    COMPREPLY=($(compgen -W \"$verbs $words\" -- \"$current\"))\n"
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

std::string ZshOptions(const Command& verb) {
  std::string options;
  for (const OptionSummary& option : verb.Options()) {
    for (const std::string& spelling : option.spellings) {
      absl::StrAppend(&options, " '*", spelling, "[", Quoted(option.description), "]",
                      option.takes_value ? ": :_files" : "", "'");
    }
  }
  return options;
}

// Options after a dash, else the verbs of `app`, which has some.
std::string ZshVerbs(const Command& app, const std::string& options) {
  std::string verbs;
  for (const Command& verb : app.Verbs()) {
    absl::StrAppend(&verbs, " '", verb.name(), ":", Quoted(verb.description()), "'");
  }
  return absl::StrCat("verbs=(", verbs, " ); if [[ $words[CURRENT] == -* ]]; then _arguments", options,
                      "; else _describe verb verbs; fi ;;\n");
}

std::string Zsh(const Command& app) {
  std::string cases;
  for (const Command& verb : AllVerbs(app)) {
    const std::string options = ZshOptions(verb) + ZshOptions(app);
    absl::StrAppend(&cases, "    '", At(verb), "') ",
                    verb.Verbs().empty() ? absl::StrCat("_arguments", options, " '*: :_files' ;;\n")
                                           : ZshVerbs(verb, options));
  }
  return absl::StrCat("#compdef mneme\n_mneme() {\n  local at=\"\" word\n  local -a verbs\n"
                      "  for word in \"${(@)words[2,CURRENT-1]}\"; do\n"
                      "    case \"$at $word\" in ", PathsOf(app, "|"), ") at=\"$at $word\" ;; esac\n  done\n"
                      "  case \"$at\" in\n", cases, "    *) ", ZshVerbs(app, ZshOptions(app)),
                      "  esac\n}\ncompdef _mneme mneme\n");
}

std::string FishOptions(const Command& verb, const std::string& condition) {
  std::string lines;
  for (const OptionSummary& option : verb.Options()) {
    std::string line = absl::StrCat("complete -c mneme", condition);
    for (const std::string& spelling : option.spellings) {
      const bool is_long = spelling[1] == '-';
      absl::StrAppend(&line, is_long ? " -l " : " -s ", spelling.substr(is_long ? 2 : 1));
    }
    if (option.takes_value) line += " -r";
    absl::StrAppend(&lines, line, " -d '", Quoted(option.description), "'\n");
  }
  return lines;
}

std::string FishVerbs(const Command& app, const std::string& at) {
  std::string lines;
  for (const Command& verb : app.Verbs()) {
    absl::StrAppend(&lines, "complete -c mneme -f -n \"__mneme_at '", at, "'\" -a ", verb.name(), " -d '",
                    Quoted(verb.description()), "'\n");
  }
  return lines;
}

std::string Fish(const Command& app) {
  std::string script = absl::StrCat(
      "function __mneme_at\n  set -l at \"\"\n  for word in (commandline -opc)[2..-1]\n    switch \"$at $word\"\n"
      "      case ", PathsOf(app, " "), "\n        set at \"$at $word\"\n    end\n  end\n"
      "  test \"$at\" = \"$argv[1]\"\nend\n",
      FishOptions(app, ""), FishVerbs(app, ""));
  for (const Command& verb : AllVerbs(app)) {
    absl::StrAppend(&script, FishVerbs(verb, At(verb)),
                    FishOptions(verb, absl::StrCat(" -n \"__mneme_at '", At(verb), "'\"")));
  }
  return script;
}

}  // namespace

void AddCompletion(Command app, Action& action) {
  Command verb = app.AddVerb("completion", "Print a completion script for bash, zsh or fish", kServer,
                             "  source <(mneme completion bash)\n  mneme completion fish > "
                             "~/.config/fish/completions/mneme.fish");
  auto shell = std::make_shared<std::string>();
  verb.AddOption("shell", *shell, "bash, zsh or fish").Required().Type("").OneOf({"bash", "zsh", "fish"});
  verb.WhenGiven([shell, &action, app] {
    action = [shell, app](Session& session) {
      session.Print(*shell == "bash" ? Bash(app) : *shell == "zsh" ? Zsh(app) : Fish(app));
      return absl::OkStatus();
    };
  });

  Command version = app.AddVerb("version", "Print the version of this program", kServer, "  mneme version");
  version.WhenGiven([&action] {
    action = [](Session& session) {
      session.Print(session.json() ? absl::StrCat("{\"version\":\"", Version(), "\"}\n")
                                   : absl::StrCat("mneme ", Version(), "\n"));
      return absl::OkStatus();
    };
  });
}

std::string Version() { return MNEME_VERSION; }

}  // namespace mneme::cli
