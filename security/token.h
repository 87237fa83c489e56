// Token: what a client shows to be known, 32 random bytes as text. Who checks it keeps its SHA-256 alone.
#ifndef MNEME_SECURITY_TOKEN_H_
#define MNEME_SECURITY_TOKEN_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mneme {

// SHA-256 of a token's text.
using TokenDigest = std::array<uint8_t, 32>;

// What every token that is made here begins with, so that scanners find one that leaked.
inline constexpr std::string_view kTokenPrefix = "mneme_";

// 256 bits from the system's generator in base64url, behind the prefix. INTERNAL when there are none.
absl::StatusOr<std::string> NewToken();
TokenDigest DigestOf(std::string_view token);
// Takes the same time wherever they differ.
bool SameDigest(const TokenDigest& a, const TokenDigest& b);

// 64 lower-case hexadecimal digits; INVALID_ARGUMENT for anything else.
std::string HexOf(const TokenDigest& digest);
absl::StatusOr<TokenDigest> DigestFromHex(std::string_view hex);

// INVALID_ARGUMENT unless `token` can travel in a header (RFC 6750: letters, digits, "-._~+/=") and is of a length in
// [limits::kMinTokenBytes, limits::kMaxTokenBytes]. The message says nothing of what is in it.
absl::Status CheckTokenText(std::string_view token);

}  // namespace mneme

#endif  // MNEME_SECURITY_TOKEN_H_
