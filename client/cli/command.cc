#include "client/cli/command.h"

#include <CLI/CLI.hpp>
#include <utility>

namespace mneme::cli {
namespace {

template <typename T>
Option AddValue(CLI::App& app, const std::string& names, T& value, const std::string& description) {
  return Option(*app.add_option(names, value, description));
}

// CLI11 would have a list take every word that follows.
template <typename T>
Option AddList(CLI::App& app, const std::string& names, std::vector<T>& value, const std::string& description) {
  return Option(*app.add_option(names, value, description)->allow_extra_args(false));
}

}  // namespace

Option Option::Required() const { return Option(*option_->required()); }

Option Option::Type(const std::string& word) const { return Option(*option_->type_name(word)); }

Option Option::ShowDefault() const { return Option(*option_->capture_default_str()); }

Option Option::Group(const std::string& heading) const { return Option(*option_->group(heading)); }

Option Option::Range(uint32_t least, uint32_t most) const { return Option(*option_->check(CLI::Range(least, most))); }

Option Option::Range(uint64_t least, uint64_t most) const { return Option(*option_->check(CLI::Range(least, most))); }

Option Option::Range(int64_t least, int64_t most) const { return Option(*option_->check(CLI::Range(least, most))); }

Option Option::Range(double least, double most) const { return Option(*option_->check(CLI::Range(least, most))); }

Option Option::Positive() const { return Option(*option_->check(CLI::PositiveNumber)); }

Option Option::NonNegative() const { return Option(*option_->check(CLI::NonNegativeNumber)); }

Option Option::OneOf(const std::vector<std::string>& words) const {
  return Option(*option_->check(CLI::IsMember(words)));
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

// CLI11 would take an empty word for no value.
Option Command::AddOption(const std::string& names, std::optional<std::string>& value,
                          const std::string& description) const {
  const auto set = [&value](const std::string& word) { value = word; };
  return Option(*app_->add_option_function<std::string>(names, set, description));
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
  return Option(*app_->add_flag(names, value, description));
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
