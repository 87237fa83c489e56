// TokenFile: who is known to a server and what each may do, as its operator writes it down (docs/formats.md, "The token
// file"). It holds digests of tokens and no token.
#ifndef MNEME_SECURITY_TOKEN_FILE_H_
#define MNEME_SECURITY_TOKEN_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "security/grant.h"
#include "security/token.h"

namespace mneme {

// The first line, which a file that was cut short or is none of ours does not have.
inline constexpr std::string_view kTokenFileHeader = "mneme-tokens 1";

// Immutable. What Find returns lives as long as the table.
class TokenTable {
 public:
  // INVALID_ARGUMENT names the line and what is wrong with it, and repeats no digest.
  static absl::StatusOr<TokenTable> Parse(std::string_view text);
  // Errors of Parse and ReadTokenFile, with the path.
  static absl::StatusOr<TokenTable> Read(const std::string& path);

  // Null when nobody has it.
  const Principal* Find(const TokenDigest& digest) const;
  // By a name in a verified certificate.
  const Principal* FindCertificate(std::string_view name) const;

  const std::vector<Principal>& principals() const { return principals_; }

 private:
  using Digests = std::vector<std::pair<TokenDigest, size_t>>;

  absl::Status AddLine(std::string_view line);
  absl::Status AddCredential(std::string_view text);
  absl::Status AddWord(std::string_view word, Principal& principal) const;

  std::vector<Principal> principals_;  // one a line
  Digests digests_;                    // ascending once it is read; the number of its line among principals_
  absl::flat_hash_map<std::string, size_t> certificates_;
};

// The text of the file. NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT when it cannot be read (ReadOperatorFile);
// FAILED_PRECONDITION when anybody but its owner may write it.
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);

// A line of the file: `credential` is "sha256:..." or "certificate:...". INVALID_ARGUMENT as Parse.
absl::StatusOr<std::string> TokenLine(const std::string& name, const std::string& credential,
                                      const std::vector<std::string>& words);

}  // namespace mneme

#endif  // MNEME_SECURITY_TOKEN_FILE_H_
