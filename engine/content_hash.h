// ContentHash: one checksum of everything a request asks, so that a reused request id is noticed.
#ifndef MNEME_ENGINE_CONTENT_HASH_H_
#define MNEME_ENGINE_CONTENT_HASH_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/checksum.h"

namespace mneme {

// Parts are added in a fixed order. Remembered with request ids: do not change how it combines them. Not thread-safe.
class ContentHash {
 public:
  void Add(std::string_view bytes) { hash_ = Checksum64(bytes, hash_ + 1); }
  template <typename T>
  void Add(const std::vector<T>& column) {
    Add(std::string_view(reinterpret_cast<const char*>(column.data()), column.size() * sizeof(T)));
  }
  void Add(uint64_t number) { Add(std::string_view(reinterpret_cast<const char*>(&number), sizeof(number))); }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_CONTENT_HASH_H_
