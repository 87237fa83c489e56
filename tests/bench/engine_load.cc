// engine_load: the in-process side of the ratios. Holds the engine, or Debian's FAISS, and answers one JSON object for
// each line of standard input, so that a driver can alternate it with other sides:
//
//   engine_load engine --data-dir DIR --memory wiki --queries q.npy [--search-threads N] [--max-batched-rows N]
//     {"k":100,"nprobe":24,"batch":64,"in_flight":4,"seconds":2}     fields as in engine_side.h
//   engine_load faiss --keys k.npy --centroids c.npy --queries q.npy
//     {"k":100,"nprobe":24,"batch":1024,"threads":2,"seconds":2}
#include <CLI/CLI.hpp>

#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "client/npy/npy_file.h"
#include "common/allocator.h"
#include "common/vector_codec.h"
#include "tests/bench/engine_side.h"
#include "tests/bench/faiss_side.h"
#include "tests/bench/measurement.h"

namespace mneme::bench {
namespace {

std::vector<float> Floats(const std::string& path, size_t& dimension) {
  const NpyFile file = Require(NpyFile::Open(path));
  Require(file.CheckDimensions(2));
  dimension = file.row_items();
  const bool half = file.dtype() == NpyDtype::kF16;
  if (!half && file.dtype() != NpyDtype::kF32) Require(absl::InvalidArgumentError(path + ": must be f16 or f32"));
  std::vector<float> floats(file.rows() * dimension);
  DecodeVector(half ? Dtype::kF16 : Dtype::kF32, file.Rows(0, file.rows()).data(), floats.size(), floats.data());
  return floats;
}

// Says that it is ready, then answers line by line until the input ends.
void Serve(const std::function<nlohmann::json(const nlohmann::json&)>& run) {
  std::cout << "{\"ready\":true}" << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) {
    const nlohmann::json command = nlohmann::json::parse(line, nullptr, false);
    if (command.is_discarded()) Require(absl::InvalidArgumentError("not JSON: " + line));
    std::cout << run(command) << std::endl;
  }
}

}  // namespace
}  // namespace mneme::bench

int main(int argc, char** argv) {
  using namespace mneme::bench;
  mneme::KeepFreedRam();  // as the server does
  CLI::App app("The in-process side of the ratios");
  app.require_subcommand(1);
  std::string memory, queries_path, keys_path, centroids_path;
  mneme::DeploymentOptions options;
  size_t dimension = 0;
  CLI::App* engine = app.add_subcommand("engine", "Mneme's own");
  engine->add_option("--data-dir", options.data_dir, "Which no server has open")->required();
  engine->add_option("--memory", memory)->required();
  engine->add_option("--queries", queries_path, "FILE.npy")->required();
  engine->add_option("--search-threads", options.search_threads);
  engine->add_option("--max-batched-rows", options.max_batched_rows, "1: queued queries are searched one by one");
  engine->callback([&] {
    std::vector<float> queries = Floats(queries_path, dimension);
    EngineSide side(options, memory, std::move(queries), dimension);
    Serve([&](const nlohmann::json& command) { return side.Run(ReadEngineRun(command)); });
  });
  CLI::App* faiss = app.add_subcommand("faiss", "Debian's FAISS, IVFFlat");
  faiss->add_option("--keys", keys_path, "FILE.npy")->required();
  faiss->add_option("--centroids", centroids_path, "FILE.npy")->required();
  faiss->add_option("--queries", queries_path, "FILE.npy")->required();
  faiss->callback([&] {
    const std::vector<float> keys = Floats(keys_path, dimension);
    FaissSide side(keys, Floats(centroids_path, dimension), dimension);
    const std::vector<float> queries = Floats(queries_path, dimension);
    Serve([&](const nlohmann::json& command) { return side.Run(command, queries); });
  });
  CLI11_PARSE(app, argc, argv);
  return 0;
}
