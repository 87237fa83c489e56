// EngineSide: the queries of the load generator, run directly on the engine in this process.
#ifndef MNEME_TESTS_BENCH_ENGINE_SIDE_H_
#define MNEME_TESTS_BENCH_ENGINE_SIDE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/local_deployment.h"
#include "nlohmann/json.hpp"

namespace mneme::bench {

// One timed run, or one pass where `ids_out` is given.
struct EngineRun {
  uint32_t k = 10;
  uint32_t batch = 64;
  uint32_t in_flight = 4;
  uint32_t nprobe = 0;     // 0: by recall
  double recall = 0.95;
  bool exact = false;
  bool approximate_distances = false;
  std::string read_out = "neighbours";  // or distribution
  double temperature = 7.0;
  double seconds = 2.0;
  std::string ids_out;     // .npy i64 [queries x k]
};

// Reads a run from the fields of the same names.
EngineRun ReadEngineRun(const nlohmann::json& command);

// Opens a data directory that no server has open. Not thread-safe.
class EngineSide {
 public:
  EngineSide(DeploymentOptions options, const std::string& memory, std::vector<float> queries, size_t dimension);

  nlohmann::json Run(const EngineRun& run);

 private:
  QueryCommand Command(const EngineRun& run, size_t request, size_t& rows) const;

  std::unique_ptr<LocalDeployment> deployment_;
  MemoryHandle memory_;
  const std::vector<float> queries_;  // [count x dimension]
  const size_t dimension_;
};

}  // namespace mneme::bench

#endif  // MNEME_TESTS_BENCH_ENGINE_SIDE_H_
