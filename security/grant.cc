#include "security/grant.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/absl_view.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "security/token.h"

namespace mneme {
namespace {

std::optional<Right> RightOf(std::string_view word) {
  for (const Right right : {Right::kRead, Right::kWrite, Right::kAdmin}) {
    if (word == RightName(right)) return right;
  }
  return std::nullopt;
}

// What is as long as a token, or a digest, is not repeated: it may be one, put in the wrong place.
absl::Status Wrong(std::string_view text, absl::string_view why) {
  if (text.size() < limits::kMinTokenBytes) {
    return absl::InvalidArgumentError(absl::StrCat("\"", ToAbsl(text), "\" ", why));
  }
  const std::optional<Right> right = RightOf(text.substr(0, text.find(':')));
  const std::string what = right.has_value() ? absl::StrCat("\"", RightName(*right), ":...\"") : "a word";
  return absl::InvalidArgumentError(absl::StrCat(what, " of ", text.size(), " bytes ", why));
}

// As the name of a memory (server/convert_memory.h), and *.
bool IsPattern(std::string_view pattern) {
  if (pattern.empty() || pattern.size() > limits::kMaxMemoryNameBytes) return false;
  return std::all_of(pattern.begin(), pattern.end(), [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '.' || c == '_' || c == '-' || c == '*';
  });
}

// SimpleAtoi would take a sign and blanks.
bool ReadNumber(absl::string_view digits, uint64_t* out) {
  return !digits.empty() && std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) &&
         absl::SimpleAtoi(digits, out);
}

absl::StatusOr<std::vector<PartitionRange>> ParsePartitions(std::string_view grant, std::string_view text) {
  std::vector<PartitionRange> ranges;
  for (const absl::string_view part : absl::StrSplit(ToAbsl(text), ',')) {
    PartitionRange range;
    const size_t dash = part.find('-');
    const bool read = ReadNumber(part.substr(0, dash), &range.first) &&
                      (dash == absl::string_view::npos || ReadNumber(part.substr(dash + 1), &range.last));
    if (dash == absl::string_view::npos) range.last = range.first;
    if (!read || range.last < range.first) {
      return Wrong(grant, "names no partitions after the slash; must be numbers and ranges such as 7,10-19");
    }
    ranges.push_back(range);
  }
  if (ranges.size() > limits::kMaxGrantRanges) {
    return Wrong(grant, absl::StrCat("names ", ranges.size(), " partitions and ranges; must name at most ",
                                     limits::kMaxGrantRanges));
  }
  return ranges;
}

}  // namespace

const char* RightName(Right right) {
  switch (right) {
    case Right::kRead: return "read";
    case Right::kWrite: return "write";
    case Right::kAdmin: return "admin";
  }
  return "";
}

bool MatchesPattern(std::string_view pattern, std::string_view name) {
  size_t p = 0;
  size_t n = 0;
  // Where the last * was, and how far it reaches: on a mismatch it takes one character more.
  size_t star = std::string_view::npos;
  size_t taken = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++taken;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

absl::StatusOr<Grant> ParseGrant(std::string_view text) {
  Grant grant;
  const size_t colon = text.find(':');
  const std::optional<Right> right = RightOf(text.substr(0, colon));
  if (colon == std::string_view::npos || !right.has_value()) {
    return Wrong(
        text,
        "is no grant; must be read:, write: or admin: before a memory's name, in which * stands for any characters");
  }
  grant.right = *right;
  const std::string_view rest = text.substr(colon + 1);
  const size_t slash = rest.find('/');
  grant.memories = std::string(rest.substr(0, slash));
  if (!IsPattern(grant.memories)) {
    return Wrong(text, absl::StrCat("names no memories; a pattern has 1 to ", limits::kMaxMemoryNameBytes,
                                    " characters a-z, 0-9, '.', '_', '-', '*'"));
  }
  if (slash != std::string_view::npos) {
    ASSIGN_OR_RETURN(grant.partitions, ParsePartitions(text, rest.substr(slash + 1)));
  }
  return grant;
}

}  // namespace mneme
