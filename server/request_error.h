// Errors as a client reads them: an absl::Status whose payloads are the google.rpc details that travel with it.
//
// A payload's type URL is the one that google.rpc.Status carries, so grpc_status.h has nothing to interpret. Messages say
// what, which and bound ("k is 5000; must be in [1, 4096]") and never repeat a key or a value of an entry.
#ifndef MNEME_SERVER_REQUEST_ERROR_H_
#define MNEME_SERVER_REQUEST_ERROR_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace mneme {

// Reasons of google.rpc.ErrorInfo, domain "mneme.v1". Clients switch on them: do not rename.
namespace reason {
inline constexpr char kMalformedRequest[] = "MALFORMED_REQUEST";
inline constexpr char kInvalidField[] = "INVALID_FIELD";
inline constexpr char kResponseTooLarge[] = "RESPONSE_TOO_LARGE";
inline constexpr char kMemoryNotFound[] = "MEMORY_NOT_FOUND";
inline constexpr char kEntryNotFound[] = "ENTRY_NOT_FOUND";
inline constexpr char kMemoryExists[] = "MEMORY_EXISTS";
inline constexpr char kFingerprintMismatch[] = "FINGERPRINT_MISMATCH";
inline constexpr char kSequenceGap[] = "SEQUENCE_GAP";
inline constexpr char kQueueFull[] = "QUEUE_FULL";
inline constexpr char kMemoryLimit[] = "MEMORY_LIMIT";
inline constexpr char kStorageFull[] = "STORAGE_FULL";
inline constexpr char kStarting[] = "STARTING";
inline constexpr char kDraining[] = "DRAINING";
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
absl::Status WithReason(absl::Status status, const std::string& reason,
                        const std::map<std::string, std::string>& metadata = {});
absl::Status WithRetry(absl::Status status, absl::Duration delay);
absl::Status WithResource(absl::Status status, const std::string& type, const std::string& name);
absl::Status WithPrecondition(absl::Status status, const std::string& type, const std::string& subject);

// The reason attached to `status`, or the one that its code implies.
std::string ReasonOf(const absl::Status& status);

}  // namespace mneme

#endif  // MNEME_SERVER_REQUEST_ERROR_H_
