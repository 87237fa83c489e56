#include "client/cli/parser.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_split.h"
#include "client/cli/exit_code.h"
#include "client/cli/table.h"

namespace mneme::cli {
namespace {

// Parses a command line; holds its error line, or what its options came to.
class Parsed {
 public:
  explicit Parsed(const std::string& line) : parser_(options_, action_) {
    const absl::StatusOr<std::string> asked = parser_.Parse(absl::StrSplit(line, ' '));
    if (!asked.ok()) error_ = ErrorLine(asked.status(), options_.server);
  }
  const std::string& error() const { return error_; }
  const GlobalOptions& options() const { return options_; }
  bool has_action() const { return action_ != nullptr; }

 private:
  GlobalOptions options_;
  Action action_;
  Parser parser_;
  std::string error_;
};

TEST(Parser, TakesGlobalOptionsBeforeAndAfterTheVerb) {
  const Parsed parsed("--server unix:/x query wiki --keys q.npy -k 5 --exact -o json");
  EXPECT_EQ(parsed.error(), "");
  EXPECT_TRUE(parsed.has_action());
  EXPECT_EQ(parsed.options().server, "unix:/x");
  EXPECT_EQ(parsed.options().output, "json");
}

TEST(Parser, TakesEveryFormThatScriptsRelyOn) {
  for (const char* line :
       {"create w --dim 8 --metric l2 --value token --vocab-size 9 --key-dtype f16 --fingerprint model=a,layer=b",
        "create w --dim 8 --metric ip --value vector --value-dim 4", "create w --dim 8 --metric cosine --value bytes",
        "import w --keys k.npy --values v.npy --sources s.npy --positions p.npy --labels l.npy --ids i.npy "
        "--partition 4",
        "import w --raw --dtype f16 --dim 8 --keys K --values V --values-dtype i32",
        "query w --keys q.npy -k 5 --exact -o json",
        "distribution w --keys q.npy -k 5 --temperature 7 --exact --top 3 -o json",
        "evaluate w --keys q.npy --targets t.npy --lm-logprobs lp.npy -k 8,64 --temperature 1,5 --lambda 0.1,0.2 "
        "--exact --online --out nats.npy -o json",
        "info w -o json", "list", "get w --id 1 --id 2", "delete w --id 1", "scan w --label -3", "export w --out d",
        "drop w --yes", "alias set live w", "alias set live w --expected v -o json", "alias drop live",
        "alias list -o json",
        "stats", "health", "ping", "backup", "backup --keep 7 -o json", "backups -o json", "verify /b --number 3",
        "restore /b --data-dir d", "restore /b --data-dir d --shards 4 --number 3"}) {
    const Parsed parsed(line);
    EXPECT_EQ(parsed.error(), "") << line;
    EXPECT_TRUE(parsed.has_action()) << line;
  }
}

TEST(Parser, NamesTheVerbThatWasMeant) {
  EXPECT_EQ(Parsed("qurey wiki --keys q.npy").error(),
            "error: there is no verb \"qurey\"; did you mean query?; see: mneme --help");
}

TEST(Parser, NamesTheOptionThatWasMeantEvenWhereItIsRequired) {
  EXPECT_EQ(Parsed("create w --dim 8 --metrc l2 --value token").error(),
            "error: create: there is no option --metrc; did you mean --metric?; see: mneme create --help");
}

TEST(Parser, SaysWhichOptionIsMissing) {
  const std::string error = Parsed("create w --metric l2 --value token").error();
  EXPECT_NE(error.find("--dim"), std::string::npos) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos);
}

TEST(Parser, RefusesWhatIsOutOfBounds) {
  EXPECT_NE(Parsed("query w --keys q.npy -k 5000").error(), "");
  EXPECT_NE(Parsed("query w --keys q.npy -k 0").error(), "");
  EXPECT_NE(Parsed("query w --keys q.npy --exact --nprobe 3").error(), "");
  EXPECT_NE(Parsed("create w --dim 8 --metric hamming --value token").error(), "");
}

TEST(Parser, TakesVerbsOfGroupsWithGlobalOptionsAnywhere) {
  for (const char* line :
       {"state put wm chat42 mode --value draft -o json", "state get wm put get -o json", "state -o json remove wm s n",
        "state cas wm s n --expected-version 0 --file f", "state apply wm --file ops.jsonl --batch 10",
        "state linear wm s n --keys k --values v --queries q --rule delta --segment 5 --out o",
        "state feedback-attend wm s n --block 0 --ring 3 --queries q --keys k --values v --not-causal",
        "state counters-add wm s n --rows r --columns c --counts n", "session list wm --prefix chat",
        "session fork wm s s/beam --replace", "session reset wm a b c", "facts put wm s n withIp build",
        "vocabulary put wm gpt2 --json vocab.json --byte-level --special 0-4,7", "mask wm --vocabulary v --facts s n "
        "--written with --written build --trie -o json"}) {
    const Parsed parsed(line);
    EXPECT_EQ(parsed.error(), "") << line;
    EXPECT_TRUE(parsed.has_action()) << line;
  }
}

TEST(Parser, NamesTheVerbOfAGroupThatWasMeant) {
  EXPECT_EQ(Parsed("state putt wm s n").error(),
            "error: state: there is no verb \"putt\"; did you mean put?; see: mneme state --help");
  EXPECT_EQ(Parsed("state").error(), "error: state: needs one of its verbs; see: mneme state --help");
  EXPECT_EQ(Parsed("state put wm s n --vlaue x").error(),
            "error: state put: there is no option --vlaue; did you mean --value?; see: mneme state put --help");
}

Command VerbNamed(const std::string& name, const Parser& parser) {
  const std::vector<Command> verbs = parser.program().Verbs();
  return *std::find_if(verbs.begin(), verbs.end(), [&](const Command& verb) { return verb.name() == name; });
}

TEST(Parser, KnowsAVerbByAllItsWords) {
  GlobalOptions options;
  Action action;
  const Parser parser(options, action);
  EXPECT_EQ(parser.program().Path(), "");
  const Command query = VerbNamed("query", parser);
  EXPECT_EQ(query.Path(), "query");
  EXPECT_TRUE(query.Verbs().empty());
  const std::vector<Command> verbs = VerbNamed("state", parser).Verbs();
  ASSERT_EQ(verbs.size(), 11U);
  EXPECT_EQ(verbs.front().Path(), "state put");
}

// What a command line that asks for help shows.
std::string HelpAfter(const std::string& words) {
  GlobalOptions options;
  Action action;
  const absl::StatusOr<std::string> help = Parser(options, action).Parse(absl::StrSplit(words + "--help", ' '));
  EXPECT_TRUE(help.ok() && action == nullptr) << help.status();
  return help.value_or("");
}

TEST(Parser, HelpShowsWhatMayFollowAWordInBrackets) {
  for (const char* verb : {"attention ", "distribution "}) {
    EXPECT_NE(HelpAfter(verb).find("--mix NAME=WEIGHT[:P]  "), std::string::npos) << HelpAfter(verb);
  }
}

// The help of each verb, and of those of a group.
void CheckHelp(const Command& command) {
  for (const Command& verb : command.Verbs()) {
    const std::string help = HelpAfter(verb.Path() + " ");
    EXPECT_LE(std::count(help.begin(), help.end(), '\n'), 52) << help;
    EXPECT_NE(help.find("Examples:"), std::string::npos) << help;
    CheckHelp(verb);
  }
}

TEST(Parser, EveryHelpFitsOneScreen) {
  GlobalOptions options;
  Action action;
  const Parser parser(options, action);
  CheckHelp(parser.program());
  const std::string help = HelpAfter("");
  EXPECT_EQ(help, parser.Help());
  EXPECT_LE(std::count(help.begin(), help.end(), '\n'), 70) << help;
}

TEST(Parser, ShowsItsVersionInsteadOfAnAction) {
  GlobalOptions options;
  Action action;
  EXPECT_EQ(Parser(options, action).Parse({"--version"}).value_or(""), "mneme " + Version() + "\n");
  EXPECT_EQ(Parser(options, action).Parse({"list"}).value_or("none"), "");
}

TEST(ExitCode, TellsUsageFromFailure) {
  EXPECT_EQ(ExitCode(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCode(UsageError("x")), 2);
  EXPECT_EQ(ExitCode(absl::NotFoundError("a.npy")), 1);
}

TEST(Table, AlignsNumbersRightAndCountsCodePoints) {
  Table table({"N", "TEXT"});
  table.Add({"5", "ä"});
  table.Add({"123", "b"});
  EXPECT_EQ(table.ToString(), "  N  TEXT\n  5  ä\n123  b\n");
}

TEST(Human, NumbersAreReadable) {
  EXPECT_EQ(HumanCount(0), "0");
  EXPECT_EQ(HumanCount(1234567), "1,234,567");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(12'300'000), "12.3 MB");
  EXPECT_EQ(HumanSeconds(65), "1:05 min");
}

}  // namespace
}  // namespace mneme::cli
