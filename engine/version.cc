#include "engine/version.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

constexpr uint8_t kVersionFormat = 1;
constexpr uint8_t kScanFormat = 2;
constexpr uint8_t kReceiptFormat = 3;
constexpr uint8_t kOutcomeFormat = 1;

template <typename T>
void Put(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

// Takes a T off the front of `in`; false when there is not enough.
template <typename T>
bool Take(std::string_view& in, T& value) {
  if (in.size() < sizeof(T)) return false;
  std::memcpy(&value, in.data(), sizeof(T));
  in.remove_prefix(sizeof(T));
  return true;
}

// The common head of opaque bytes: format, deployment, memory.
void PutHead(std::string& out, uint8_t format, uint64_t deployment, MemoryNumber memory) {
  Put(out, format);
  Put(out, deployment);
  Put(out, memory);
}

absl::Status TakeHead(std::string_view& in, const std::string& what, uint8_t format, uint64_t deployment,
                      MemoryNumber memory) {
  uint8_t stored_format = 0;
  uint64_t stored_deployment = 0;
  MemoryNumber stored_memory = 0;
  if (!Take(in, stored_format) || stored_format != format || !Take(in, stored_deployment) || !Take(in, stored_memory)) {
    return absl::InvalidArgumentError(absl::StrCat(what, " is malformed; present the bytes that an answer gave"));
  }
  if (stored_deployment != deployment) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(what, " is of another deployment")),
                      reason::kForeignVersion);
  }
  if (stored_memory != memory) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(what, " is of another memory, or of one that was dropped")),
        reason::kForeignVersion);
  }
  return absl::OkStatus();
}

std::string EncodeParts(uint8_t format, uint64_t deployment, const Version& version) {
  std::string out;
  PutHead(out, format, deployment, version.memory);
  for (const Version::Part& part : version.parts) {
    Put(out, static_cast<uint16_t>(part.shard));
    Put(out, part.sequence);
  }
  return out;
}

absl::StatusOr<Version> DecodeParts(const std::string& what, uint8_t format, uint64_t deployment, MemoryNumber memory,
                                    std::string_view bytes) {
  RETURN_IF_ERROR(TakeHead(bytes, what, format, deployment, memory));
  Version version;
  version.memory = memory;
  while (!bytes.empty()) {
    uint16_t shard = 0;
    Version::Part part;
    const bool whole = Take(bytes, shard) && Take(bytes, part.sequence) && shard < limits::kMaxShards;
    const bool ascends = version.parts.empty() || version.parts.back().shard < shard;
    if (!whole || !ascends) {
      return absl::InvalidArgumentError(absl::StrCat(what, " is malformed; present the bytes that an answer gave"));
    }
    part.shard = shard;
    version.parts.push_back(part);
  }
  return version;
}

}  // namespace

std::string EncodeVersion(uint64_t deployment, const Version& version) {
  return EncodeParts(kVersionFormat, deployment, version);
}

absl::StatusOr<Version> DecodeVersion(uint64_t deployment, MemoryNumber memory, std::string_view bytes) {
  return DecodeParts("version", kVersionFormat, deployment, memory, bytes);
}

std::string EncodeReceipt(uint64_t deployment, const Version& receipt) {
  return absl::WebSafeBase64Escape(EncodeParts(kReceiptFormat, deployment, receipt));
}

absl::StatusOr<Version> DecodeReceipt(uint64_t deployment, MemoryNumber memory, std::string_view text) {
  std::string bytes;
  const bool decoded = absl::WebSafeBase64Unescape(absl::string_view(text.data(), text.size()), &bytes);
  if (!decoded) return absl::InvalidArgumentError("receipt is malformed; present the text that a deletion gave");
  ASSIGN_OR_RETURN(Version receipt, DecodeParts("receipt", kReceiptFormat, deployment, memory, bytes));
  if (receipt.parts.empty()) return absl::InvalidArgumentError("receipt names no shard");
  return receipt;
}

std::string EncodeScanPosition(uint64_t deployment, const ScanPosition& position) {
  std::string out;
  PutHead(out, kScanFormat, deployment, position.memory);
  Put(out, position.shard);
  Put(out, position.partition);
  Put(out, position.row);
  return out;
}

absl::StatusOr<ScanPosition> DecodeScanPosition(uint64_t deployment, MemoryNumber memory, std::string_view bytes) {
  RETURN_IF_ERROR(TakeHead(bytes, "page_token", kScanFormat, deployment, memory));
  ScanPosition position;
  position.memory = memory;
  if (!Take(bytes, position.shard) || !Take(bytes, position.partition) || !Take(bytes, position.row) ||
      !bytes.empty()) {
    return absl::InvalidArgumentError("page_token is malformed; present the bytes that an answer gave");
  }
  return position;
}

std::string EncodeOutcome(const RememberedOutcome& outcome) {
  std::string out;
  Put(out, kOutcomeFormat);
  Put(out, outcome.count);
  Put(out, outcome.other);
  Put(out, outcome.first_row);
  Put(out, static_cast<uint8_t>(outcome.gave_ids ? 1 : 0));
  return out;
}

absl::StatusOr<RememberedOutcome> DecodeOutcome(std::string_view bytes) {
  uint8_t format = 0;
  uint8_t gave_ids = 0;
  RememberedOutcome outcome;
  if (!Take(bytes, format) || format != kOutcomeFormat || !Take(bytes, outcome.count) || !Take(bytes, outcome.other) ||
      !Take(bytes, outcome.first_row) || !Take(bytes, gave_ids) || gave_ids > 1 || !bytes.empty()) {
    return absl::DataLossError("a remembered outcome is damaged");
  }
  outcome.gave_ids = gave_ids != 0;
  return outcome;
}

}  // namespace mneme
