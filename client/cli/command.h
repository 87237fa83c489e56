// Command: a command line as it is declared, verbs and options bound to variables. CLI11, which reads it, is included
// by command.cc and parser.cc alone: its header defines objects that each file which includes it compiles anew.
#ifndef MNEME_CLIENT_CLI_COMMAND_H_
#define MNEME_CLIENT_CLI_COMMAND_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace mneme::cli {

// A handle of an option, by which more is said about it: each property returns the handle, to chain. Copies mean the
// same option. Valid as long as the parser. Not thread-safe.
class Option {
 public:
  explicit Option(CLI::Option& option) : option_(&option) {}

  Option Required() const;

  // What --help shows: the word for a value, the variable's present value, the heading that the option stands under.
  Option Type(const std::string& word) const;
  Option ShowDefault() const;
  Option Group(const std::string& heading) const;

  // The variable of the environment that says it where the command line does not; one that is empty says nothing.
  Option Environment(const std::string& variable) const;

  // What a value must be, bounds included. A number is one of its type's in any case; Positive and NonNegative are of
  // doubles.
  Option Range(uint32_t least, uint32_t most) const;
  Option Range(uint64_t least, uint64_t most) const;
  Option Range(int64_t least, int64_t most) const;
  Option Range(double least, double most) const;
  Option Positive() const;
  Option NonNegative() const;
  Option OneOf(const std::vector<std::string>& words) const;
  // `bound` is what it must be then: "KEY is "VALUE"; must be BOUND".
  Option Check(std::function<bool(const std::string&)> is_taken, const std::string& bound) const;
  // Text, and not a path or a name, which is not empty and does not begin with "--" as an option that was taken for it.
  Option AnyText() const;

  // Of a list, which without these is given one item at a time: a word is split at its commas; so many words are taken.
  Option Commas() const;
  Option Words(size_t least, size_t most) const;

  // Given only with, or without, another option of the same verb, which was added before. Excludes holds both ways.
  Option Needs(const std::string& other) const;
  Option Excludes(const std::string& other) const;

 private:
  CLI::Option* option_;
};

// What a shell's completion knows of an option.
struct OptionSummary {
  std::vector<std::string> spellings;  // "-k", "--keys", ..: the short ones first
  std::string description;
  bool takes_value = false;
};

// A handle of the program or of one of its verbs. Copies mean the same one. Valid as long as the parser. Not
// thread-safe.
class Command {
 public:
  explicit Command(CLI::App& app) : app_(&app) {}

  // A verb in `group` of the overview; `examples` is what its --help ends with.
  Command AddVerb(const std::string& name, const std::string& description, const std::string& group,
                  const std::string& examples) const;
  // A verb that is only the first word of others, which AddVerb adds to it in the group kMore: `state` of `state put`.
  Command AddVerbGroup(const std::string& name, const std::string& description, const std::string& group,
                       const std::string& examples) const;

  // An option that sets `value`, which outlives the parser. `names` are "--file", "-k", "-n,--count"; a name without a
  // dash is a position.
  Option AddOption(const std::string& names, std::string& value, const std::string& description) const;
  Option AddOption(const std::string& names, std::optional<std::string>& value, const std::string& description) const;
  Option AddOption(const std::string& names, std::optional<uint32_t>& value, const std::string& description) const;
  Option AddOption(const std::string& names, std::optional<uint64_t>& value, const std::string& description) const;
  Option AddOption(const std::string& names, uint32_t& value, const std::string& description) const;
  Option AddOption(const std::string& names, uint64_t& value, const std::string& description) const;
  Option AddOption(const std::string& names, int64_t& value, const std::string& description) const;
  Option AddOption(const std::string& names, double& value, const std::string& description) const;
  Option AddOption(const std::string& names, std::vector<std::string>& value, const std::string& description) const;
  Option AddOption(const std::string& names, std::vector<uint32_t>& value, const std::string& description) const;
  Option AddOption(const std::string& names, std::vector<uint64_t>& value, const std::string& description) const;
  Option AddOption(const std::string& names, std::vector<int64_t>& value, const std::string& description) const;
  Option AddOption(const std::string& names, std::vector<double>& value, const std::string& description) const;
  Option AddFlag(const std::string& names, bool& value, const std::string& description) const;

  // Called once the command line was read without error and this verb is the one given.
  void WhenGiven(std::function<void()> call) const;

  std::string name() const;
  std::string description() const;
  // The words by which it is called, "state put"; empty for the program.
  std::string Path() const;
  std::vector<Command> Verbs() const;
  // Those that begin with a dash.
  std::vector<OptionSummary> Options() const;

 private:
  CLI::App* app_;
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_COMMAND_H_
