// DiskRoom: whether a disk has room for what fills it: none while less than a reserve is free. A store that meets the
// end of its disk has failed until it is opened again (storage/log_guard.h); one that was refused more before that goes
// on by itself once there is room. The reserve is for what is under way by then, and for what makes room, which writes
// first.
#ifndef MNEME_ENGINE_DISK_ROOM_H_
#define MNEME_ENGINE_DISK_ROOM_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace mneme {

// Thread-safe.
class DiskRoom {
 public:
  // Bytes that this process may still take on the disk that has `path`; nullopt: they are not known.
  using FreeBytes = std::function<std::optional<uint64_t>(const std::string& path)>;

  // Of the disk that has `path`. Without a reserve there is always room. `free_bytes` empty: the file system says.
  DiskRoom(std::string path, uint64_t reserve_bytes, FreeBytes free_bytes = {});

  // RESOURCE_EXHAUSTED (STORAGE_LOW) while less than the reserve is free. Where it is not known how much is, there is
  // room: the store says when there is none. Cheap: the disk is looked at every tenth of a second at most.
  absl::Status Check() const { return CheckFor(0); }
  // The same while less than the reserve would be free beside an index of `bytes`.
  absl::Status CheckFor(uint64_t bytes) const;

 private:
  using Steady = std::chrono::steady_clock;

  uint64_t Free() const;
  void Look() const;

  const std::string path_;
  const uint64_t reserve_bytes_;
  const FreeBytes free_bytes_;
  mutable std::atomic<Steady::rep> next_look_{0};  // since the clock's epoch; who finds it over looks
  mutable std::atomic<uint64_t> free_{0};          // when it was looked at
};

}  // namespace mneme

#endif  // MNEME_ENGINE_DISK_ROOM_H_
