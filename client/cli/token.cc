// `mneme token`: a new token, and the line by which a server knows it.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "security/grant.h"
#include "security/token.h"
#include "security/token_file.h"

namespace mneme::cli {
namespace {

struct TokenOptions {
  std::string name;
  std::vector<std::string> grants;
  bool peer = false;
  bool metrics = false;
  uint64_t requests = 0;
  uint64_t entries = 0;
  uint64_t bytes = 0;
  uint64_t answered_bytes = 0;
  uint64_t stored_entries = 0;
  uint64_t stored_bytes = 0;
  uint64_t memories = 0;
  std::string file;
};

std::vector<std::string> WordsOf(const TokenOptions& options) {
  std::vector<std::string> words = options.grants;
  if (options.peer) words.push_back("peer");
  if (options.metrics) words.push_back("metrics");
  const std::pair<const char*, uint64_t> bounds[] = {{"requests/s:", options.requests},
                                                     {"entries/s:", options.entries},
                                                     {"bytes/s:", options.bytes},
                                                     {"answered-bytes/s:", options.answered_bytes},
                                                     {"stored-entries:", options.stored_entries},
                                                     {"stored-bytes:", options.stored_bytes},
                                                     {"memories:", options.memories}};
  for (const auto& [word, bound] : bounds) {
    if (bound != 0) words.push_back(absl::StrCat(word, bound));
  }
  return words;
}

// Adds a line, in one write and synced, to a file that only this user reads; a new one gets its header.
absl::Status Append(const std::string& path, const std::string& line) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const auto failed = [&path] {
    return absl::UnavailableError(absl::StrCat("file ", path, " cannot be written: ", std::strerror(errno)));
  };
  if (file < 0) return failed();
  std::string text = line;
  if (lseek(file, 0, SEEK_END) == 0) text = absl::StrCat(std::string(kTokenFileHeader), "\n", line);
  const bool written = write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(file) == 0;
  const absl::Status status = written ? absl::OkStatus() : failed();
  close(file);
  return status;
}

// What would be refused by the server is refused here, before anything is written: the file with its new line.
absl::Status CheckFile(const std::string& path, const std::string& line) {
  absl::StatusOr<std::string> text = ReadTokenFile(path);
  if (!text.ok() && !absl::IsNotFound(text.status())) return text.status();
  std::string before = text.value_or("");
  if (before.empty()) before = absl::StrCat(std::string(kTokenFileHeader), "\n");
  if (before.back() != '\n') {
    return absl::InvalidArgumentError(absl::StrCat("token file ", path, " does not end with a whole line"));
  }
  const absl::Status whole = TokenTable::Parse(before + line).status();
  if (whole.ok()) return whole;
  return absl::InvalidArgumentError(
      absl::StrCat("token file ", path, ", with the new line, would be refused by a server: ", whole.message()));
}

absl::Status Token(const TokenOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const std::string token, NewToken());
  for (const std::string& grant : options.grants) {
    if (const auto parsed = ParseGrant(grant); !parsed.ok()) {
      return UsageError(absl::StrCat("--grant: ", parsed.status().message()));
    }
  }
  const absl::StatusOr<std::string> line =
      TokenLine(options.name, absl::StrCat("sha256:", HexOf(DigestOf(token))), WordsOf(options));
  if (!line.ok()) return UsageError(std::string(line.status().message()));
  if (!options.file.empty()) {
    RETURN_IF_ERROR(CheckFile(options.file, *line));
    RETURN_IF_ERROR(Append(options.file, *line));
  }
  const std::string written = line->substr(0, line->size() - 1);
  if (session.json()) {
    session.PrintJson({{"token", token}, {"line", written}});
    return absl::OkStatus();
  }
  session.Print(absl::StrCat(token, "\n"));
  if (options.file.empty()) {
    session.Print(absl::StrCat(written, "\n"));
    session.Note("first the token, which is shown this once; then the line of the server's --tokens file");
  } else {
    session.Note(absl::StrCat("the token is shown this once; its line was added to ", options.file,
                              ", which the server reads again at SIGHUP"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddToken(Command app, Action& action) {
  Command verb = app.AddVerb("token", "Make a token, and the line by which a server knows it", kServer,
                             "  mneme token model-server --grant 'read:wiki-*' --grant write:chat --file tokens\n"
                             "  mneme token tenant-7 --grant write:shared/7 --requests 200 --stored-entries 1000000\n"
                             "  mneme token prometheus --metrics --file tokens");
  auto options = std::make_shared<TokenOptions>();
  verb.AddOption("name", options->name, "Who it is for; two tokens of one name are valid together").Required().Type("");
  verb.AddOption("-g,--grant", options->grants, "read:, write: or admin: before a memory or a pattern, /PARTITIONS")
      .Type("GRANT");
  verb.AddFlag("--peer", options->peer, "For a process of the deployment itself: all that shards are asked");
  verb.AddFlag("--metrics", options->metrics, "May read /metrics and /config where the admin address asks who it is");
  const auto quota = [&verb](const char* name, uint64_t& value, const char* description) {
    verb.AddOption(name, value, description).Type("N").Range(uint64_t{0}, limits::kMaxQuota);
  };
  quota("--requests", options->requests, "Requests a second, at each front end; 0, here and below: no bound");
  quota("--entries", options->entries, "Entries written a second");
  quota("--bytes", options->bytes, "Bytes of requests a second");
  quota("--answered-bytes", options->answered_bytes, "Bytes of answers a second");
  quota("--stored-entries", options->stored_entries, "Adds nothing to a memory (partition) of so many entries");
  quota("--stored-bytes", options->stored_bytes, "Adds nothing to a memory (partition) of so many bytes");
  quota("--memories", options->memories, "Memories that there may be of the names that it may create");
  verb.AddOption("--file", options->file, "Add the line to this token file").Type("FILE");
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Token(*options, session); };
  });
}

}  // namespace mneme::cli
