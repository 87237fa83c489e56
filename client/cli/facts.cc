// `mneme facts` and `mneme vocabulary`: what token masks are made of, as registers of sessions.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/bytes_file.h"
#include "client/cli/exit_code.h"
#include "client/cli/states.h"
#include "client/cli/stored_texts.h"
#include "client/cli/table.h"
#include "client/cli/vocabulary_file.h"
#include "client/token_texts.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/stored_vocabulary.h"

namespace mneme::cli {
namespace {

absl::StatusOr<v1::StateResult> PutRegister(const StateName& state, std::string value, const WriteOptions& write,
                                            Session& session) {
  v1::StateOperation operation = state.Operation();
  operation.mutable_register_put()->set_value(std::move(value));
  return ApplyOne(state.memory, operation, write, session);
}

// --- facts ---

struct FactsOptions {
  StateName state;
  WriteOptions write;
  std::vector<std::string> strings;
  std::string file;
};

absl::Status PutFacts(const FactsOptions& options, Session& session) {
  std::vector<std::string> strings = options.strings;
  if (!options.file.empty()) {
    ASSIGN_OR_RETURN(const std::vector<std::string> lines, ReadLines(options.file));
    strings.insert(strings.end(), lines.begin(), lines.end());
  }
  if (strings.empty()) return UsageError("facts put needs legal strings: name them, or give --file");
  ASSIGN_OR_RETURN(std::string value, EncodeFacts(strings));
  ASSIGN_OR_RETURN(const v1::StateResult result,
                   PutRegister(options.state, std::move(value), options.write, session));
  if (session.json()) {
    Json json = ResultJson(result);
    json["strings"] = strings.size();
    session.PrintJson(json);
  } else {
    session.Print(absl::StrCat("version ", result.version(), ", ", HumanCount(strings.size()), " strings\n"));
  }
  return absl::OkStatus();
}

absl::Status GetFacts(const FactsOptions& options, Session& session) {
  v1::StateOperation operation = options.state.Operation();
  operation.mutable_register_get();
  ASSIGN_OR_RETURN(const v1::StateResult result,
                   ApplyOne(options.state.memory, operation, options.write, session));
  const std::vector<std::string> strings = DecodeFacts(result.register_().value());
  if (session.json()) {
    Json json = ResultJson(result);
    json["strings"] = Json::array();
    for (const std::string& each : strings) json["strings"].push_back(BytesJson(each));
    session.PrintJson(json);
  } else if (!result.found()) {
    session.Note("there are no such facts");
  } else {
    session.Print(absl::StrJoin(strings, "\n") + "\n");
  }
  return absl::OkStatus();
}

// --- vocabulary ---

struct VocabularyOptions {
  StateName state;
  WriteOptions write;
  VocabularyFiles files;
};

absl::Status PutVocabulary(const VocabularyOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const StoredVocabulary vocabulary, ReadVocabulary(options.files));
  std::string value = EncodeVocabulary(vocabulary);
  if (value.size() > limits::kMaxStateBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the vocabulary has ", value.size(), " bytes; must have at most ",
                                                   limits::kMaxStateBytes));
  }
  ASSIGN_OR_RETURN(const v1::StateResult result,
                   PutRegister(options.state, std::move(value), options.write, session));
  PrintVocabulary(vocabulary, ResultJson(result), session);
  return absl::OkStatus();
}

absl::Status GetVocabulary(const VocabularyOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const StoredVocabulary vocabulary,
                   FetchVocabulary(options.state.memory, options.state.name, session));
  PrintVocabulary(vocabulary, Json::object(), session);
  return absl::OkStatus();
}

void AddVocabularyName(Command verb, VocabularyOptions& options) {
  options.state.session = kVocabularies;
  AddMemoryName(verb, options.state.memory);
  verb.AddOption("name", options.state.name, "The vocabulary's name").Required().Type("");
}

}  // namespace

void AddFacts(Command app, Action& action) {
  Command group = app.AddVerbGroup("facts", "Write and read legal strings, which masks are made of", kSessions,
                                   "  mneme facts put code repo/File.java builder. newServerNode withIp build");
  auto options = std::make_shared<FactsOptions>();
  Command put = group.AddVerb("put", "Write the legal strings of a name", kMore,
                              "  mneme facts put code repo/File.java builder. newServerNode withIp build\n"
                              "  mneme facts put code repo/File.java builder. --file members.txt");
  AddStateName(put, options->state);
  put.AddOption("strings", options->strings, "The strings").Type("").AnyText().Words(0, limits::kMaxLegalStrings);
  put.AddOption("--file", options->file, "More of them, one a line").Type("FILE.txt");
  AddWriteOptions(put, options->write);
  put.WhenGiven([options, &action] {
    action = [options](Session& session) { return PutFacts(*options, session); };
  });
  Command get = group.AddVerb("get", "Read the legal strings of a name, one a line", kMore,
                              "  mneme facts get code repo/File.java builder.");
  AddStateName(get, options->state);
  get.WhenGiven([options, &action] {
    action = [options](Session& session) { return GetFacts(*options, session); };
  });
}

void AddVocabulary(Command app, Action& action) {
  Command group = app.AddVerbGroup("vocabulary", "Register the texts of a model's tokens for masks", kSessions,
                                   "  mneme vocabulary put code gpt2 --json vocab.json --byte-level --special 50256");
  auto options = std::make_shared<VocabularyOptions>();
  Command put = group.AddVerb("put", "Register a vocabulary", kMore,
                              "  mneme vocabulary put code gpt2 --json vocab.json --byte-level --special 50256\n"
                              "  mneme vocabulary put code words --texts vocab.txt");
  AddVocabularyName(put, *options);
  VocabularyFiles& files = options->files;
  put.AddOption("--json", files.json, "{\"token\": id, ..}, or a list of tokens").Type("FILE.json");
  put.AddOption("--texts", files.texts, "Line i + 1 is token i; an empty one is never allowed").Type("FILE.txt")
      .Excludes("--json");
  put.AddFlag("--byte-level", files.byte_level, "Tokens are written in GPT-2's letters for bytes").Needs("--json");
  put.AddOption("--special", files.special, "Tokens that are never allowed, 0-4 for a range (repeatable)")
      .Commas().Type("ID")
      .Check([](const std::string& text) { return ParseIdRange(text).has_value(); }, "an id, or a range, as 0-4");
  put.AddOption("--break-characters", files.break_characters,
                  "What ends an identifier; else all that is no letter, number or _").Type("TEXT");
  AddWriteOptions(put, options->write);
  put.WhenGiven([options, &action] {
    action = [options](Session& session) { return PutVocabulary(*options, session); };
  });
  Command get = group.AddVerb("get", "Tell what a vocabulary has", kMore, "  mneme vocabulary get code gpt2");
  AddVocabularyName(get, *options);
  get.WhenGiven([options, &action] {
    action = [options](Session& session) { return GetVocabulary(*options, session); };
  });
}

}  // namespace mneme::cli
