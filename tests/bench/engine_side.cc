#include "tests/bench/engine_side.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <utility>

#include "client/npy/npy_file.h"
#include "readout/distribution.h"
#include "tests/bench/measurement.h"

namespace mneme::bench {
namespace {

// What the server would compute of these neighbours, so that both sides do the same. Returns how many tokens came out.
size_t ReadOut(const NeighbourColumns& neighbours, const EngineRun& run) {
  size_t tokens = 0;
  for (size_t row = 0; row < neighbours.queries(); ++row) {
    const size_t first = neighbours.offsets[row];
    const size_t count = neighbours.offsets[row + 1] - first;
    const auto* values = reinterpret_cast<const Token*>(neighbours.values.bytes.data());
    const ScoredTokens scored = {{neighbours.scores.data() + first, count}, {values + first, count}, {}};
    DistributionOptions options;
    options.temperature = run.temperature;
    options.k = run.k;
    tokens += Distribution(scored, options).tokens.size();
  }
  return tokens;
}

// What the callbacks of one run share.
struct Progress {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::pair<Steady::time_point, size_t>> done;  // start and rows of calls that ended
  size_t running = 0;
};

}  // namespace

EngineRun ReadEngineRun(const nlohmann::json& command) {
  EngineRun run;
  run.k = command.value("k", run.k);
  run.batch = command.value("batch", run.batch);
  run.in_flight = command.value("in_flight", run.in_flight);
  run.nprobe = command.value("nprobe", run.nprobe);
  run.recall = command.value("recall", run.recall);
  run.exact = command.value("exact", run.exact);
  run.approximate_distances = command.value("approximate_distances", run.approximate_distances);
  run.read_out = command.value("read_out", run.read_out);
  run.temperature = command.value("temperature", run.temperature);
  run.seconds = command.value("seconds", run.seconds);
  run.ids_out = command.value("ids_out", run.ids_out);
  return run;
}

EngineSide::EngineSide(DeploymentOptions options, const std::string& memory, std::vector<float> queries,
                       size_t dimension)
    : queries_(std::move(queries)), dimension_(dimension) {
  deployment_ = Require(LocalDeployment::Open(std::move(options)));
  memory_ = Require(deployment_->FindMemory(memory));
}

QueryCommand EngineSide::Command(const EngineRun& run, size_t request, size_t& rows) const {
  const size_t count = queries_.size() / dimension_;
  const size_t requests = (count + run.batch - 1) / run.batch;
  const size_t first = request % requests * run.batch;
  rows = std::min<size_t>(run.batch, count - first);
  QueryCommand command;
  command.count = rows;
  command.k = run.k;
  command.exact = run.exact;
  command.approximate_distances = run.approximate_distances;
  command.recall_target = run.recall;
  command.probes = run.nprobe;
  command.queries.Resize(rows * dimension_ * sizeof(float));
  std::memcpy(command.queries.data(), queries_.data() + first * dimension_, command.queries.size());
  return command;
}

nlohmann::json EngineSide::Run(const EngineRun& run) {
  const size_t count = queries_.size() / dimension_;
  const size_t requests = (count + run.batch - 1) / run.batch;
  const bool once = !run.ids_out.empty();
  std::vector<int64_t> ids(once ? count * run.k : 0, -1);
  Progress progress;
  Measurement measured;
  measured.Start();
  const Steady::time_point begin = Steady::now();
  size_t next = 0;
  std::unique_lock<std::mutex> lock(progress.mutex);
  while (true) {
    for (const auto& [start, rows] : progress.done) measured.Add(start, rows, 0);
    progress.done.clear();
    const bool over = once ? next >= requests : SecondsBetween(begin, Steady::now()) >= run.seconds;
    if (over && progress.running == 0) break;
    while (!over && progress.running < run.in_flight && !(once && next >= requests)) {
      ++progress.running;
      lock.unlock();
      const size_t request = next++;
      const Steady::time_point start = Steady::now();
      size_t rows = 0;
      QueryCommand command = Command(run, request, rows);
      deployment_->Query(memory_, std::move(command), [&, request, start, rows](absl::StatusOr<QueryOutcome> outcome) {
        Require(outcome.status());
        const NeighbourColumns& neighbours = outcome->neighbours;
        if (run.read_out == "distribution") ReadOut(neighbours, run);
        for (size_t q = 0; once && q < rows; ++q) {
          const size_t found = neighbours.offsets[q + 1] - neighbours.offsets[q];
          std::memcpy(ids.data() + (request * run.batch + q) * run.k, neighbours.ids.data() + neighbours.offsets[q],
                      std::min<size_t>(found, run.k) * sizeof(int64_t));
        }
        const std::lock_guard<std::mutex> guard(progress.mutex);
        --progress.running;
        progress.done.emplace_back(start, rows);
        progress.changed.notify_one();
      });
      lock.lock();
    }
    if (progress.done.empty()) progress.changed.wait(lock);
  }
  lock.unlock();
  if (once) {
    NpyWriter writer = Require(NpyWriter::Create(run.ids_out, NpyDtype::kI64, run.k));
    Require(writer.AppendItems(ids));
    Require(writer.Finish());
  }
  return measured.Report();
}

}  // namespace mneme::bench
