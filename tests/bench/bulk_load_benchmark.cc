// Bulk load against SstFileWriter + IngestExternalFile of the same row bytes (P10): a new memory of d = 256 f16 keys
// and tokens, with ascending ids, loaded through the engine and through a server over a Unix socket, acknowledged SYNC.
// Rounds alternate. Prints one JSON object; ratios are medians over rounds, in entries per second.
#include <rocksdb/db.h>
#include <rocksdb/sst_file_writer.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
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
#include "common/vector_codec.h"
#include "server/server.h"
#include "storage/format.h"

namespace mneme {
namespace {

constexpr uint32_t kDimension = 256;
constexpr size_t kKeyBytes = kDimension * 2;
constexpr size_t kBatch = 16'384;             // entries of a message: 8 MiB
constexpr size_t kInFlight = 3;               // of the engine's side; the stream has its window
constexpr size_t kRawFileRows = 8 * kBatch;   // the raw side writes files as large as it likes
using Steady = std::chrono::steady_clock;

double Seconds(Steady::time_point start) { return std::chrono::duration<double>(Steady::now() - start).count(); }

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}
template <typename T>
T Require(absl::StatusOr<T> value) {
  Require(value.status());
  return *std::move(value);
}
void Require(const rocksdb::Status& status) {
  Require(status.ok() ? absl::OkStatus() : absl::UnknownError(status.ToString()));
}

struct Series {
  std::vector<double> rounds;
  double median() {
    std::sort(rounds.begin(), rounds.end());
    return rounds[rounds.size() / 2];
  }
};

class Bench {
 public:
  Bench(const std::string& directory, size_t batches)
      : directory_(directory), batches_(batches), log_(LogFormat::kJson, LogLevel::kError) {
    ServerOptions options;
    options.data_dir = directory + "/data";
    options.listen_unix = {directory + "/socket"};
    options.admin_listen = "off";
    server_ = Require(Server::Start(options, &log_));
    const auto channel = Require(NewChannel("unix:" + directory + "/socket"));
    client_ = std::make_unique<MemoryClient>(channel);
    admin_ = std::make_unique<AdminClient>(channel);
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    keys_.resize(kBatch * kKeyBytes);
    std::vector<float> key(kDimension);
    for (size_t i = 0; i < kBatch; ++i) {
      for (float& component : key) component = normal(random);
      EncodeVector(Dtype::kF16, key.data(), kDimension, keys_.data() + i * kKeyBytes);
    }
    tokens_.resize(kBatch);
    std::iota(tokens_.begin(), tokens_.end(), 0);
    rocksdb::DB* raw = nullptr;
    raw_options_.create_if_missing = true;
    raw_options_.compression = rocksdb::kNoCompression;
    Require(rocksdb::DB::Open(raw_options_, directory + "/raw", &raw));
    raw_.reset(raw);
  }

  double Raw() {
    const auto start = Steady::now();
    std::unique_ptr<rocksdb::SstFileWriter> writer;
    std::string path;
    std::string record;
    const auto finish = [&] {
      Require(writer->Finish());
      rocksdb::IngestExternalFileOptions options;
      options.move_files = true;
      Require(raw_->IngestExternalFile({path}, options));
      writer.reset();
    };
    for (size_t i = 0; i < batches_ * kBatch; ++i) {
      if (writer == nullptr) {
        path = directory_ + "/raw-" + std::to_string(raw_row_) + ".sst";
        writer = std::make_unique<rocksdb::SstFileWriter>(rocksdb::EnvOptions(), raw_options_);
        Require(writer->Open(path));
      }
      record.clear();
      const std::string_view token(reinterpret_cast<const char*>(&tokens_[i % kBatch]), sizeof(Token));
      format::AppendRow({i, KeyAt(i % kBatch), token, {.created_ms = 1'717'000'000'000}}, record);
      Require(writer->Put(format::NumberedKey({1, 0}, raw_row_++), record));
      if ((i + 1) % kRawFileRows == 0 || i + 1 == batches_ * kBatch) finish();
    }
    return Rate(start);
  }

  double Engine() {
    Create();
    const MemoryHandle memory = Require(server_->deployment().FindMemory("load"));
    const auto start = Steady::now();
    std::deque<std::future<absl::Status>> in_flight;
    for (size_t b = 0; b < batches_; ++b) {
      if (in_flight.size() == kInFlight) {
        Require(in_flight.front().get());
        in_flight.pop_front();
      }
      InsertCommand command;
      command.bulk = true;
      command.entries.count = kBatch;
      command.entries.key_bytes = kKeyBytes;
      command.entries.keys.Resize(keys_.size());
      std::copy(keys_.begin(), keys_.end(), command.entries.keys.data());
      command.entries.values.width = sizeof(Token);
      command.entries.values.bytes.resize(kBatch * sizeof(Token));
      std::copy_n(reinterpret_cast<const char*>(tokens_.data()), kBatch * sizeof(Token),
                  command.entries.values.bytes.data());
      command.entries.ids.resize(kBatch);
      std::iota(command.entries.ids.begin(), command.entries.ids.end(), b * kBatch);
      auto done = std::make_shared<std::promise<absl::Status>>();
      in_flight.push_back(done->get_future());
      server_->deployment().Insert(memory, std::move(command), nullptr, [done](absl::StatusOr<InsertOutcome> outcome) {
        done->set_value(outcome.status());
      });
    }
    for (auto& each : in_flight) Require(each.get());
    const double rate = Rate(start);
    Require(admin_->DropMemory("load"));
    return rate;
  }

  double Remote() {
    Create();
    auto stream = client_->OpenInsertStream();
    const auto start = Steady::now();
    for (size_t b = 0; b < batches_; ++b) {
      v1::InsertRequest request;
      request.set_memory("load");
      request.set_bulk(true);
      v1::Entries& entries = *request.mutable_entries();
      entries.mutable_keys()->set_data(keys_);
      entries.mutable_keys()->set_dtype(v1::DTYPE_F16);
      entries.mutable_keys()->set_dimension(kDimension);
      entries.mutable_values()->set_tokens(tokens_.data(), kBatch * sizeof(Token));
      std::vector<EntryId> ids(kBatch);
      std::iota(ids.begin(), ids.end(), b * kBatch);
      entries.set_ids(ids.data(), kBatch * sizeof(EntryId));
      Require(stream->Write(request));
    }
    Require(stream->Finish().status());
    const double rate = Rate(start);
    Require(admin_->DropMemory("load"));
    return rate;
  }

 private:
  std::string_view KeyAt(size_t i) const { return {keys_.data() + i * kKeyBytes, kKeyBytes}; }
  double Rate(Steady::time_point start) const { return static_cast<double>(batches_ * kBatch) / Seconds(start); }
  void Create() {
    v1::MemoryDescription memory;
    memory.set_name("load");
    memory.set_dimension(kDimension);
    memory.set_metric(v1::METRIC_L2);
    memory.set_key_dtype(v1::DTYPE_F16);
    memory.set_value_kind(v1::VALUE_KIND_TOKEN);
    Require(admin_->CreateMemory(memory).status());
  }

  const std::string directory_;
  const size_t batches_;
  Log log_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<MemoryClient> client_;
  std::unique_ptr<AdminClient> admin_;
  std::string keys_;
  std::vector<Token> tokens_;
  rocksdb::Options raw_options_;
  std::unique_ptr<rocksdb::DB> raw_;
  Row raw_row_ = 0;
};

int Run(size_t rounds, size_t batches) {
  std::string directory = (std::filesystem::temp_directory_path() / "mneme-bulk-bench-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) return 1;
  Series raw, engine, remote, engine_ratio, remote_ratio;
  {
    Bench bench(directory, batches);
    for (size_t round = 0; round < rounds; ++round) {
      raw.rounds.push_back(bench.Raw());
      engine.rounds.push_back(bench.Engine());
      remote.rounds.push_back(bench.Remote());
      engine_ratio.rounds.push_back(engine.rounds.back() / raw.rounds.back());
      remote_ratio.rounds.push_back(remote.rounds.back() / raw.rounds.back());
      std::fprintf(stderr, "round %zu: raw %.0f, engine %.0f, remote %.0f entries/s\n", round + 1, raw.rounds.back(),
                   engine.rounds.back(), remote.rounds.back());
    }
  }
  std::filesystem::remove_all(directory);
  const double engine_median = engine_ratio.median();
  const double remote_median = remote_ratio.median();
  std::printf("{\"benchmark\":\"bulk_load\",\"rounds\":%zu,\"entries\":%zu,\"key_bytes\":%zu,"
              "\"raw_entries_per_second\":%.0f,"
              "\"engine_ratio\":%.3f,\"engine_min\":%.3f,\"engine_max\":%.3f,\"remote_ratio\":%.3f,\"remote_min\":%.3f,"
              "\"remote_max\":%.3f,\"bar\":0.6}\n",
              rounds, batches * kBatch, kKeyBytes, raw.median(), engine_median, engine_ratio.rounds.front(),
              engine_ratio.rounds.back(), remote_median, remote_ratio.rounds.front(), remote_ratio.rounds.back());
  return 0;
}

}  // namespace
}  // namespace mneme

// bulk_load_benchmark [ROUNDS [BATCHES]]
int main(int argc, char** argv) {
  const size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 7;
  const size_t batches = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 32;
  if (rounds == 0 || batches == 0) {
    std::fprintf(stderr, "usage: %s [ROUNDS [BATCHES]], both above 0\n", argv[0]);
    return 2;
  }
  return mneme::Run(rounds, batches);
}
