// Parser: the command line of `mneme` as one tree, its help and its advice on typing errors.
#ifndef MNEME_CLIENT_CLI_PARSER_H_
#define MNEME_CLIENT_CLI_PARSER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/command.h"
#include "client/cli/session.h"
#include "client/cli/verbs.h"

namespace mneme::cli {

// The whole tree. Not thread-safe.
class Parser {
 public:
  // Parsing fills `options` and `action`, which outlive it.
  Parser(GlobalOptions& options, Action& action);
  ~Parser();

  // Reads the words after the program's name, once. Returns what they ask to be shown instead of an action, which is
  // help or the version, else nothing; a UsageError that says what is wrong, what was probably meant, where to read on.
  absl::StatusOr<std::string> Parse(std::vector<std::string> words);

  // The help of the program, or of the verb that was given.
  std::string Help() const;

  Command program() const { return Command(*app_); }

 private:
  GlobalOptions& options_;
  std::unique_ptr<CLI::App> app_;
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_PARSER_H_
