// TokenSource: the token that a client shows. One in a file may be changed while the client runs.
#ifndef MNEME_SECURITY_TOKEN_SOURCE_H_
#define MNEME_SECURITY_TOKEN_SOURCE_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"

namespace mneme {

// Thread-safe.
class TokenSource {
 public:
  // INVALID_ARGUMENT when `token` cannot be one.
  static absl::StatusOr<std::shared_ptr<TokenSource>> OfText(const std::string& token);
  // The first line of a file; INVALID_ARGUMENT when it cannot be read or is no token. It is read again after
  // kRereadAfter, when somebody asks; while it cannot be read, the token is the one that it had.
  static absl::StatusOr<std::shared_ptr<TokenSource>> OfFile(const std::string& path);

  std::string Current() ABSL_LOCKS_EXCLUDED(mutex_);

  static constexpr std::chrono::seconds kRereadAfter{2};

 private:
  TokenSource(std::string path, std::string token);

  const std::string path_;  // empty: the text alone
  Mutex mutex_;
  std::string token_ ABSL_GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point read_at_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_SECURITY_TOKEN_SOURCE_H_
