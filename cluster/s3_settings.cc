#include "cluster/s3_settings.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/absl_view.h"
#include "common/limits.h"

namespace mneme {
namespace {

constexpr absl::string_view kScheme = "s3://";

// What needs no quoting, in a signature or out of it.
bool IsPlain(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.'; }

// Of an endpoint behind its scheme: nothing that is not of a host and a port, above all no user and no password.
bool IsHost(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == ':' || c == '[' ||
           c == ']';
  });
}

absl::Status BadAddress(std::string_view address) {
  return absl::InvalidArgumentError(absl::StrCat(
      "is \"", ToAbsl(address), "\"; must be s3://BUCKET or s3://BUCKET/PREFIX, of letters, digits and -_. (and / in "
      "the prefix), the bucket of at most ", limits::kMaxBucketBytes, " of them and the prefix of at most ",
      limits::kMaxPrefixBytes));
}

absl::Status AtLine(size_t line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, " ", what));
}

}  // namespace

absl::StatusOr<S3Address> ParseS3Address(std::string_view address) {
  absl::string_view rest = ToAbsl(address);
  if (!absl::ConsumePrefix(&rest, kScheme)) return BadAddress(address);
  const std::pair<std::string, std::string> parts = absl::StrSplit(rest, absl::MaxSplits('/', 1));
  S3Address parsed{parts.first, parts.second};
  while (absl::EndsWith(parsed.prefix, "/")) parsed.prefix.pop_back();
  const auto plain = [](const std::string& text, bool slashes) {
    return std::all_of(text.begin(), text.end(), [&](char c) { return IsPlain(c) || (slashes && c == '/'); });
  };
  const bool fits = !parsed.bucket.empty() && parsed.bucket.size() <= limits::kMaxBucketBytes &&
                    parsed.prefix.size() <= limits::kMaxPrefixBytes;
  const bool walks = absl::StartsWith(parsed.prefix, "/") || absl::StrContains(parsed.prefix, "//") ||
                     absl::StrContains(absl::StrCat("/", parsed.prefix, "/"), "/../") ||
                     absl::StrContains(absl::StrCat("/", parsed.prefix, "/"), "/./");
  if (fits && !walks && plain(parsed.bucket, false) && plain(parsed.prefix, true)) return parsed;
  return BadAddress(address);
}

absl::StatusOr<S3Settings> ParseS3Settings(std::string_view text) {
  S3Settings settings;
  size_t line = 0;
  for (absl::string_view each : absl::StrSplit(ToAbsl(text), '\n')) {
    ++line;
    each = absl::StripAsciiWhitespace(each);
    if (each.empty() || each.front() == '#') continue;
    const size_t equals = each.find('=');
    if (equals == absl::string_view::npos) return AtLine(line, "is not NAME=VALUE");
    const absl::string_view name = absl::StripAsciiWhitespace(each.substr(0, equals));
    const std::string value(absl::StripAsciiWhitespace(each.substr(equals + 1)));
    std::string* const into = name == "endpoint"     ? &settings.endpoint
                              : name == "region"     ? &settings.region
                              : name == "access-key" ? &settings.access_key
                              : name == "secret-key" ? &settings.secret_key
                              : name == "ca-file"    ? &settings.ca_file
                                                     : nullptr;
    if (into == nullptr) {
      return AtLine(line, "names something else than endpoint, region, access-key, secret-key and ca-file");
    }
    if (value.empty()) return AtLine(line, absl::StrCat("has no value for ", name));
    *into = value;
  }
  while (absl::EndsWith(settings.endpoint, "/")) settings.endpoint.pop_back();
  absl::string_view host = settings.endpoint;
  const bool has_scheme = absl::ConsumePrefix(&host, "https://") || absl::ConsumePrefix(&host, "http://");
  if (!has_scheme || !IsHost(host)) {
    return absl::InvalidArgumentError("has no endpoint of the form https://HOST[:PORT] or http://HOST[:PORT]");
  }
  if (!std::all_of(settings.region.begin(), settings.region.end(), IsPlain)) {
    return absl::InvalidArgumentError("has a region that is not of letters, digits and -_.");
  }
  if (settings.access_key.empty() || settings.secret_key.empty()) {
    return absl::InvalidArgumentError("lacks access-key or secret-key");
  }
  return settings;
}

}  // namespace mneme
