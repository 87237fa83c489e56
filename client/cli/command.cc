#include "client/cli/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <limits>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/option_text.h"

namespace mneme::cli {
namespace {

// Of the check that AnyText() takes away.
constexpr char kTextCheck[] = "text";

// As messages call it: CLI11 has no name for one that the overview does not show.
std::string NameOf(const CLI::Option& option) {
  if (!option.get_lnames().empty()) return "--" + option.get_lnames().front();
  if (!option.get_snames().empty()) return "-" + option.get_snames().front();
  return option.get_name(/*positional=*/true);
}

// What `take` makes of a value (it may rewrite it), or says that it must be. That is thrown, since CLI11 would put the
// option before what a validator answers.
CLI::Validator Taken(const CLI::Option& option, const std::function<std::string(std::string&)>& take) {
  const auto read = [key = NameOf(option), take](std::string& text) {
    const std::string bound = take(text);
    if (!bound.empty()) throw CLI::ConversionError(NotTaken(key, text, bound));
    return std::string();
  };
  return CLI::Validator(read, "");
}

// The narrower of two ranges is asked first, so that its bounds are what is told.
template <typename T>
void TakeNumbers(CLI::Option& option, T least, T most) {
  option.transform(Taken(option, [least, most](std::string& text) { return TakeNumber(text, least, most); }));
}

template <typename T>
CLI::Option& Checked(CLI::Option& option) {
  if constexpr (std::is_same_v<T, std::string>) {
    option.check(Taken(option, TextBound), kTextCheck);
  } else {
    TakeNumbers<T>(option, std::numeric_limits<T>::lowest(), std::numeric_limits<T>::max());
  }
  return option;
}

template <typename T>
Option AddValue(CLI::App& app, const std::string& names, T& value, const std::string& description) {
  return Option(Checked<T>(*app.add_option(names, value, description)));
}

// CLI11 would take an empty word for no value.
template <typename T>
Option AddOptional(CLI::App& app, const std::string& names, std::optional<T>& value, const std::string& description) {
  const auto set = [&value](const T& given) { value = given; };
  return Option(Checked<T>(*app.add_option_function<T>(names, set, description)));
}

// CLI11 would have a list take every word that follows.
template <typename T>
Option AddList(CLI::App& app, const std::string& names, std::vector<T>& value, const std::string& description) {
  return Option(Checked<T>(*app.add_option(names, value, description)->allow_extra_args(false)));
}

}  // namespace

Option Option::Required() const { return Option(*option_->required()); }

Option Option::Type(const std::string& word) const { return Option(*option_->type_name(word)); }

Option Option::ShowDefault() const { return Option(*option_->capture_default_str()); }

Option Option::Group(const std::string& heading) const { return Option(*option_->group(heading)); }

Option Option::Environment(const std::string& variable) const { return Option(*option_->envname(variable)); }

Option Option::Range(uint32_t least, uint32_t most) const {
  TakeNumbers(*option_, least, most);
  return *this;
}

Option Option::Range(uint64_t least, uint64_t most) const {
  TakeNumbers(*option_, least, most);
  return *this;
}

Option Option::Range(int64_t least, int64_t most) const {
  TakeNumbers(*option_, least, most);
  return *this;
}

Option Option::Range(double least, double most) const {
  TakeNumbers(*option_, least, most);
  return *this;
}

Option Option::Positive() const {
  return Range(std::numeric_limits<double>::min(), std::numeric_limits<double>::max());
}

Option Option::NonNegative() const { return Range(0.0, std::numeric_limits<double>::max()); }

Option Option::OneOf(const std::vector<std::string>& words) const {
  const auto is_one = [words](const std::string& text) {
    return std::find(words.begin(), words.end(), text) != words.end();
  };
  return Check(is_one, absl::StrCat("one of ", absl::StrJoin(words, ", ")));
}

Option Option::Check(std::function<bool(const std::string&)> is_taken, const std::string& bound) const {
  const auto take = [is_taken = std::move(is_taken), bound](std::string& text) { return is_taken(text) ? "" : bound; };
  // Before the check of any text, which would say less.
  option_->transform(Taken(*option_, take));
  return *this;
}

Option Option::AnyText() const {
  option_->get_validator(kTextCheck)->active(false);
  return *this;
}

Option Option::Commas() const { return Option(*option_->delimiter(',')); }

Option Option::Words(size_t least, size_t most) const {
  return Option(*option_->expected(static_cast<int>(least), static_cast<int>(most))->allow_extra_args());
}

Option Option::Needs(const std::string& other) const { return Option(*option_->needs(other)); }

Option Option::Excludes(const std::string& other) const { return Option(*option_->excludes(other)); }

Command Command::AddVerb(const std::string& name, const std::string& description, const std::string& group,
                         const std::string& examples) const {
  CLI::App* verb = app_->add_subcommand(name, description);
  verb->group(group);
  verb->footer(examples);
  // -o json, --server and the like may stand anywhere.
  verb->fallthrough();
  verb->set_help_flag("-h,--help", "Print this and exit");
  return Command(*verb);
}

Command Command::AddVerbGroup(const std::string& name, const std::string& description, const std::string& group,
                              const std::string& examples) const {
  const Command verb = AddVerb(name, description, group, examples);
  verb.app_->require_subcommand(1);
  return verb;
}

Option Command::AddOption(const std::string& names, std::string& value, const std::string& description) const {
  return AddValue(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, std::optional<std::string>& value,
                          const std::string& description) const {
  return AddOptional(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, std::optional<uint32_t>& value,
                          const std::string& description) const {
  return AddOptional(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, std::optional<uint64_t>& value,
                          const std::string& description) const {
  return AddOptional(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, uint32_t& value, const std::string& description) const {
  return AddValue(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, uint64_t& value, const std::string& description) const {
  return AddValue(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, int64_t& value, const std::string& description) const {
  return AddValue(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, double& value, const std::string& description) const {
  return AddValue(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, std::vector<std::string>& value,
                          const std::string& description) const {
  return AddList(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, std::vector<uint32_t>& value,
                          const std::string& description) const {
  return AddList(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, std::vector<uint64_t>& value,
                          const std::string& description) const {
  return AddList(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, std::vector<int64_t>& value, const std::string& description) const {
  return AddList(*app_, names, value, description);
}

Option Command::AddOption(const std::string& names, std::vector<double>& value, const std::string& description) const {
  return AddList(*app_, names, value, description);
}

Option Command::AddFlag(const std::string& names, bool& value, const std::string& description) const {
  CLI::Option& option = *app_->add_flag(names, value, description);
  return Option(*option.transform(Taken(option, TakeFlag)));
}

void Command::WhenGiven(std::function<void()> call) const { app_->callback(std::move(call)); }

std::string Command::name() const { return app_->get_name(); }

std::string Command::description() const { return app_->get_description(); }

std::string Command::Path() const {
  CLI::App* parent = app_->get_parent();
  if (parent == nullptr) return "";
  const std::string before = Command(*parent).Path();
  return before.empty() ? name() : before + " " + name();
}

std::vector<Command> Command::Verbs() const {
  std::vector<Command> verbs;
  for (CLI::App* verb : app_->get_subcommands([](const CLI::App*) { return true; })) verbs.emplace_back(*verb);
  return verbs;
}

std::vector<OptionSummary> Command::Options() const {
  std::vector<OptionSummary> options;
  for (const CLI::Option* option : app_->get_options([](const CLI::Option* o) { return !o->get_positional(); })) {
    OptionSummary& summary = options.emplace_back();
    for (const std::string& name : option->get_snames()) summary.spellings.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) summary.spellings.push_back("--" + name);
    summary.description = option->get_description();
    summary.takes_value = option->get_expected_max() > 0;
  }
  return options;
}

}  // namespace mneme::cli
