// Replicas of a shard agree, whatever happens to them and to their clients; and what is wrong on purpose is found.
// MNEME_TEST_SEED=N runs that seed alone. With MNEME_TEST_FULL=1 as many seeds are run as fit into most of an hour, at
// most 200,000, from MNEME_TEST_FIRST_SEED on: so a run goes on where the last one ended. A simulation hands one thing
// after the other to threads and waits for most of its time: several run at once.
#include "tests/engine/log_simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "tests/storage/temporary_directory.h"
#include "tests/storage/test_scale.h"

namespace mneme {
namespace {

using testing::LogSimulation;
using testing::PlantedFault;

constexpr uint64_t kFirstSeed = 1;
constexpr uint64_t kSeeds = 2'000;
constexpr uint64_t kFullSeeds = 200'000;
constexpr std::chrono::minutes kFullTime(52);
constexpr size_t kAtOnce = 3;  // for each processor

std::string RunSeed(uint64_t seed, PlantedFault fault, const TemporaryDirectory& directory) {
  LogSimulation simulation(seed, fault, directory.path());
  return simulation.Run();
}

// Runs `count` seeds from `first` on until one fails or the time is over; tells before which all were run.
uint64_t RunSeeds(uint64_t first, uint64_t count) {
  const auto begin = std::chrono::steady_clock::now();
  std::atomic<uint64_t> next{first};
  std::atomic<bool> failed{false};
  const auto run = [&] {
    const TemporaryDirectory directory;
    while (!failed && !(FullTests() && std::chrono::steady_clock::now() > begin + kFullTime)) {
      const uint64_t seed = next++;
      if (seed >= first + count) break;
      const std::string failure = RunSeed(seed, PlantedFault::kNone, directory);
      if (failure.empty()) continue;
      failed = true;
      ADD_FAILURE() << failure << "\nMNEME_TEST_SEED=" << seed << " repeats it";
    }
  };
  std::vector<std::thread> others;
  for (size_t i = 1; i < kAtOnce * std::max(1U, std::thread::hardware_concurrency()); ++i) others.emplace_back(run);
  run();
  for (std::thread& other : others) other.join();
  return std::min(next.load(), first + count);
}

uint64_t SeedOf(const char* name, uint64_t otherwise) {
  const char* const given = std::getenv(name);
  return given != nullptr ? std::strtoull(given, nullptr, 0) : otherwise;
}

TEST(LogSimulationTest, ReplicasAgreeWithEachOtherAndWithTheModel) {
  if (std::getenv("MNEME_TEST_SEED") != nullptr) {
    const TemporaryDirectory directory;
    EXPECT_EQ(RunSeed(SeedOf("MNEME_TEST_SEED", 0), PlantedFault::kNone, directory), "");
    return;
  }
  const uint64_t first = SeedOf("MNEME_TEST_FIRST_SEED", kFirstSeed);
  const uint64_t end = RunSeeds(first, Repetitions(kSeeds, kFullSeeds));
  std::cout << end - first << " seeds from " << first << " on, below " << end << std::endl;
}

struct Planted {
  const char* name;
  PlantedFault fault;
};

const Planted kPlanted[] = {
    {"AppliedTwice", PlantedFault::kAppliedTwice},
    {"Skipped", PlantedFault::kSkipped},
    {"StaleRead", PlantedFault::kStaleRead},
    {"LostTombstone", PlantedFault::kLostTombstone},
    {"ReusedId", PlantedFault::kReusedId},
    {"RequestForgotten", PlantedFault::kRequestForgotten},
    {"RefusedTakesNoPlace", PlantedFault::kRefusedTakesNoPlace},
    {"SweepByLocalClock", PlantedFault::kSweepByLocalClock},
    {"TornGroup", PlantedFault::kTornGroup},
    {"OutcomeOfAnother", PlantedFault::kOutcomeOfAnother},
};

class PlantedFaultTest : public ::testing::TestWithParam<Planted> {};

TEST_P(PlantedFaultTest, IsFound) {
  const TemporaryDirectory directory;
  for (uint64_t seed = kFirstSeed; seed < kFirstSeed + kSeeds; ++seed) {
    const std::string failure = RunSeed(seed, GetParam().fault, directory);
    if (failure.empty()) continue;
    std::cout << "found after " << seed - kFirstSeed + 1 << " seeds: " << failure << std::endl;
    return;
  }
  ADD_FAILURE() << "nobody noticed in " << kSeeds << " seeds";
}

// A sanitizer looks at what finding one does, and all are found without it.
INSTANTIATE_TEST_SUITE_P(All, PlantedFaultTest,
                         ::testing::ValuesIn(kPlanted, kPlanted + (kSanitized ? 1 : std::size(kPlanted))),
                         [](const ::testing::TestParamInfo<Planted>& planted) { return planted.param.name; });

}  // namespace
}  // namespace mneme
