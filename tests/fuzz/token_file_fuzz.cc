// Token files and grants. A message repeats no digest and no token, whatever stands where.
#include "security/token_file.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "security/grant.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

enum Kind : uint8_t { kFile, kHeadedFile, kGrant, kKinds };

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

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  const std::string text(in.Rest());
  if (kind == kGrant) return GrantText(text);
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
          seed(kGrant, "write:chat/7,10-19")};
}

const Registration kTarget({"token_file", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
