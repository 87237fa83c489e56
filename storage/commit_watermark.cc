#include "storage/commit_watermark.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "storage/files.h"
#include "storage/format.h"

namespace mneme {
namespace {

// Both slots; nullopt for a damaged one or one never written.
std::array<std::optional<Sequence>, 2> Slots(std::string_view bytes) {
  std::array<std::optional<Sequence>, 2> slots;
  for (size_t i = 0; i < slots.size(); ++i) {
    const size_t at = i * format::kWatermarkSlotStride;
    if (at < bytes.size()) slots[i] = format::DecodeWatermarkSlot(bytes.substr(at, format::kWatermarkSlotBytes));
  }
  return slots;
}

absl::StatusOr<std::optional<std::array<std::optional<Sequence>, 2>>> ReadSlots(const std::string& path) {
  ASSIGN_OR_RETURN(const std::optional<std::string> bytes, ReadSmallFile(path, format::kWatermarkFileBytes));
  if (!bytes.has_value()) return std::optional<std::array<std::optional<Sequence>, 2>>();
  const auto slots = Slots(*bytes);
  if (!slots[0].has_value() && !slots[1].has_value()) {
    return absl::DataLossError(absl::StrCat(path, " is damaged: neither of its slots is whole"));
  }
  return std::optional(slots);
}

}  // namespace

CommitWatermark::CommitWatermark(std::string path, int fd, Sequence sequence, int next_slot)
    : path_(std::move(path)), fd_(fd), sequence_(sequence), next_slot_(next_slot) {}

CommitWatermark::~CommitWatermark() { ::close(fd_); }

absl::StatusOr<std::optional<Sequence>> CommitWatermark::Read(const std::string& path) {
  ASSIGN_OR_RETURN(const auto slots, ReadSlots(path));
  if (!slots.has_value()) return std::optional<Sequence>();
  return std::optional<Sequence>(std::max((*slots)[0].value_or(0), (*slots)[1].value_or(0)));
}

absl::StatusOr<std::unique_ptr<CommitWatermark>> CommitWatermark::Create(const std::string& path, Sequence sequence) {
  // Both slots at once: the file has its full length from the start, and damage to one slot leaves the other.
  std::string bytes(format::kWatermarkFileBytes, '\0');
  const std::string slot = format::EncodeWatermarkSlot(sequence);
  bytes.replace(0, slot.size(), slot);
  bytes.replace(format::kWatermarkSlotStride, slot.size(), slot);
  RETURN_IF_ERROR(ReplaceFile(path, bytes));
  return Open(path);
}

absl::StatusOr<std::unique_ptr<CommitWatermark>> CommitWatermark::Open(const std::string& path) {
  ASSIGN_OR_RETURN(const auto slots, ReadSlots(path));
  if (!slots.has_value()) return absl::DataLossError(absl::StrCat(path, " is missing"));
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return ErrnoStatus("open", path);
  // nullopt orders below every sequence: the damaged or older slot is written next.
  const int next_slot = (*slots)[1] < (*slots)[0] ? 1 : 0;
  const Sequence sequence = std::max((*slots)[0].value_or(0), (*slots)[1].value_or(0));
  return std::unique_ptr<CommitWatermark>(new CommitWatermark(path, fd, sequence, next_slot));
}

absl::Status CommitWatermark::Advance(Sequence sequence) {
  if (sequence <= sequence_) return absl::OkStatus();
  const std::string slot = format::EncodeWatermarkSlot(sequence);
  const auto at = static_cast<off_t>(static_cast<size_t>(next_slot_) * format::kWatermarkSlotStride);
  ssize_t written;
  do {
    written = ::pwrite(fd_, slot.data(), slot.size(), at);
  } while (written < 0 && errno == EINTR);
  if (written != static_cast<ssize_t>(slot.size())) return ErrnoStatus("write", path_);
  next_slot_ = 1 - next_slot_;
  sequence_ = sequence;
  return absl::OkStatus();
}

}  // namespace mneme
