// Errors as a client reads them: an absl::Status whose payloads are the google.rpc details that travel with it.
//
// A detail's payload has the type URL under which google.rpc.Status carries it, so grpc_status.h has little to
// interpret; a reason alone is attached by common/error_reason.h, which the engine uses too. Messages say
// what, which and bound ("k is 5000; must be in [1, 4096]") and never repeat a key or a value of an entry.
#ifndef MNEME_SERVER_REQUEST_ERROR_H_
#define MNEME_SERVER_REQUEST_ERROR_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/error_reason.h"

namespace mneme {

// Reasons of google.rpc.ErrorInfo, domain "mneme.v1", beside those of common/error_reason.h. Clients switch on them: do
// not rename.
namespace reason {
inline constexpr std::string_view kMalformedRequest = "MALFORMED_REQUEST";
inline constexpr std::string_view kInvalidField = "INVALID_FIELD";
inline constexpr std::string_view kResponseTooLarge = "RESPONSE_TOO_LARGE";
inline constexpr std::string_view kEntryNotFound = "ENTRY_NOT_FOUND";
inline constexpr std::string_view kFingerprintMismatch = "FINGERPRINT_MISMATCH";
inline constexpr std::string_view kSequenceGap = "SEQUENCE_GAP";
inline constexpr std::string_view kStarting = "STARTING";
inline constexpr std::string_view kDraining = "DRAINING";
inline constexpr std::string_view kAnswerNotTaken = "ANSWER_NOT_TAKEN";
}  // namespace reason

// Gathers what is wrong with the fields of one request; keeps the first limits::kMaxViolations. Not thread-safe.
class FieldErrors {
 public:
  // `field` is a path ("entries.keys[3]"), `what` the rest of the sentence ("has a NaN at component 17").
  void Add(const std::string& field, const std::string& what);
  bool empty() const { return violations_.empty(); }
  // True when nothing more would be kept.
  bool full() const;
  // OK when empty, else INVALID_ARGUMENT with a BadRequest; the message is the first violation.
  absl::Status ToStatus() const;

 private:
  std::vector<std::pair<std::string, std::string>> violations_;  // field, whole sentence
};

// INVALID_ARGUMENT for one field.
absl::Status FieldError(const std::string& field, const std::string& what);

// Attach a detail to an error. An OK status is returned as it is.
absl::Status WithErrorInfo(absl::Status status, std::string_view reason,
                           const std::map<std::string, std::string>& metadata);
absl::Status WithRetry(absl::Status status, absl::Duration delay);
absl::Status WithResource(absl::Status status, const std::string& type, const std::string& name);
absl::Status WithPrecondition(absl::Status status, std::string_view type, const std::string& subject);

// What a quota that refuses something is, and how much of it is used. `caller` is a name of the token file.
struct UsedQuota {
  std::string caller;
  std::string word;  // as the token file calls it, "stored-entries"
  uint64_t bound = 0;
  uint64_t used = 0;
};
// An ErrorInfo with `reason` and these, and a QuotaFailure.
absl::Status WithQuota(absl::Status status, std::string_view reason, const UsedQuota& quota);
// The word of the quota that refused, or "" where none did.
std::string QuotaOf(const absl::Status& status);

// The reason attached to `status`, or the one that its code implies.
std::string ErrorReason(const absl::Status& status);

}  // namespace mneme

#endif  // MNEME_SERVER_REQUEST_ERROR_H_
