// What the service adds to the engine, as ratios measured side by side in one run:
//
//   overhead      (remote p50 of one query - the engine's own p50) / p50 of an empty unary call on the same channel
//   stream_append p50 of a stream step that also appends (WRITTEN) / p50 of one that only queries
//   durable_insert entries per second of an insert stream (batches of 256, SYNC) / raw RocksDB synced writes of the
//   bytes
//
// Server, client and engine share one process and one deployment, so that both sides search the same index. Keys are
// those of tests/data/wiki_stream. Prints a table for people on stderr and one JSON object on stdout.
#include <rocksdb/db.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "client/admin_client.h"
#include "client/channel.h"
#include "client/memory_client.h"
#include "client/npy/npy_file.h"
#include "common/vector_codec.h"
#include "server/server.h"

namespace mneme {
namespace {

constexpr uint32_t kDimension = 128;
constexpr size_t kBatch = 256;
using Steady = std::chrono::steady_clock;

double MicrosSince(Steady::time_point start) {
  return std::chrono::duration<double, std::micro>(Steady::now() - start).count();
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

template <typename T>
T Require(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}
void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

template <typename T>
std::string Column(const std::vector<T>& items) {
  return std::string(reinterpret_cast<const char*>(items.data()), items.size() * sizeof(T));
}

// Median of the rounds of one measurement, with their spread.
struct Series {
  std::vector<double> rounds;
  double median() const { return Median(rounds); }
  double least() const { return *std::min_element(rounds.begin(), rounds.end()); }
  double most() const { return *std::max_element(rounds.begin(), rounds.end()); }
};

class Bench {
 public:
  explicit Bench(const std::string& directory)
      : directory_(directory), log_(LogFormat::kJson, LogLevel::kError),
        keys_(Require(NpyFile::Open(DataPath("query_keys.npy")))),
        tokens_(Require(NpyFile::Open(DataPath("query_gold.npy")))) {
    ServerOptions options;
    options.data_dir = directory + "/data";
    options.listen = {"127.0.0.1:0"};
    options.admin_listen = "off";
    server_ = Require(Server::Start(options, &log_));
    channel_ = Require(NewChannel("127.0.0.1:" + std::to_string(server_->port())));
    client_ = std::make_unique<MemoryClient>(channel_);
    admin_ = std::make_unique<AdminClient>(channel_);
    Fill();
    OpenRaw();
  }

  size_t rows() const { return keys_.rows(); }

  // --- One query alone ---

  double PingP50(size_t calls) {
    return P50(calls, [&](size_t) { Require(admin_->Ping().status()); });
  }
  double RemoteP50(size_t calls, uint32_t k) {
    return P50(calls, [&](size_t i) { Require(client_->Query(QueryOf(i, k)).status()); });
  }
  double EngineP50(size_t calls, uint32_t k) {
    const MemoryHandle memory = Require(server_->deployment().FindMemory("wiki"));
    return P50(calls, [&](size_t i) {
      QueryCommand command;
      command.count = 1;
      command.k = k;
      command.queries.Resize(kDimension * sizeof(float));
      DecodeVector(Dtype::kF16, keys_.Rows(Row(i), 1).data(), kDimension, command.queries.as<float>());
      std::promise<absl::Status> done;
      server_->deployment().Query(memory, std::move(command),
                                  [&](absl::StatusOr<QueryOutcome> outcome) { done.set_value(outcome.status()); });
      Require(done.get_future().get());
    });
  }

  // --- A decode loop ---

  double StepP50(size_t steps, bool append) {
    auto stream = client_->OpenQueryStream();
    const double p50 = P50(steps, [&](size_t i) {
      v1::QueryStreamRequest step;
      step.set_step(i + 1);
      *step.mutable_query() = QueryOf(i, 1024);
      if (append) {
        v1::StepAppend& learned = *step.mutable_append();
        learned.set_durability(v1::DURABILITY_WRITTEN);
        learned.set_partition(append_partition_);
        learned.mutable_entries()->mutable_values()->set_tokens(Column<uint32_t>({Token(Row(i))}));
      }
      Require(stream->Write(step));
      Require(stream->Read().status());
    });
    Require(stream->WritesDone());
    if (append) ++append_partition_;  // what was learned must not make later rounds search more
    return p50;
  }

  // --- Durable inserts ---

  double StreamedInsertRate(size_t batches) {
    auto stream = client_->OpenInsertStream();
    const auto start = Steady::now();
    for (size_t b = 0; b < batches; ++b) Require(stream->Write(NextBatch("sink")));
    Require(stream->Finish().status());
    return static_cast<double>(batches * kBatch) / MicrosSince(start) * 1e6;
  }
  double UnaryInsertRate(size_t batches) {
    const auto start = Steady::now();
    for (size_t b = 0; b < batches; ++b) Require(client_->Insert(NextBatch("sink")).status());
    return static_cast<double>(batches * kBatch) / MicrosSince(start) * 1e6;
  }
  double RawInsertRate(size_t batches) {
    rocksdb::WriteOptions synced;
    synced.sync = true;
    const auto start = Steady::now();
    for (size_t b = 0; b < batches; ++b) {
      rocksdb::WriteBatch batch;
      for (size_t i = 0; i < kBatch; ++i) {
        const uint64_t row = __builtin_bswap64(raw_row_++);
        std::string value(keys_.Rows(raw_row_ % rows(), 1));
        value.append(sizeof(uint32_t), 'v');
        batch.Put({reinterpret_cast<const char*>(&row), sizeof(row)}, value);
      }
      if (!raw_->Write(synced, &batch).ok()) std::exit(1);
    }
    return static_cast<double>(batches * kBatch) / MicrosSince(start) * 1e6;
  }

 private:
  static std::string DataPath(const std::string& name) {
    const char* root = std::getenv("MNEME_TEST_DATA");
    return std::string(root != nullptr ? root : "tests/data") + "/wiki_stream/" + name;
  }
  size_t Row(size_t i) const { return i * 7919 % keys_.rows(); }
  uint32_t Token(size_t row) const { return static_cast<uint32_t>(tokens_.IntegerAt(row)); }

  template <typename Call>
  static double P50(size_t calls, const Call& call) {
    std::vector<double> micros;
    for (size_t i = 0; i < calls; ++i) {
      const auto start = Steady::now();
      call(i);
      micros.push_back(MicrosSince(start));
    }
    return Median(std::move(micros));
  }

  v1::QueryRequest QueryOf(size_t i, uint32_t k) const {
    v1::QueryRequest request;
    request.set_memory("wiki");
    request.set_k(k);
    SetKeys(Row(i), 1, *request.mutable_keys());
    return request;
  }
  void SetKeys(size_t first, size_t count, v1::Vectors& keys) const {
    const std::string_view bytes = keys_.Rows(first, count);
    keys.set_data(bytes.data(), bytes.size());
    keys.set_dtype(v1::DTYPE_F16);
    keys.set_dimension(kDimension);
  }
  v1::InsertRequest NextBatch(const std::string& memory) {
    v1::InsertRequest request;
    request.set_memory(memory);
    const size_t first = next_id_ % (rows() - kBatch);
    SetKeys(first, kBatch, *request.mutable_entries()->mutable_keys());
    std::vector<uint32_t> tokens(kBatch);
    for (size_t i = 0; i < kBatch; ++i) tokens[i] = Token(first + i);
    std::vector<uint64_t> ids(kBatch);
    std::iota(ids.begin(), ids.end(), next_id_);
    next_id_ += kBatch;
    request.mutable_entries()->mutable_values()->set_tokens(Column(tokens));
    request.mutable_entries()->set_ids(Column(ids));
    return request;
  }

  void Fill() {
    for (const char* name : {"wiki", "sink"}) {
      v1::MemoryDescription memory;
      memory.set_name(name);
      memory.set_dimension(kDimension);
      memory.set_metric(v1::METRIC_L2);
      memory.set_key_dtype(v1::DTYPE_F16);
      memory.set_value_kind(v1::VALUE_KIND_TOKEN);
      Require(admin_->CreateMemory(memory).status());
    }
    while (next_id_ + kBatch < rows()) Require(client_->Insert(NextBatch("wiki")).status());
    const MemoryHandle memory = Require(server_->deployment().FindMemory("wiki"));
    Require(server_->deployment().BuildIndex(memory, false, [](const BuildProgress&) { return true; }));
  }

  void OpenRaw() {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    rocksdb::DB* raw = nullptr;
    if (!rocksdb::DB::Open(options, directory_ + "/raw", &raw).ok()) std::exit(1);
    raw_.reset(raw);
  }

  const std::string directory_;
  Log log_;
  NpyFile keys_;
  NpyFile tokens_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<MemoryClient> client_;
  std::unique_ptr<AdminClient> admin_;
  std::unique_ptr<rocksdb::DB> raw_;
  uint64_t next_id_ = 0;
  uint64_t raw_row_ = 0;
  uint64_t append_partition_ = 1;
};

void Print(const char* name, const Series& ratio, double bar, bool at_most, bool last) {
  std::fprintf(stderr, "%-28s %6.3f  (%.3f to %.3f)  bar %s %.2f  %s\n", name, ratio.median(), ratio.least(),
               ratio.most(), at_most ? "<=" : ">=", bar,
               (at_most ? ratio.median() <= bar : ratio.median() >= bar) ? "met" : "MISSED");
  std::printf("\"%s\":{\"median\":%.4f,\"min\":%.4f,\"max\":%.4f,\"bar\":%.2f}%s", name, ratio.median(), ratio.least(),
              ratio.most(), bar, last ? "" : ",");
}

int Run(size_t rounds, size_t calls) {
  std::string directory = (std::filesystem::temp_directory_path() / "mneme-service-bench-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) return 1;
  Series overhead10, overhead1024, append, streamed, unary;
  Series ping, remote10, engine10, remote1024, engine1024;
  {
    Bench bench(directory);
    bench.RemoteP50(calls, 10);  // warm
    for (size_t round = 0; round < rounds; ++round) {
      std::fprintf(stderr, "round %zu of %zu\n", round + 1, rounds);
      ping.rounds.push_back(bench.PingP50(calls));
      remote10.rounds.push_back(bench.RemoteP50(calls, 10));
      engine10.rounds.push_back(bench.EngineP50(calls, 10));
      remote1024.rounds.push_back(bench.RemoteP50(calls, 1024));
      engine1024.rounds.push_back(bench.EngineP50(calls, 1024));
      overhead10.rounds.push_back((remote10.rounds.back() - engine10.rounds.back()) / ping.rounds.back());
      overhead1024.rounds.push_back((remote1024.rounds.back() - engine1024.rounds.back()) / ping.rounds.back());
      const double plain = bench.StepP50(calls, false);
      append.rounds.push_back(bench.StepP50(calls, true) / plain);
      const size_t batches = std::max<size_t>(calls / 4, 4);
      const double raw = bench.RawInsertRate(batches);
      streamed.rounds.push_back(bench.StreamedInsertRate(batches) / raw);
      unary.rounds.push_back(bench.UnaryInsertRate(batches) / raw);
    }
  }
  std::filesystem::remove_all(directory);
  std::fprintf(stderr, "p50, microseconds: ping %.0f; k 10 remote %.0f engine %.0f; k 1024 remote %.0f engine %.0f\n",
               ping.median(), remote10.median(), engine10.median(), remote1024.median(), engine1024.median());
  std::printf("{\"benchmark\":\"service\",\"rounds\":%zu,\"calls\":%zu,\"ping_p50_us\":%.1f,", rounds, calls,
              ping.median());
  Print("overhead_k10", overhead10, 1.5, true, false);
  Print("overhead_k1024", overhead1024, 1.5, true, false);
  Print("stream_append", append, 1.2, true, false);
  Print("durable_insert_stream", streamed, 0.75, false, false);
  Print("durable_insert_unary", unary, 0.75, false, true);
  std::printf("}\n");
  return 0;
}

}  // namespace
}  // namespace mneme

// service_benchmark [ROUNDS [CALLS]]
int main(int argc, char** argv) {
  const size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 7;
  const size_t calls = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 400;
  if (rounds == 0 || calls == 0) {
    std::fprintf(stderr, "usage: %s [ROUNDS [CALLS]], both above 0\n", argv[0]);
    return 2;
  }
  return mneme::Run(rounds, calls);
}
