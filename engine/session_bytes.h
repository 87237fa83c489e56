// A whole session as bytes that a client keeps and may give back (docs/formats.md). Pure.
#ifndef MNEME_ENGINE_SESSION_BYTES_H_
#define MNEME_ENGINE_SESSION_BYTES_H_

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "storage/states.h"

namespace mneme {

using NamedStates = std::map<std::string, StatePtr>;  // none is null

// Of states that lie in their payloads whole.
std::string EncodeSessionBytes(const NamedStates& states);
// INVALID_ARGUMENT when the bytes are damaged or no session, or hold what no session may.
absl::StatusOr<NamedStates> DecodeSessionBytes(std::string_view bytes);

}  // namespace mneme

#endif  // MNEME_ENGINE_SESSION_BYTES_H_
