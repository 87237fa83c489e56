#include "engine/disk_room.h"

#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/error_reason.h"

namespace mneme {
namespace {

constexpr std::chrono::milliseconds kLookEvery(100);

// Some file systems do not tell how large they are.
std::optional<uint64_t> FreeOnDisk(const std::string& path) {
  std::error_code error;
  const std::filesystem::space_info room = std::filesystem::space(path, error);
  return error || room.capacity == 0 ? std::nullopt : std::optional<uint64_t>(room.available);
}

}  // namespace

DiskRoom::DiskRoom(std::string path, uint64_t reserve_bytes, FreeBytes free_bytes)
    : path_(std::move(path)), reserve_bytes_(reserve_bytes),
      free_bytes_(free_bytes != nullptr ? std::move(free_bytes) : FreeBytes(FreeOnDisk)) {
  if (reserve_bytes_ != 0) Look();  // nobody is told of a disk that was not looked at
}

absl::Status DiskRoom::CheckFor(uint64_t bytes) const {
  if (reserve_bytes_ == 0) return absl::OkStatus();
  const uint64_t free = Free();
  if (free >= reserve_bytes_ && free - reserve_bytes_ >= bytes) return absl::OkStatus();
  const std::string kept = absl::StrCat("the disk of the data directory has ", free, " bytes free, and ",
                                        reserve_bytes_, " are kept (--disk-reserve)");
  return WithReason(
      absl::ResourceExhaustedError(
          bytes == 0 ? absl::StrCat(kept, "; free some, and writes are taken again")
                     : absl::StrCat(kept, ": an index of about ", bytes, " waits; free some, and it is built")),
      reason::kStorageLow);
}

uint64_t DiskRoom::Free() const {
  const Steady::rep now = Steady::now().time_since_epoch().count();
  Steady::rep due = next_look_.load(std::memory_order_relaxed);
  const Steady::rep next = now + Steady::duration(kLookEvery).count();
  // One looks, and nobody waits for him.
  if (now >= due && next_look_.compare_exchange_strong(due, next, std::memory_order_relaxed)) Look();
  return free_.load(std::memory_order_relaxed);
}

void DiskRoom::Look() const {
  free_.store(free_bytes_(path_).value_or(std::numeric_limits<uint64_t>::max()), std::memory_order_relaxed);
}

}  // namespace mneme
