#include "common/running_checksum.h"

#include <xxhash.h>

#include <new>

namespace mneme {

struct RunningChecksum::State {
  State() : running(XXH3_createState()) {
    if (running == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(running);
  }
  ~State() { XXH3_freeState(running); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  XXH3_state_t* const running;
};

RunningChecksum::RunningChecksum() : state_(std::make_unique<State>()) {}

RunningChecksum::~RunningChecksum() = default;

RunningChecksum::RunningChecksum(RunningChecksum&&) noexcept = default;

RunningChecksum& RunningChecksum::operator=(RunningChecksum&&) noexcept = default;

void RunningChecksum::Add(std::string_view bytes) {
  XXH3_128bits_update(state_->running, bytes.data(), bytes.size());
}

Hash128 RunningChecksum::Sum() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->running);
  return {hash.low64, hash.high64};
}

}  // namespace mneme
