// Batches that form by themselves (P5): clients that ask one exact query each of one memory, with queued queries
// searched together and with each searched alone, on two copies of one data directory by turns. Also the median time of
// one query while nothing else is asked, the two asked by turns. Keys of ../shared/data/knnlm_wiki where they are
// (357,664 x 128), else random ones of that shape. Prints one JSON object; ratios are medians over rounds.
//
//   batching_benchmark [ROUNDS [SECONDS [ROWS]]]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/local_deployment.h"
#include "tests/index/shared_data.h"

namespace mneme {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kDimension = 128;
constexpr size_t kWikiRows = 357'664;
constexpr size_t kClients = 32;
constexpr uint32_t kNeighbours = 10;
constexpr size_t kIdleQueries = 100;
constexpr size_t kInsertRows = 8192;

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

double Seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Collection {
  const char* name = "random";
  std::vector<uint16_t> keys;  // f16
  std::vector<float> queries;
};

Collection Load(size_t rows) {
  Collection collection;
  if (const auto root = testing::SharedData()) {
    collection.name = "knnlm_wiki";
    collection.keys = testing::ReadNpy<uint16_t>(*root + "/knnlm_wiki/store_keys.npy");
    collection.queries = testing::ToFloats(testing::ReadNpy<uint16_t>(*root + "/knnlm_wiki/dev/query_keys.npy"));
  } else {
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> floats(kWikiRows * kDimension);
    for (float& x : floats) x = normal(random);
    collection.keys.resize(floats.size());
    EncodeVector(Dtype::kF16, floats.data(), floats.size(), reinterpret_cast<char*>(collection.keys.data()));
    collection.queries.assign(floats.begin(), floats.begin() + 1000 * kDimension);
  }
  collection.keys.resize(std::min(rows * kDimension, collection.keys.size()));
  return collection;
}

std::unique_ptr<LocalDeployment> Open(const std::string& path, size_t max_batched_rows) {
  auto opened = LocalDeployment::Open({.data_dir = path, .max_batched_rows = max_batched_rows, .events = nullptr});
  Require(opened.status());
  return *std::move(opened);
}

void Fill(const std::string& path, const Collection& collection) {
  const auto deployment = Open(path, 1);
  MemorySpec spec{.name = "exact", .dimension = kDimension, .key_dtype = Dtype::kF16, .fingerprint = {}};
  const auto memory = deployment->CreateMemory(spec);
  Require(memory.status());
  const size_t rows = collection.keys.size() / kDimension;
  const Token token = 1;
  for (size_t begin = 0; begin < rows; begin += kInsertRows) {
    InsertCommand command{.entries = {}, .request_id = "", .durability = Durability::kWritten};
    command.entries.values.width = sizeof(Token);
    for (size_t row = begin; row < std::min(rows, begin + kInsertRows); ++row) {
      const char* key = reinterpret_cast<const char*>(collection.keys.data() + row * kDimension);
      command.entries.Append(
          {row, {key, spec.KeyBytes()}, {reinterpret_cast<const char*>(&token), sizeof(token)}, {}});
    }
    std::promise<absl::Status> done;
    deployment->Insert(*memory, std::move(command), nullptr,
                       [&](const absl::StatusOr<InsertOutcome>& outcome) { done.set_value(outcome.status()); });
    Require(done.get_future().get());
  }
  Require(deployment->BuildIndex(*memory, false, [](const BuildProgress&) { return true; }));
}

class Clients {
 public:
  Clients(Deployment& deployment, const Collection& collection)
      : deployment_(deployment), collection_(collection), memory_(deployment.FindMemory("exact").value()) {}

  // Seconds that query `number` took.
  double Ask(size_t number) const {
    const size_t count = collection_.queries.size() / kDimension;
    const float* query = collection_.queries.data() + number * 7919 % count * kDimension;
    QueryCommand command;
    command.queries.Resize(kDimension * sizeof(float));
    std::memcpy(command.queries.data(), query, kDimension * sizeof(float));
    command.count = 1;
    command.k = kNeighbours;
    command.exact = true;
    std::promise<absl::Status> done;
    const auto start = Clock::now();
    deployment_.Query(memory_, std::move(command),
                      [&](const absl::StatusOr<QueryOutcome>& outcome) { done.set_value(outcome.status()); });
    Require(done.get_future().get());
    return Seconds(start);
  }

  // Queries per second of all clients together.
  double Load(double seconds) const {
    std::atomic<size_t> answered{0};
    std::atomic<bool> over{false};
    std::vector<std::thread> clients;
    const auto start = Clock::now();
    for (size_t client = 0; client < kClients; ++client) {
      clients.emplace_back([&, client] {
        for (size_t i = client; !over; i += kClients, ++answered) Ask(i);
      });
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    over = true;
    for (std::thread& client : clients) client.join();
    return static_cast<double>(answered) / Seconds(start);
  }

 private:
  Deployment& deployment_;
  const Collection& collection_;
  const MemoryHandle memory_;
};

int Run(size_t rounds, double seconds, size_t rows) {
  const Collection collection = Load(rows);
  std::string path = (std::filesystem::temp_directory_path() / "mneme-bench-XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr) return 1;
  Fill(path + "/batched", collection);
  std::filesystem::copy(path + "/batched", path + "/alone", std::filesystem::copy_options::recursive);
  std::vector<double> batched_rates, alone_rates, rate_ratios, idle_ratios, batched_idle, alone_idle;
  {
    const auto batched_deployment = Open(path + "/batched", limits::kMaxBatchedRows);
    const auto alone_deployment = Open(path + "/alone", 1);
    const Clients batched(*batched_deployment, collection);
    const Clients alone(*alone_deployment, collection);
    for (size_t round = 0; round < rounds; ++round) {
      std::vector<double> batched_us, alone_us;
      for (size_t i = 0; i < kIdleQueries; ++i) {
        batched_us.push_back(batched.Ask(i) * 1e6);
        alone_us.push_back(alone.Ask(i) * 1e6);
      }
      batched_idle.push_back(Median(batched_us));
      alone_idle.push_back(Median(alone_us));
      idle_ratios.push_back(batched_idle.back() / alone_idle.back());
      // Who goes first changes every round.
      double batched_rate = round % 2 == 0 ? batched.Load(seconds) : 0.0;
      alone_rates.push_back(alone.Load(seconds));
      if (round % 2 != 0) batched_rate = batched.Load(seconds);
      batched_rates.push_back(batched_rate);
      rate_ratios.push_back(batched_rate / alone_rates.back());
    }
  }
  std::filesystem::remove_all(path);
  const auto [least, most] = std::minmax_element(rate_ratios.begin(), rate_ratios.end());
  std::printf("{\"benchmark\":\"batching\",\"data\":\"%s\",\"rows\":%zu,\"clients\":%zu,\"k\":%u,\"rounds\":%zu,"
              "\"batched_queries_per_second\":%.0f,\"alone_queries_per_second\":%.0f,\"ratio\":%.3f,\"ratio_min\":%.3f,"
              "\"ratio_max\":%.3f,\"bar\":2,\"idle_p50_us\":%.0f,\"idle_alone_p50_us\":%.0f,\"idle_p50_ratio\":%.3f,"
              "\"idle_bar\":1.05}\n",
              collection.name, collection.keys.size() / kDimension, kClients, kNeighbours, rounds,
              Median(batched_rates), Median(alone_rates), Median(rate_ratios), *least, *most,
              Median(batched_idle), Median(alone_idle), Median(idle_ratios));
  return 0;
}

}  // namespace
}  // namespace mneme

int main(int argc, char** argv) {
  const size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 5;
  const double seconds = argc > 2 ? std::strtod(argv[2], nullptr) : 5.0;
  const size_t rows = argc > 3 ? std::strtoul(argv[3], nullptr, 10) : mneme::kWikiRows;
  if (rounds == 0 || !(seconds > 0.0) || rows == 0) {
    std::fprintf(stderr, "usage: %s [ROUNDS [SECONDS [ROWS]]], all above 0\n", argv[0]);
    return 2;
  }
  return mneme::Run(rounds, seconds, rows);
}
