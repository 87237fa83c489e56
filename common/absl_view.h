// Abseil's string_view of a std::string_view, and back: in the version that Debian 12 has they are two types, of which
// neither becomes the other by itself.
#ifndef MNEME_COMMON_ABSL_VIEW_H_
#define MNEME_COMMON_ABSL_VIEW_H_

#include <string_view>

#include "absl/strings/string_view.h"

namespace mneme {

inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

}  // namespace mneme

#endif  // MNEME_COMMON_ABSL_VIEW_H_
