// The real data of the project, read for tests and benchmarks: $MNEME_SHARED_DATA, else ../shared/data beside the
// source tree.
#ifndef MNEME_TESTS_INDEX_SHARED_DATA_H_
#define MNEME_TESTS_INDEX_SHARED_DATA_H_

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "common/vector_codec.h"

namespace mneme::testing {

// The directory, or nullopt where it is absent.
inline std::optional<std::string> SharedData() {
  std::vector<std::string> candidates;
  if (const char* path = std::getenv("MNEME_SHARED_DATA")) candidates.emplace_back(path);
  if (const char* path = std::getenv("MNEME_SOURCE_DIR")) candidates.push_back(std::string(path) + "/../shared/data");
  for (const std::string& candidate : candidates) {
    if (std::filesystem::exists(candidate + "/knnlm_wiki/store_keys.npy")) return candidate;
  }
  return std::nullopt;
}

// The elements of a NumPy 1.0 file whose element type the caller knows. Aborts on anything else: data, not input.
template <typename T>
std::vector<T> ReadNpy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char head[10];
  file.read(head, sizeof(head));
  uint16_t header_bytes;
  std::memcpy(&header_bytes, head + 8, sizeof(header_bytes));
  const size_t start = sizeof(head) + header_bytes;
  const size_t bytes = std::filesystem::file_size(path) - start;
  std::vector<T> values(bytes / sizeof(T));
  file.seekg(static_cast<std::streamoff>(start));
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(bytes));
  if (!file) std::abort();
  return values;
}

inline std::vector<float> ToFloats(const std::vector<uint16_t>& halves) {
  std::vector<float> floats(halves.size());
  DecodeVector(Dtype::kF16, reinterpret_cast<const char*>(halves.data()), halves.size(), floats.data());
  return floats;
}

}  // namespace mneme::testing

#endif  // MNEME_TESTS_INDEX_SHARED_DATA_H_
