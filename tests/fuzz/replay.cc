// Feeds targets what is known: `fuzz_replay TARGET FOLDER` runs every file of a corpus and every seed, which must be
// taken; `fuzz_replay --seeds FOLDER` writes the seeds of all targets into FOLDER/TARGET.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

int Replay(const Target& target, const std::filesystem::path& folder) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<std::string> seeds = target.seeds();
  for (size_t i = 0; i < seeds.size(); ++i) Expect(target.run(seeds[i]), absl::StrCat("seed ", i, " is taken"));
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    std::fprintf(stderr, "%s\r", name.c_str());  // the last one, should it end the process
    target.run(ReadFile(entry.path()));
    ++files;
  }
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
  std::printf("\n%zu seeds and %zu files\n", seeds.size(), files);
  if (files < seeds.size()) {
    std::printf("[  FAILED  ] fuzz.%s (%d ms)\nthe corpus lacks seeds: fuzz_replay --seeds tests/fuzz/corpus\n",
                target.name, static_cast<int>(ms.count()));
    return 1;
  }
  std::printf("[       OK ] fuzz.%s (%d ms)\n", target.name, static_cast<int>(ms.count()));
  return 0;
}

int WriteSeeds(const std::filesystem::path& folder) {
  for (const Target& target : Targets()) {
    std::filesystem::create_directories(folder / target.name);
    for (const std::string& seed : target.seeds()) {
      const std::string name = absl::StrFormat("seed-%016x", Checksum64(seed));
      std::ofstream(folder / target.name / name, std::ios::binary) << seed;
    }
  }
  return 0;
}

}  // namespace
}  // namespace mneme::fuzz

int main(int argc, char** argv) {
  using mneme::fuzz::Targets;
  if (argc != 3) {
    std::fprintf(stderr, "usage: fuzz_replay TARGET FOLDER | fuzz_replay --seeds FOLDER\n");
    return 2;
  }
  if (std::string_view(argv[1]) == "--seeds") return mneme::fuzz::WriteSeeds(argv[2]);
  for (const mneme::fuzz::Target& target : Targets()) {
    if (std::string_view(argv[1]) == target.name) return mneme::fuzz::Replay(target, argv[2]);
  }
  std::fprintf(stderr, "no target is called %s\n", argv[1]);
  return 2;
}
