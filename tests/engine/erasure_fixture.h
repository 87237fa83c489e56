// What tests of erasure have in common: a canary among entries, and where its bytes are.
#ifndef MNEME_TESTS_ENGINE_ERASURE_FIXTURE_H_
#define MNEME_TESTS_ENGINE_ERASURE_FIXTURE_H_

#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <system_error>
#include <vector>

#include "tests/engine/deployment_fixture.h"

namespace mneme::testing {

inline constexpr uint32_t kDimension = 8;
inline constexpr int64_t kAfterMs = 60'000;
inline constexpr EntryId kCanary = 7;
inline constexpr EntryId kNeighbour = 8;

// Far from all others, so that a training is likely to make it a centroid.
inline std::vector<float> CanaryKey(float which = 0) {
  return {4321.5F + which, -8765.25F, 1234.125F, 777.75F, -999.5F, 5555.625F, 31.4375F, -2718.28F};
}
// Of an entry that stays.
inline std::vector<float> NeighbourKey() { return {1.5F, 2.25F, -3.125F, 4.75F, -5.5F, 6.625F, -7.4375F, 8.28F}; }

inline std::string BytesOfKey(const std::vector<float>& key) {
  return {reinterpret_cast<const char*>(key.data()), key.size() * sizeof(float)};
}

// The files below `path` that have these bytes.
inline std::vector<std::string> FilesWith(const std::string& path, const std::string& bytes) {
  std::vector<std::string> found;
  std::error_code error;
  for (auto it = std::filesystem::recursive_directory_iterator(path, error);
       !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
    if (it->is_regular_file() && ReadBytes(it->path()).find(bytes) != std::string::npos) {
      found.push_back(it->path().filename());
    }
  }
  return found;
}

inline DeploymentOptions ErasureOptionsFor(int64_t after_ms = kAfterMs, const std::string& backups = "") {
  DeploymentOptions options;
  options.search_threads = 2;
  options.thresholds = {.flat_rows = 300, .seal_rows = 400};
  options.backup_dir = backups;
  options.erase_after_ms = after_ms;
  return options;
}

// Entries 100 to 100 + count - 1 at random places near 0, the canary and its neighbour.
inline std::vector<PlainEntry> Entries(uint32_t count) {
  std::mt19937_64 random(17);
  std::vector<PlainEntry> entries;
  for (uint32_t i = 0; i < count; ++i) {
    std::vector<float> key(kDimension);
    for (float& x : key) x = static_cast<float>(random() % 10'000) / 1000;
    entries.push_back({100 + i, key, i % 1000, {.label = 1, .source = 1}});
  }
  entries.push_back({kCanary, CanaryKey(), 42, {.label = 5, .source = 9}});
  entries.push_back({kNeighbour, NeighbourKey(), 43, {.label = 1, .source = 1}});
  return entries;
}

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_ERASURE_FIXTURE_H_
