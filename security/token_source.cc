#include "security/token_source.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "security/small_file.h"
#include "security/token.h"

namespace mneme {
namespace {

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  absl::StatusOr<SmallFile> file = ReadOperatorFile(path, limits::kMaxShownTokenFileBytes);
  if (!file.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("token file ", path, " ", file.status().message()));
  }
  std::string token = file->text.substr(0, file->text.find('\n'));
  absl::StripAsciiWhitespace(&token);
  const absl::Status status = CheckTokenText(token);
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("token file ", path, ": ", status.message()));
  return token;
}

}  // namespace

TokenSource::TokenSource(std::string path, std::string token)
    : path_(std::move(path)), token_(std::move(token)), read_at_(std::chrono::steady_clock::now()) {}

absl::StatusOr<std::shared_ptr<TokenSource>> TokenSource::OfText(const std::string& token) {
  RETURN_IF_ERROR(CheckTokenText(token));
  return std::shared_ptr<TokenSource>(new TokenSource("", token));
}

absl::StatusOr<std::shared_ptr<TokenSource>> TokenSource::OfFile(const std::string& path) {
  ASSIGN_OR_RETURN(std::string token, ReadToken(path));
  return std::shared_ptr<TokenSource>(new TokenSource(path, std::move(token)));
}

std::string TokenSource::Current() {
  MutexLock lock(&mutex_);
  const auto now = std::chrono::steady_clock::now();
  // A small file, seldom: whoever comes meanwhile waits for it.
  if (!path_.empty() && now - read_at_ >= kRereadAfter) {
    read_at_ = now;
    if (absl::StatusOr<std::string> token = ReadToken(path_); token.ok()) token_ = *std::move(token);
  }
  return token_;
}

}  // namespace mneme
