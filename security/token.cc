#include "security/token.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"

namespace mneme {
namespace {

constexpr size_t kRandomBytes = 32;

bool MayTravel(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("-._~+/=").find(c) != std::string_view::npos;
}

bool IsHexDigit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

}  // namespace

absl::StatusOr<std::string> NewToken() {
  std::array<uint8_t, kRandomBytes> bytes;
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    return absl::InternalError("the system's generator gave no random bytes");
  }
  const absl::string_view view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return absl::StrCat(std::string(kTokenPrefix), absl::WebSafeBase64Escape(view));
}

TokenDigest DigestOf(std::string_view token) {
  TokenDigest digest;
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest.data());
  return digest;
}

bool SameDigest(const TokenDigest& a, const TokenDigest& b) { return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

std::string HexOf(const TokenDigest& digest) {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

absl::StatusOr<TokenDigest> DigestFromHex(std::string_view hex) {
  TokenDigest digest;
  if (hex.size() != 2 * digest.size() || !std::all_of(hex.begin(), hex.end(), IsHexDigit)) {
    return absl::InvalidArgumentError(absl::StrCat("a digest has ", 2 * digest.size(), " digits 0-9, a-f"));
  }
  const std::string bytes = absl::HexStringToBytes(absl::string_view(hex.data(), hex.size()));
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

absl::Status CheckTokenText(std::string_view token) {
  if (token.size() < limits::kMinTokenBytes || token.size() > limits::kMaxTokenBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a token has ", token.size(), " characters; must have [",
                                                   limits::kMinTokenBytes, ", ", limits::kMaxTokenBytes, "]"));
  }
  if (std::all_of(token.begin(), token.end(), MayTravel)) return absl::OkStatus();
  return absl::InvalidArgumentError("a token has a character that is none of letters, digits and -._~+/=");
}

}  // namespace mneme
