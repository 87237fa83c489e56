#include "client/cli/first_id.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "client/cli/exit_code.h"
#include "client/cli/progress.h"
#include "common/limits.h"
#include "common/option_text.h"
#include "common/status_macros.h"

namespace mneme::cli {

absl::StatusOr<uint64_t> IdAfterLargest(const std::string& memory, uint64_t partition, Session& session) {
  v1::CountRequest count_request;
  count_request.set_memory(memory);
  count_request.mutable_partitions()->add_partitions(partition);
  ASSIGN_OR_RETURN(const v1::CountResponse count, session.memory().Count(count_request));
  if (count.count() == 0) return 0;
  v1::ScanRequest request;
  request.set_memory(memory);
  *request.mutable_partitions() = count_request.partitions();
  Progress progress(session.live(), "read the ids of " + memory, "entries", count.count());
  uint64_t next = 0;
  uint64_t seen = 0;
  RETURN_IF_ERROR(session.memory().Scan(request, [&](v1::ScanResponse& page) {
    for (const uint64_t id : UnpackColumn<uint64_t>(page.entries().ids())) {
      if (id < limits::kFirstServerId) next = std::max(next, id + 1);
      ++seen;
    }
    progress.Set(seen);
    return absl::OkStatus();
  }));
  return next;
}

bool IsFirstId(const std::string& text) {
  return text == kAppend || ReadNumber(text, uint64_t{0}, limits::kFirstServerId - 1).has_value();
}

absl::StatusOr<uint64_t> FirstId(const std::string& given, uint64_t rows, const std::string& memory,
                                 uint64_t partition, Session& session) {
  uint64_t first = 0;
  if (given == kAppend) {
    ASSIGN_OR_RETURN(first, IdAfterLargest(memory, partition, session));
  } else if (!absl::SimpleAtoi(given, &first)) {
    return UsageError(NotTaken("--first-id", given, kFirstIdBound));
  }
  if (first <= limits::kFirstServerId && rows <= limits::kFirstServerId - first) return first;
  return UsageError(absl::StrCat("ids from ", first, " on for ", rows, " rows do not end below 2^62"));
}

}  // namespace mneme::cli
