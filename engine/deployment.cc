#include "engine/deployment.h"

#include "engine/version.h"

namespace mneme {

std::string Deployment::EncodeVersion(const Version& version) const {
  return mneme::EncodeVersion(identity(), version);
}

absl::StatusOr<Version> Deployment::DecodeVersion(const MemoryHandle& memory, std::string_view bytes) const {
  return mneme::DecodeVersion(identity(), memory->number, bytes);
}

std::string Deployment::EncodeReceipt(const Version& receipt) const {
  return mneme::EncodeReceipt(identity(), receipt);
}

absl::StatusOr<Version> Deployment::DecodeReceipt(const MemoryHandle& memory, std::string_view text) const {
  return mneme::DecodeReceipt(identity(), memory->number, text);
}

std::string Deployment::EncodeScanPosition(const ScanPosition& position) const {
  return mneme::EncodeScanPosition(identity(), position);
}

absl::StatusOr<ScanPosition> Deployment::DecodeScanPosition(const MemoryHandle& memory, std::string_view bytes) const {
  return mneme::DecodeScanPosition(identity(), memory->number, bytes);
}

}  // namespace mneme
