// AlignedBuffer: bytes whose start is aligned for the widest vector instructions.
#ifndef MNEME_COMMON_ALIGNED_BUFFER_H_
#define MNEME_COMMON_ALIGNED_BUFFER_H_

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>

namespace mneme {

// A growable run of bytes aligned to 64. Not thread-safe. Copies are explicit (Clone).
class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;

  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size) { Resize(size); }
  AlignedBuffer(AlignedBuffer&&) = default;
  AlignedBuffer& operator=(AlignedBuffer&&) = default;

  char* data() { return bytes_.get(); }
  const char* data() const { return bytes_.get(); }
  template <typename T>
  T* as() { return reinterpret_cast<T*>(bytes_.get()); }
  template <typename T>
  const T* as() const { return reinterpret_cast<const T*>(bytes_.get()); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::string_view view() const { return {bytes_.get(), size_}; }

  // New bytes are not initialised.
  void Resize(size_t size) {
    if (size > capacity_) Grow(std::max(size, capacity_ + capacity_ / 2));
    size_ = size;
  }
  void Append(std::string_view bytes) {
    const size_t old = size_;
    Resize(old + bytes.size());
    if (!bytes.empty()) std::memcpy(bytes_.get() + old, bytes.data(), bytes.size());
  }
  AlignedBuffer Clone() const {
    AlignedBuffer copy;
    copy.Append(view());
    return copy;
  }

 private:
  struct Free {
    void operator()(char* bytes) const { ::operator delete[](bytes, std::align_val_t{kAlignment}); }
  };
  void Grow(size_t capacity) {
    std::unique_ptr<char[], Free> grown(static_cast<char*>(::operator new[](capacity, std::align_val_t{kAlignment})));
    if (size_ != 0) std::memcpy(grown.get(), bytes_.get(), size_);
    bytes_ = std::move(grown);
    capacity_ = capacity;
  }

  std::unique_ptr<char[], Free> bytes_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace mneme

#endif  // MNEME_COMMON_ALIGNED_BUFFER_H_
