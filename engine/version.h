// Encodings of what the engine hands out as opaque bytes: versions and scan positions (docs/formats.md).
#ifndef MNEME_ENGINE_VERSION_H_
#define MNEME_ENGINE_VERSION_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/commands.h"

namespace mneme {

// `deployment` tells a version of this data directory from that of another, or of one restored elsewhere.
std::string EncodeVersion(uint64_t deployment, const Version& version);

// INVALID_ARGUMENT when the bytes are no version; FAILED_PRECONDITION when they are of another deployment or memory.
absl::StatusOr<Version> DecodeVersion(uint64_t deployment, MemoryNumber memory, std::string_view bytes);

// A receipt of a deletion is a version, too, with the sequences of the deletion itself; as text, in URL-safe base64.
std::string EncodeReceipt(uint64_t deployment, const Version& receipt);
// As DecodeVersion(); INVALID_ARGUMENT, too, without a part.
absl::StatusOr<Version> DecodeReceipt(uint64_t deployment, MemoryNumber memory, std::string_view text);

std::string EncodeScanPosition(uint64_t deployment, const ScanPosition& position);
absl::StatusOr<ScanPosition> DecodeScanPosition(uint64_t deployment, MemoryNumber memory, std::string_view bytes);

// The outcome of a write as it is remembered with its request id.
struct RememberedOutcome {
  uint64_t count = 0;     // inserted, or deleted
  uint64_t other = 0;     // replaced, or absent
  Row first_row = 0;      // of the rows that were given
  bool gave_ids = false;  // ids were given by the server, from first_row on
};
std::string EncodeOutcome(const RememberedOutcome& outcome);
// DATA_LOSS when the bytes are no outcome.
absl::StatusOr<RememberedOutcome> DecodeOutcome(std::string_view bytes);

}  // namespace mneme

#endif  // MNEME_ENGINE_VERSION_H_
