#include "security/token_file.h"

#include <sys/stat.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/absl_view.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "security/small_file.h"

namespace mneme {
namespace {

constexpr absl::string_view kSha256 = "sha256:";
constexpr absl::string_view kCertificate = "certificate:";

absl::Status CheckName(absl::string_view name) {
  const bool good = !name.empty() && name.size() <= limits::kMaxPrincipalNameBytes &&
                    std::all_of(name.begin(), name.end(), [](char c) {
                      return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-' || c == '@';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a name has 1 to ", limits::kMaxPrincipalNameBytes,
                                                 " letters, digits, '.', '_', '-', '@'"));
}

// Of a quota in a message: a number fits, a token that somebody put there does not.
constexpr size_t kShown = 20;

// The number behind `prefix` in `word` becomes `bound`. False when `word` begins otherwise.
template <typename Number>
absl::StatusOr<bool> ReadBound(absl::string_view word, absl::string_view prefix, Number& bound) {
  absl::string_view digits = word;
  if (!absl::ConsumePrefix(&digits, prefix)) return false;
  uint64_t number = 0;
  const bool whole = std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit);
  if (!whole || !absl::SimpleAtoi(digits, &number) || number == 0 || number > limits::kMaxQuota) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", word.substr(0, kShown), word.size() > kShown ? ".." : "",
                     "\" gives no number in [1, ", limits::kMaxQuota, "]"));
  }
  if (bound != 0) return absl::InvalidArgumentError(absl::StrCat("gives ", prefix, " twice"));
  bound = static_cast<Number>(number);
  return true;
}

constexpr std::pair<const char*, double Quota::*> kRates[] = {{"requests/s:", &Quota::requests},
                                                              {"entries/s:", &Quota::entries},
                                                              {"bytes/s:", &Quota::bytes},
                                                              {"answered-bytes/s:", &Quota::answered}};
constexpr std::pair<const char*, uint64_t StoredBounds::*> kBounds[] = {{"stored-entries:", &StoredBounds::entries},
                                                                        {"stored-bytes:", &StoredBounds::bytes},
                                                                        {"memories:", &StoredBounds::memories}};

// "requests/s:100" and the like. False when `word` is none of them.
absl::StatusOr<bool> ReadQuota(absl::string_view word, Principal& principal) {
  for (const auto& [prefix, member] : kRates) {
    ASSIGN_OR_RETURN(const bool taken, ReadBound(word, prefix, principal.quota.*member));
    if (taken) return true;
  }
  for (const auto& [prefix, member] : kBounds) {
    ASSIGN_OR_RETURN(const bool taken, ReadBound(word, prefix, principal.stored.*member));
    if (taken) return true;
  }
  return false;
}

bool IsBefore(const std::pair<TokenDigest, size_t>& a, const std::pair<TokenDigest, size_t>& b) {
  return a.first < b.first;
}

// The first bytes of a digest find it, and tell nothing of a token: nobody chooses them. The rest is compared in
// constant time.
uint64_t HeadOf(const TokenDigest& digest) {
  uint64_t head = 0;
  for (size_t i = 0; i < sizeof(head); ++i) head = head << 8 | digest[i];
  return head;
}

}  // namespace

absl::Status TokenTable::AddCredential(std::string_view text) {
  const size_t line = principals_.size();
  absl::string_view credential = ToAbsl(text);
  if (absl::ConsumePrefix(&credential, kSha256)) {
    ASSIGN_OR_RETURN(const TokenDigest digest, DigestFromHex(ToStd(credential)));
    digests_.emplace_back(digest, line);
    return absl::OkStatus();
  }
  if (absl::ConsumePrefix(&credential, kCertificate)) {
    if (credential.empty() || credential.size() > limits::kMaxPrincipalNameBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("a certificate's name has 1 to ", limits::kMaxPrincipalNameBytes, " characters"));
    }
    if (certificates_.emplace(std::string(credential), line).second) return absl::OkStatus();
    return absl::InvalidArgumentError("names a certificate that an earlier line has");
  }
  return absl::InvalidArgumentError("has no sha256: or certificate: after the name");
}

absl::Status TokenTable::AddWord(std::string_view word, Principal& principal) const {
  if (word == "peer") {
    principal.peer = true;
    return absl::OkStatus();
  }
  if (word == "metrics") {
    principal.metrics = true;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const bool is_quota, ReadQuota(ToAbsl(word), principal));
  if (is_quota) return absl::OkStatus();
  if (principal.grants.size() >= limits::kMaxGrants) {
    return absl::InvalidArgumentError(absl::StrCat("has more than ", limits::kMaxGrants, " grants"));
  }
  ASSIGN_OR_RETURN(Grant grant, ParseGrant(word));
  principal.grants.push_back(std::move(grant));
  return absl::OkStatus();
}

absl::Status TokenTable::AddLine(std::string_view line) {
  const std::vector<absl::string_view> words = absl::StrSplit(ToAbsl(line), absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (words.size() < 2) return absl::InvalidArgumentError("must be a name, a credential and grants");
  if (principals_.size() >= limits::kMaxPrincipals) {
    return absl::InvalidArgumentError(absl::StrCat("is one more than ", limits::kMaxPrincipals));
  }
  RETURN_IF_ERROR(CheckName(words[0]));
  RETURN_IF_ERROR(AddCredential(ToStd(words[1])));
  Principal principal;
  principal.name = std::string(words[0]);
  for (size_t i = 2; i < words.size(); ++i) RETURN_IF_ERROR(AddWord(ToStd(words[i]), principal));
  for (const Principal& other : principals_) {
    if (other.name == principal.name && (other.quota != principal.quota || other.stored != principal.stored)) {
      return absl::InvalidArgumentError("differs in its quota from an earlier line of the same name, which shares it");
    }
  }
  principals_.push_back(std::move(principal));
  return absl::OkStatus();
}

absl::StatusOr<TokenTable> TokenTable::Parse(std::string_view text) {
  if (text.size() > limits::kMaxTokenFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", text.size(), " bytes; must have at most ", limits::kMaxTokenFileBytes));
  }
  if (text.empty() || text.back() != '\n') return absl::InvalidArgumentError("does not end with a whole line");
  TokenTable table;
  bool headed = false;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(ToAbsl(text.substr(0, text.size() - 1)), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    absl::Status status;
    if (headed) {
      status = table.AddLine(ToStd(line));
    } else if (line != ToAbsl(kTokenFileHeader)) {
      status = absl::InvalidArgumentError(absl::StrCat("must be \"", ToAbsl(kTokenFileHeader), "\", before any other"));
    }
    headed = true;
    if (status.ok()) continue;
    return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", status.message()));
  }
  if (!headed) return absl::InvalidArgumentError(absl::StrCat("has no line \"", ToAbsl(kTokenFileHeader), "\""));
  std::sort(table.digests_.begin(), table.digests_.end(), IsBefore);
  for (size_t i = 1; i < table.digests_.size(); ++i) {
    if (table.digests_[i - 1].first != table.digests_[i].first) continue;
    return absl::InvalidArgumentError(absl::StrCat("has one digest for both \"",
                                                   table.principals_[table.digests_[i - 1].second].name, "\" and \"",
                                                   table.principals_[table.digests_[i].second].name, "\""));
  }
  return table;
}

absl::StatusOr<TokenTable> TokenTable::Read(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadTokenFile(path));
  absl::StatusOr<TokenTable> table = Parse(text);
  if (table.ok()) return table;
  return absl::InvalidArgumentError(absl::StrCat("token file ", path, " ", table.status().message()));
}

const Principal* TokenTable::Find(const TokenDigest& digest) const {
  const uint64_t head = HeadOf(digest);
  auto at = std::lower_bound(digests_.begin(), digests_.end(), head,
                             [](const auto& each, uint64_t wanted) { return HeadOf(each.first) < wanted; });
  for (; at != digests_.end() && HeadOf(at->first) == head; ++at) {
    if (SameDigest(at->first, digest)) return &principals_[at->second];
  }
  return nullptr;
}

const Principal* TokenTable::FindCertificate(std::string_view name) const {
  const auto at = certificates_.find(ToAbsl(name));
  return at == certificates_.end() ? nullptr : &principals_[at->second];
}

absl::StatusOr<std::string> ReadTokenFile(const std::string& path) {
  absl::StatusOr<SmallFile> file = ReadOperatorFile(path, limits::kMaxTokenFileBytes);
  if (!file.ok()) {
    return absl::Status(file.status().code(), absl::StrCat("token file ", path, " ", file.status().message()));
  }
  if ((file->mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("token file ", path, " may be written by its group or by anybody",
                                                      ", who could grant himself everything; chmod go-w it"));
  }
  return std::move(file->text);
}

absl::StatusOr<std::string> TokenLine(const std::string& name, const std::string& credential,
                                      const std::vector<std::string>& words) {
  std::string line = absl::StrCat(name, " ", credential);
  if (!words.empty()) absl::StrAppend(&line, " ", absl::StrJoin(words, " "));
  absl::StrAppend(&line, "\n");
  const absl::StatusOr<TokenTable> read = TokenTable::Parse(absl::StrCat(ToAbsl(kTokenFileHeader), "\n", line));
  if (!read.ok()) {
    return absl::InvalidArgumentError(absl::StripPrefix(read.status().message(), "line 2: "));
  }
  if (read->principals().size() != 1) return absl::InvalidArgumentError("a name begins no comment");
  return line;
}

}  // namespace mneme
