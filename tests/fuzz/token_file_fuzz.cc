// Token files and grants. A message repeats no digest and no token, whatever stands where.
#include "security/token_file.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/limits.h"
#include "security/grant.h"
#include "security/token.h"
#include "security/token_source.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

enum Kind : uint8_t { kFile, kHeadedFile, kGrant, kLine, kShown, kKinds };

// Of a token, or a digest, that somebody put where it does not belong.
constexpr std::string_view kSecret = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

std::string Partitions(const std::vector<PartitionRange>& ranges) {
  std::string out;
  for (const PartitionRange& range : ranges) {
    absl::StrAppend(&out, out.empty() ? "/" : ",", range.first, "-", range.last);
  }
  return out;
}

bool GrantText(std::string_view text) {
  const AllocationBound bound(4096 + 16 * text.size());
  const auto grant = ParseGrant(text);
  if (!grant.ok()) {
    ExpectRefusal(grant.status(), {StatusCode::kInvalidArgument}, {"grant", "names"});
    return false;
  }
  Expect(grant->partitions.size() <= limits::kMaxGrantRanges, "ranges are bounded");
  const std::string again = absl::StrCat(RightName(grant->right), ":", grant->memories, Partitions(grant->partitions));
  const auto reread = ParseGrant(again);
  Expect(reread.ok() && reread->right == grant->right && reread->memories == grant->memories &&
             Partitions(reread->partitions) == Partitions(grant->partitions),
         "a grant is written so that it reads the same");
  Expect(MatchesPattern(grant->memories, grant->memories) || grant->memories.find('*') != std::string::npos,
         "a pattern without stars matches itself");
  static_cast<void>(MatchesPattern(grant->memories, "wiki-2024.chat"));
  return true;
}

bool File(const std::string& text) {
  const AllocationBound bound(64 * 1024 + 64 * text.size());
  const auto table = TokenTable::Parse(text);
  if (!table.ok()) {
    ExpectRefusal(table.status(), {StatusCode::kInvalidArgument},
                  {"line ", "has no line", "does not end", "one digest for both"});
    const std::string message(table.status().message());
    for (const std::string_view before : {"sha256:", "mneme_", "read:", "write:", "admin:"}) {
      Expect(message.find(absl::StrCat(std::string(before), std::string(kSecret))) == std::string::npos,
             "a message repeats no digest and no token");
    }
    return false;
  }
  for (const Principal& principal : table->principals()) {
    Expect(!principal.name.empty() && principal.name.size() <= limits::kMaxPrincipalNameBytes, "names are bounded");
    Expect(principal.grants.size() <= limits::kMaxGrants, "grants are bounded");
  }
  static_cast<void>(table->Find(DigestOf("mneme_nobody")));
  static_cast<void>(table->FindCertificate("nobody"));
  return true;
}

bool Same(const Principal& a, const Principal& b) {
  return a.name == b.name && a.peer == b.peer && a.metrics == b.metrics && a.grants.size() == b.grants.size() &&
         a.quota == b.quota && a.stored == b.stored;
}

// What a line is made of, as `mneme token` is given it: a name, a credential, and words.
bool Line(const std::string& text) {
  std::vector<std::string> words = absl::StrSplit(text, absl::MaxSplits('\n', 8));
  words.resize(std::max<size_t>(words.size(), 2));
  const auto line = TokenLine(words[0], words[1], {words.begin() + 2, words.end()});
  if (!line.ok()) {
    Expect(absl::IsInvalidArgument(line.status()) && !line.status().message().empty(), "what is no line is told");
    return false;
  }
  const std::string file = absl::StrCat("mneme-tokens 1\n", *line);
  const auto table = TokenTable::Parse(file);
  const auto read = TokenTable::Read(FileOf(file));
  Expect(table.ok() && read.ok() && table->principals().size() == 1 && read->principals().size() == 1 &&
             Same(table->principals().front(), read->principals().front()),
         "a line that was made is read, from a file too");
  return true;
}

// A file with the token that a client shows.
bool Shown(std::string_view text) {
  const std::string path = FileOf(text);
  const auto source = TokenSource::OfFile(path);
  if (!source.ok()) {
    ExpectRefusal(source.status(), {StatusCode::kInvalidArgument}, {path});
    return false;
  }
  const std::string token = (*source)->Current();
  Expect(!token.empty() && token.size() <= limits::kMaxTokenBytes && text.find(token) != std::string_view::npos,
         "a token is of its file");
  Expect(TokenSource::OfText(token).ok(), "it is one by itself");
  return true;
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  const std::string text(in.Rest());
  if (kind == kGrant) return GrantText(text);
  if (kind == kLine) return Line(text);
  if (kind == kShown) return Shown(text);
  return File(kind == kHeadedFile ? absl::StrCat("mneme-tokens 1\n", text, "\n") : text);
}

std::vector<std::string> Seeds() {
  const std::string digest = absl::StrCat("sha256:", std::string(kSecret));
  const std::string other = absl::StrCat("sha256:", HexOf(DigestOf("mneme_test")));
  const auto seed = [](Kind kind, const std::string& text) { return std::string(1, static_cast<char>(kind)) + text; };
  return {seed(kFile, absl::StrCat("# who may\n\nmneme-tokens 1\nalice ", digest, " read:wiki-* write:chat/7,10-19\n")),
          seed(kHeadedFile, absl::StrCat("alice ", digest, " admin:*\nalice ", other, " admin:*")),
          seed(kHeadedFile, absl::StrCat("job ", digest, " peer requests/s:100 entries/s:5 bytes/s:1000 write:a\n# x")),
          seed(kHeadedFile, "host certificate:front.example.org read:wiki"),
          seed(kGrant, "read:wiki-*"),
          seed(kGrant, "write:chat/7,10-19"),
          seed(kHeadedFile, absl::StrCat("bob ", digest, " metrics answered-bytes/s:9 stored-entries:5 stored-bytes:6 "
                                         "memories:2 admin:a*\njob ", other, " read:*")),
          seed(kLine, absl::StrCat("alice\n", digest, "\nread:wiki-*\npeer\nrequests/s:100")),
          seed(kLine, "host\ncertificate:front.example.org"),
          seed(kShown, "mneme_0123456789abcdef\nwritten down for the front end\n")};
}

const Registration kTarget({"token_file", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
