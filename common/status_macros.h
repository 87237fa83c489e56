// Early-return helpers for absl::Status and absl::StatusOr. The names are those that later Abseil versions use.
#ifndef MNEME_COMMON_STATUS_MACROS_H_
#define MNEME_COMMON_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define MNEME_CONCAT_INNER(a, b) a##b
#define MNEME_CONCAT(a, b) MNEME_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expr` is not OK.
#define RETURN_IF_ERROR(expr)                                   \
  do {                                                          \
    if (::absl::Status status_ = (expr); !status_.ok()) {       \
      return status_;                                           \
    }                                                           \
  } while (false)

// Declares or assigns `lhs` from the value of `expr`, or returns its error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_INNER(MNEME_CONCAT(statusor_, __LINE__), lhs, expr)

#define ASSIGN_OR_RETURN_INNER(statusor, lhs, expr) \
  auto statusor = (expr);                           \
  if (!statusor.ok()) {                             \
    return std::move(statusor).status();            \
  }                                                 \
  lhs = *std::move(statusor)

#endif  // MNEME_COMMON_STATUS_MACROS_H_
