// AccessControl: who is known to this server. Without a token file everybody is, and may do everything.
#ifndef MNEME_SERVER_ACCESS_CONTROL_H_
#define MNEME_SERVER_ACCESS_CONTROL_H_

#include <grpcpp/server_context.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "security/decide.h"
#include "security/token_file.h"

namespace mneme {

// Who makes a call. Copies are cheap.
class Caller {
 public:
  // Nobody, who may do nothing.
  Caller() = default;

  // Null where nobody is asked who he is.
  const Principal* principal() const { return principal_; }
  // As Decide(), MayList().
  Decision Ask(const RpcRule* rule, absl::Span<const AccessTarget> targets) const;
  bool MayList(std::string_view memory) const;
  // What is told of the deployment as a whole.
  bool MayReadAll() const;

 private:
  friend class AccessControl;
  bool anybody_ = false;                      // nobody is asked who he is
  std::shared_ptr<const TokenTable> table_;   // that knew him
  const Principal* principal_ = nullptr;      // of that table
  std::optional<TokenDigest> digest_;         // what he showed: a token,
  std::string certificate_;                   // or a certificate of this name
};

// Thread-safe.
class AccessControl {
 public:
  // Errors of TokenTable::Read. An empty path: everybody may do everything.
  static absl::StatusOr<std::unique_ptr<AccessControl>> New(std::string token_file);

  // Reads the file again; after an error what was known goes on to be known. Returns how many lines it has.
  absl::StatusOr<size_t> Reload() ABSL_LOCKS_EXCLUDED(mutex_);

  // By the token of `authorization: Bearer TOKEN`, or else by a name in the verified certificate of the connection.
  // UNAUTHENTICATED, in the same words whatever was wrong.
  absl::StatusOr<Caller> Identify(const grpc::ServerContextBase& context) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether who sends this `authorization` header, or else has shown a verified certificate of these names, may read
  // the pages of the admin address (MayReadMetrics). Without a token file: everybody.
  bool MayReadPages(std::string_view authorization, const std::vector<std::string>& certificate) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Who he is by now: his grants may have changed since, and UNAUTHENTICATED when he is not known any more.
  absl::Status Refresh(Caller& caller) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  explicit AccessControl(std::string token_file) : token_file_(std::move(token_file)) {}

  std::shared_ptr<const TokenTable> table() const ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string token_file_;
  mutable Mutex mutex_;
  std::shared_ptr<const TokenTable> table_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mneme

#endif  // MNEME_SERVER_ACCESS_CONTROL_H_
