// raw_store: what RocksDB alone does with the bytes of n entries (key of `bytes`, a token), as one JSON object.
//
//   raw_store sync DIR --batch 256 --threads 1   synced batches, each thread waiting for its own (group commit)
//   raw_store ingest DIR --rows 1000000          SstFileWriter, then one IngestExternalFile
#include <rocksdb/db.h>
#include <rocksdb/sst_file_writer.h>

#include <CLI/CLI.hpp>

#include <atomic>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/bench/measurement.h"

namespace mneme::bench {
namespace {

void RequireRocks(const rocksdb::Status& status) {
  if (!status.ok()) Require(absl::UnavailableError(status.ToString()));
}

std::string RowKey(uint64_t row) {
  const uint64_t big_endian = __builtin_bswap64(row);
  return {reinterpret_cast<const char*>(&big_endian), sizeof(big_endian)};
}

// Bytes that do not compress, another run of them for each row.
class Values {
 public:
  explicit Values(size_t bytes) : bytes_(bytes), pool_(bytes + 65'536, '\0') {
    std::mt19937_64 random(1);
    for (char& byte : pool_) byte = static_cast<char>(random());
  }
  rocksdb::Slice At(uint64_t row) const { return {pool_.data() + row * 61 % 65'536, bytes_}; }

 private:
  const size_t bytes_;
  std::string pool_;
};

std::unique_ptr<rocksdb::DB> Open(const std::string& directory) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.compression = rocksdb::kNoCompression;
  rocksdb::DB* db = nullptr;
  RequireRocks(rocksdb::DB::Open(options, directory, &db));
  return std::unique_ptr<rocksdb::DB>(db);
}

nlohmann::json Sync(const std::string& directory, size_t bytes, size_t batch, size_t threads, double seconds) {
  const auto db = Open(directory);
  const Values values(bytes);
  std::atomic<uint64_t> next{0};
  std::vector<Measurement> measured(threads);
  std::vector<std::thread> writers;
  const double cpu = CpuSeconds();
  const Steady::time_point begin = Steady::now();
  for (size_t t = 0; t < threads; ++t) {
    writers.emplace_back([&, t] {
      rocksdb::WriteOptions synced;
      synced.sync = true;
      measured[t].Start();
      while (SecondsBetween(begin, Steady::now()) < seconds) {
        const uint64_t first = next.fetch_add(batch);
        rocksdb::WriteBatch writes;
        const Steady::time_point start = Steady::now();
        for (uint64_t row = first; row < first + batch; ++row) RequireRocks(writes.Put(RowKey(row), values.At(row)));
        RequireRocks(db->Write(synced, &writes));
        measured[t].Add(start, batch, 0);
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  const double elapsed = SecondsBetween(begin, Steady::now());
  return {{"rows", next.load()}, {"seconds", elapsed}, {"rows_per_second", static_cast<double>(next.load()) / elapsed},
          {"cpu_seconds", CpuSeconds() - cpu}, {"p50_us", measured[0].Report()["p50_us"]}};
}

nlohmann::json Ingest(const std::string& directory, size_t bytes, uint64_t rows) {
  const auto db = Open(directory);
  const Values values(bytes);
  const double cpu = CpuSeconds();
  const Steady::time_point begin = Steady::now();
  rocksdb::Options options = db->GetOptions();
  rocksdb::SstFileWriter writer(rocksdb::EnvOptions(), options);
  const std::string path = directory + "/bulk.sst";
  RequireRocks(writer.Open(path));
  for (uint64_t row = 0; row < rows; ++row) RequireRocks(writer.Put(RowKey(row), values.At(row)));
  RequireRocks(writer.Finish());
  rocksdb::IngestExternalFileOptions ingest;
  ingest.move_files = true;
  RequireRocks(db->IngestExternalFile({path}, ingest));
  const double elapsed = SecondsBetween(begin, Steady::now());
  return {{"rows", rows}, {"seconds", elapsed}, {"rows_per_second", static_cast<double>(rows) / elapsed},
          {"cpu_seconds", CpuSeconds() - cpu}};
}

}  // namespace
}  // namespace mneme::bench

int main(int argc, char** argv) {
  CLI::App app("RocksDB alone");
  app.require_subcommand(1);
  std::string directory;
  size_t bytes = 2 * 128 + 4;
  size_t batch = 256;
  size_t threads = 1;
  uint64_t rows = 1'000'000;
  double seconds = 2.0;
  CLI::App* sync = app.add_subcommand("sync", "Synced batches");
  CLI::App* ingest = app.add_subcommand("ingest", "SstFileWriter and ingestion");
  for (CLI::App* verb : {sync, ingest}) {
    verb->add_option("directory", directory, "A new directory")->required();
    verb->add_option("--bytes", bytes, "Of each entry");
  }
  sync->add_option("--batch", batch);
  sync->add_option("--threads", threads);
  sync->add_option("--seconds", seconds);
  ingest->add_option("--rows", rows);
  CLI11_PARSE(app, argc, argv);
  std::cout << (sync->parsed() ? mneme::bench::Sync(directory, bytes, batch, threads, seconds)
                               : mneme::bench::Ingest(directory, bytes, rows))
            << std::endl;
  return 0;
}
