#include "cluster/s3_settings.h"

#include <algorithm>
#include <cstddef>
#include <set>
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

// Without slashes at its end; behind its scheme nothing that is not of a host and a port, above all no user and no
// password.
bool IsEndpoint(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, "https://") && !absl::ConsumePrefix(&text, "http://")) return false;
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

constexpr char kEndpointBound[] = "of the form https://HOST[:PORT] or http://HOST[:PORT]";

// What stands for `name`; null when nothing is called so.
std::string* ValueOf(absl::string_view name, S3Settings& settings) {
  if (name == "endpoint") return &settings.endpoint;
  if (name == "region") return &settings.region;
  if (name == "access-key") return &settings.access_key;
  if (name == "secret-key") return &settings.secret_key;
  return name == "ca-file" ? &settings.ca_file : nullptr;
}

absl::Status AddLine(absl::string_view line, std::set<std::string>& given, S3Settings& settings) {
  const size_t equals = line.find('=');
  if (equals == absl::string_view::npos) return absl::InvalidArgumentError("is not NAME=VALUE");
  const absl::string_view name = absl::StripAsciiWhitespace(line.substr(0, equals));
  std::string value(absl::StripAsciiWhitespace(line.substr(equals + 1)));
  std::string* const into = ValueOf(name, settings);
  if (into == nullptr) {
    return absl::InvalidArgumentError(
        "names something else than endpoint, region, access-key, secret-key and ca-file");
  }
  if (value.empty()) return absl::InvalidArgumentError(absl::StrCat("has no value for ", name));
  if (!given.insert(std::string(name)).second) return absl::InvalidArgumentError(absl::StrCat("sets ", name, " again"));
  while (name == "endpoint" && absl::EndsWith(value, "/")) value.pop_back();
  if (name == "endpoint" && !IsEndpoint(value)) {
    return absl::InvalidArgumentError(absl::StrCat("has an endpoint that is not ", kEndpointBound));
  }
  if (name == "region" && !std::all_of(value.begin(), value.end(), IsPlain)) {
    return absl::InvalidArgumentError("has a region that is not of letters, digits and -_.");
  }
  *into = std::move(value);
  return absl::OkStatus();
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
  std::set<std::string> given;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(ToAbsl(text), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    const absl::Status status = AddLine(line, given, settings);
    if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("line ", number, " ", status.message()));
  }
  if (settings.endpoint.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("has no endpoint ", kEndpointBound));
  }
  if (settings.access_key.empty() || settings.secret_key.empty()) {
    return absl::InvalidArgumentError("lacks access-key or secret-key");
  }
  return settings;
}

}  // namespace mneme
