// What many partitions, or many memories, cost: a deployment of COUNT of them with ENTRIES entries each of DIMENSION
// components (64) beside a memory of one partition. Rates and latencies are told for both; ram is told for each
// partition, filled and after a restart. Prints one JSON object.
//
//   scale_benchmark partitions [COUNT [ENTRIES [DIMENSION]]]    100,000 partitions of one memory, 100 entries each
//   scale_benchmark memories [COUNT [ENTRIES [DIMENSION]]]      10,000 memories of one partition
#include <malloc.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/mutex.h"
#include "engine/local_deployment.h"
#include "tests/bench/measurement.h"

namespace mneme::bench {
namespace {

constexpr uint32_t kNeighbours = 10;
constexpr size_t kInFlight = 64;
constexpr size_t kQueries = 2'000;
constexpr size_t kDropped = 1'000;
// Batches that go into the memory of one partition, to compare the rate with.
constexpr size_t kAloneBatches = 5'000;
constexpr std::chrono::seconds kIdle(5);

MemorySpec SpecOf(const std::string& name, uint32_t dimension) {
  MemorySpec spec;
  spec.name = name;
  spec.dimension = dimension;
  spec.metric = Metric::kL2;
  spec.key_dtype = Dtype::kF32;
  spec.value_kind = ValueKind::kToken;
  spec.vocabulary_size = 1000;
  return spec;
}

uint64_t AnonymousBytes() {
  malloc_trim(0);
  std::ifstream file("/proc/self/smaps_rollup");
  std::string word;
  uint64_t kib = 0;
  while (file >> word && word != "Anonymous:") {}
  file >> kib;
  return kib * 1024;
}

double MillisecondsOf(const std::function<void()>& work) {
  const auto start = Steady::now();
  work();
  return 1e3 * SecondsBetween(start, Steady::now());
}

// Where the i-th batch goes, and the i-th query.
struct Place {
  MemoryHandle memory;
  PartitionId partition = 0;
};
using PlaceOf = std::function<Place(size_t)>;

class Scale {
 public:
  Scale(std::string path, size_t count, size_t entries, uint32_t dimension)
      : path_(std::move(path)), count_(count), entries_(entries), dimension_(dimension) {
    std::normal_distribution<float> normal;
    for (float& x : keys_) x = normal(random_);
  }

  void Open() { deployment_ = Require(LocalDeployment::Open({.data_dir = path_})); }
  void Close() { deployment_.reset(); }
  Deployment& operator*() { return *deployment_; }
  Deployment* operator->() { return deployment_.get(); }

  // Entries a second of `batches` batches, kInFlight at once.
  double Fill(size_t batches, const PlaceOf& place_of) {
    Mutex mutex;
    CondVar landed;
    size_t in_flight = 0;
    const auto start = Steady::now();
    for (size_t i = 0; i < batches; ++i) {
      {
        MutexLock lock(&mutex);
        landed.Await(&mutex, [&] { return in_flight < kInFlight; });
        ++in_flight;
      }
      const Place place = place_of(i);
      deployment_->Insert(place.memory,
                          {.partition = place.partition, .entries = Batch(i), .request_id = {}, .bulk = true},
                          nullptr, [&](const absl::StatusOr<InsertOutcome>& outcome) {
                            Require(outcome.status());
                            MutexLock lock(&mutex);
                            --in_flight;
                            landed.NotifyOne();
                          });
    }
    MutexLock lock(&mutex);
    landed.Await(&mutex, [&] { return in_flight == 0; });
    return static_cast<double>(batches * entries_) / SecondsBetween(start, Steady::now());
  }

  void Query(const Place& place, bool all_partitions = false) {
    QueryCommand command;
    if (all_partitions) command.partitions.all = true;
    else command.partitions.partitions = {place.partition};
    command.count = 1;
    command.k = kNeighbours;
    command.queries.Resize(dimension_ * sizeof(float));
    std::copy_n(keys_.data() + random_() % dimension_, dimension_, command.queries.as<float>());
    std::promise<absl::Status> done;
    deployment_->Query(place.memory, std::move(command), [&](const absl::StatusOr<QueryOutcome>& outcome) {
      const bool full = outcome.ok() && outcome->neighbours.ids.size() >= std::min<size_t>(kNeighbours, entries_);
      done.set_value(full || !outcome.ok() ? outcome.status() : absl::DataLossError("fewer neighbours than entries"));
    });
    Require(done.get_future().get());
  }

  // Median and 99th percentile, in microseconds.
  nlohmann::json Latency(const PlaceOf& place_of) {
    std::vector<double> us;
    for (size_t i = 0; i < kQueries; ++i) {
      const Place place = place_of(random_() % count_);
      us.push_back(1e3 * MillisecondsOf([&] { Query(place); }));
    }
    std::sort(us.begin(), us.end());
    return {{"p50_us", us[us.size() / 2]}, {"p99_us", us[us.size() * 99 / 100]}};
  }

  // Drops one partition, with everything in it.
  void DropPartition(const Place& place) {
    std::promise<absl::Status> done;
    DeleteCommand command;
    command.partitions.partitions = {place.partition};
    command.everything = true;
    deployment_->Delete(place.memory, std::move(command), [&](const absl::StatusOr<DeleteOutcome>& outcome) {
      done.set_value(outcome.ok() && outcome->deleted != entries_ ? absl::DataLossError("entries were missing")
                                                                  : outcome.status());
    });
    Require(done.get_future().get());
  }

  nlohmann::json IdleShare() {
    const double before = CpuSeconds();
    std::this_thread::sleep_for(kIdle);
    return (CpuSeconds() - before) / std::chrono::duration<double>(kIdle).count();
  }

 private:
  EntryColumns Batch(size_t number) {
    EntryColumns columns;
    columns.values.width = sizeof(Token);
    const Token token = static_cast<Token>(number % 1000);
    for (size_t i = 0; i < entries_; ++i) {
      EntryView view;
      view.id = number * entries_ + i;
      view.key = {reinterpret_cast<const char*>(keys_.data() + random_() % (keys_.size() - dimension_)),
                  dimension_ * sizeof(float)};
      view.value = {reinterpret_cast<const char*>(&token), sizeof(token)};
      columns.Append(view);
    }
    return columns;
  }

  const std::string path_;
  const size_t count_;
  const size_t entries_;
  const uint32_t dimension_;
  std::mt19937_64 random_{1};
  std::array<float, 65'536> keys_{};
  std::unique_ptr<LocalDeployment> deployment_;
};

nlohmann::json Measure(const std::string& path, bool memories, size_t count, size_t entries, uint32_t dimension) {
  nlohmann::json report = {{"what", memories ? "memories" : "partitions"},
                           {"count", count},
                           {"entries", entries},
                           {"dimension", dimension}};
  Scale scale(path, count, entries, dimension);
  scale.Open();
  const auto name_of = [&](size_t i) { return memories ? "many-" + std::to_string(i) : std::string("many"); };
  std::vector<MemoryHandle> handles;
  const double create_ms = MillisecondsOf([&] {
    for (size_t i = 0; i < (memories ? count : 1); ++i) {
      handles.push_back(Require(scale->CreateMemory(SpecOf(name_of(i), dimension))));
    }
  });
  report["create_memory_ms"] = create_ms / static_cast<double>(handles.size());
  MemoryHandle alone = Require(scale->CreateMemory(SpecOf("alone", dimension)));
  MemoryHandle small = Require(scale->CreateMemory(SpecOf("small", dimension)));
  const PlaceOf many = [&](size_t i) { return memories ? Place{handles[i], 0} : Place{handles[0], i + 1}; };
  const PlaceOf one = [&](size_t) { return Place{small, 1}; };

  report["insert_per_s_one"] = scale.Fill(std::min(kAloneBatches, count), [&](size_t) { return Place{alone, 1}; });
  Require(scale->DropMemory("alone"));
  scale.Fill(1, one);
  const uint64_t before = AnonymousBytes();
  report["insert_per_s"] = scale.Fill(count, many);
  report["ram_bytes_each"] = static_cast<double>(AnonymousBytes() - before) / static_cast<double>(count);
  report["query_one"] = scale.Latency(one);
  report["query"] = scale.Latency(many);
  if (!memories) report["query_all_partitions_ms"] = MillisecondsOf([&] { scale.Query(many(0), true); });
  report["memory_statistics_ms"] = MillisecondsOf([&] { Require(scale->Statistics(handles[0]).status()); });
  report["statistics_ms"] = MillisecondsOf([&] { scale->Statistics(); });
  report["list_memories_ms"] = MillisecondsOf([&] { Require(scale->ListMemories().status()); });
  std::this_thread::sleep_for(std::chrono::seconds(4));  // loads are over
  report["idle_cpu_share"] = scale.IdleShare();

  scale.Close();
  const uint64_t closed = AnonymousBytes();
  report["open_ms"] = MillisecondsOf([&] { scale.Open(); });
  for (MemoryHandle& memory : handles) memory = Require(scale->FindMemory(memory->spec.name));
  small = Require(scale->FindMemory("small"));
  report["first_answer_after_open_ms"] = MillisecondsOf([&] { scale.Query(many(count / 2)); });
  report["ram_bytes_each_after_open"] =
      static_cast<double>(AnonymousBytes() - closed) / static_cast<double>(count);
  report["query_after_open"] = scale.Latency(many);
  report["query_again"] = scale.Latency(many);
  report["idle_cpu_share_after_open"] = scale.IdleShare();

  const size_t dropped = std::min(kDropped, count / 2);
  const double drop_ms = MillisecondsOf([&] {
    for (size_t i = 0; i < dropped; ++i) {
      memories ? Require(scale->DropMemory(name_of(i))) : scale.DropPartition(many(i));
    }
  });
  report["drop_ms"] = drop_ms / static_cast<double>(dropped);
  const PlaceOf kept = [&](size_t i) { return many(std::max(i, dropped)); };
  report["query_after_drops"] = scale.Latency(kept);
  if (!memories) report["query_all_partitions_after_open_ms"] = MillisecondsOf([&] { scale.Query(kept(0), true); });
  return report;
}

}  // namespace
}  // namespace mneme::bench

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what != "partitions" && what != "memories") {
    std::fprintf(stderr, "usage: scale_benchmark partitions|memories [COUNT [ENTRIES [DIMENSION]]]\n");
    return 2;
  }
  const bool memories = what == "memories";
  const size_t count = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : (memories ? 10'000 : 100'000);
  const size_t entries = argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 100;
  // Keys are slices of 65,536 numbers.
  const unsigned long asked = argc > 4 ? std::strtoul(argv[4], nullptr, 10) : 64;
  const auto dimension = static_cast<uint32_t>(std::clamp(asked, 1UL, 4096UL));
  const auto path = std::filesystem::temp_directory_path() / ("mneme-scale-" + std::to_string(::getpid()));
  const nlohmann::json report = mneme::bench::Measure(path, memories, std::max<size_t>(count, 2),
                                                         std::max<size_t>(entries, 1), dimension);
  std::filesystem::remove_all(path);
  std::printf("%s\n", report.dump(1).c_str());
  return 0;
}
