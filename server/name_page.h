// NamePage: pages of what is listed by name.
#ifndef MNEME_SERVER_NAME_PAGE_H_
#define MNEME_SERVER_NAME_PAGE_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_memory.h"
#include "server/request_error.h"

namespace mneme {

// How many items the page of `request` has at most. A token is the last name of the page before. INVALID_ARGUMENT.
template <typename Request>
absl::StatusOr<size_t> ReadNamePage(const Request& request) {
  if (request.page_size() > limits::kMaxMemoriesPage) {
    return FieldError("page_size",
                      absl::StrCat("is ", request.page_size(), "; must be at most ", limits::kMaxMemoriesPage));
  }
  if (!request.page_token().empty()) RETURN_IF_ERROR(CheckMemoryName("page_token", request.page_token()));
  return request.page_size() == 0 ? limits::kMaxMemoriesPage : size_t{request.page_size()};
}

}  // namespace mneme

#endif  // MNEME_SERVER_NAME_PAGE_H_
