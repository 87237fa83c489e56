// RunningChecksum: Checksum128 of bytes that come one piece after the other.
#ifndef MNEME_COMMON_RUNNING_CHECKSUM_H_
#define MNEME_COMMON_RUNNING_CHECKSUM_H_

#include <memory>
#include <string_view>

#include "common/checksum.h"

namespace mneme {

// Not thread-safe.
class RunningChecksum {
 public:
  RunningChecksum();
  ~RunningChecksum();
  RunningChecksum(RunningChecksum&&) noexcept;
  RunningChecksum& operator=(RunningChecksum&&) noexcept;

  void Add(std::string_view bytes);
  // Checksum128() of all that was added, as if it had come at once; more may be added.
  Hash128 Sum() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mneme

#endif  // MNEME_COMMON_RUNNING_CHECKSUM_H_
