// Parser: the command line of `mneme` as one tree, its help and its advice on typing errors.
#ifndef MNEME_CLIENT_CLI_PARSER_H_
#define MNEME_CLIENT_CLI_PARSER_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/session.h"
#include "client/cli/verbs.h"

namespace mneme::cli {

// The whole tree. Parsing fills `options` and `action`, which outlive it.
std::unique_ptr<CLI::App> NewParser(GlobalOptions& options, Action& action);

// The one line to show for a command line that did not parse: what is wrong, what was probably meant, where to read on.
std::string UsageLine(const CLI::App& app, const CLI::ParseError& error);

// The candidate nearest to `word` by edit distance, transpositions counting one; empty if none is near enough to have
// been meant.
std::string Nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_PARSER_H_
