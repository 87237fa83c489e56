// RunInOrder: several requests in flight, their answers taken in order.
#ifndef MNEME_CLIENT_CLI_ORDERED_H_
#define MNEME_CLIENT_CLI_ORDERED_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <future>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/status_macros.h"

namespace mneme::cli {

// Requests in flight: enough to hide the way there and back and to keep two cores of a server busy.
inline constexpr size_t kInFlight = 3;

// Calls fetch(i) for i in [0, count), up to kInFlight at once on threads of their own, and hands the results to
// consume(i, result) on this thread in the order of i. Stops at the first error, which it returns.
template <typename Result>
absl::Status RunInOrder(size_t count, const std::function<absl::StatusOr<Result>(size_t)>& fetch,
                        const std::function<absl::Status(size_t, Result)>& consume) {
  std::deque<std::future<absl::StatusOr<Result>>> in_flight;  // futures of async wait when they are destroyed
  for (size_t next = 0, done = 0; done < count; ++done) {
    for (; next < count && in_flight.size() < kInFlight; ++next) {
      in_flight.push_back(std::async(std::launch::async, fetch, next));
    }
    ASSIGN_OR_RETURN(Result result, in_flight.front().get());
    in_flight.pop_front();
    RETURN_IF_ERROR(consume(done, std::move(result)));
  }
  return absl::OkStatus();
}

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_ORDERED_H_
