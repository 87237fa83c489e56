// Admitted: bytes that an admission has let in, and counts until this goes, however that comes about.
#ifndef MNEME_CLUSTER_ADMITTED_H_
#define MNEME_CLUSTER_ADMITTED_H_

#include <cstdint>
#include <utility>

namespace mneme {

// Empty once it was moved from. Outlived by the admission, unless it has left before. Not thread-safe.
template <typename Admission>
class Admitted {
 public:
  Admitted() = default;
  Admitted(Admission* admission, uint64_t bytes) : admission_(admission), bytes_(bytes) {}
  Admitted(Admitted&& other) noexcept
      : admission_(std::exchange(other.admission_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Admitted& operator=(Admitted&& other) noexcept {
    if (this == &other) return *this;
    Leave();
    admission_ = std::exchange(other.admission_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }
  ~Admitted() { Leave(); }

  // Before it goes: others may be let in from now on.
  void Leave() {
    if (Admission* const admission = std::exchange(admission_, nullptr); admission != nullptr) admission->Leave(bytes_);
  }

 private:
  Admission* admission_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_ADMITTED_H_
