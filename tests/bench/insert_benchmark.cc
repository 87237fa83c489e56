// Durable insert against raw RocksDB: batches of 256 entries (d = 128 f16 key, token), each committed and synced,
// through RocksDbEntryStore and as synced Put batches of the same bytes into a plain RocksDB. Rounds alternate between
// the two. Prints one JSON object; `ratio` is the median over rounds of store / raw, in entries per second.
#include <rocksdb/db.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "storage/format.h"
#include "storage/rocksdb_entry_store.h"

namespace mneme {
namespace {

constexpr size_t kEntries = 256;
constexpr size_t kKeyBytes = 2 * 128;
constexpr PartitionKey kKey{1, 0};

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

void Require(bool ok, const std::string& what) {
  if (ok) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

EntryColumns RandomColumns(std::mt19937_64& random, EntryId first_id) {
  EntryColumns columns;
  columns.values.width = sizeof(Token);
  std::string key(kKeyBytes, '\0');
  for (size_t i = 0; i < kEntries; ++i) {
    for (char& byte : key) byte = static_cast<char>(random());
    const auto token = static_cast<Token>(random() % 50'000);
    columns.Append({first_id + i, key, {reinterpret_cast<const char*>(&token), sizeof(token)},
                    {.created_ms = 1'717'000'000'000}});
  }
  return columns;
}

class Rivals {
 public:
  explicit Rivals(const std::string& path) {
    auto opened = OpenRocksDbEntryStore({path + "/store", &resources_, nullptr});
    Require(opened.ok(), opened.status().ToString());
    store_ = *std::move(opened);
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    rocksdb::DB* raw = nullptr;
    const rocksdb::Status status = rocksdb::DB::Open(options, path + "/raw", &raw);
    Require(status.ok(), status.ToString());
    raw_.reset(raw);
  }

  // Both return seconds for these batches.
  double RunStore(const std::vector<EntryColumns>& batches) {
    const auto start = std::chrono::steady_clock::now();
    for (const EntryColumns& columns : batches) {
      StoreBatch batch{.sequence = store_->applied() + 1};
      batch.runs = {{kKey, store_row_, &columns, 0, columns.count, /*map_ids=*/true, /*new_ids=*/true}};
      store_row_ += columns.count;
      batch.heads = {{kKey, store_row_, store_row_, store_row_}};
      Require(store_->Commit(batch).ok() && store_->Sync().ok(), "the store refused a batch");
    }
    return Seconds(start);
  }
  double RunRaw(const std::vector<EntryColumns>& batches) {
    rocksdb::WriteOptions synced;
    synced.sync = true;
    const auto start = std::chrono::steady_clock::now();
    std::string record;
    for (const EntryColumns& columns : batches) {
      rocksdb::WriteBatch batch;
      for (size_t i = 0; i < columns.count; ++i) {
        record.clear();
        format::AppendRow(columns.At(i), record);
        Require(batch.Put(format::NumberedKey(kKey, raw_row_++), record).ok(), "RocksDB refused an entry");
      }
      Require(raw_->Write(synced, &batch).ok(), "RocksDB refused a batch");
    }
    return Seconds(start);
  }

 private:
  StoreResources resources_{64 << 20, 256 << 20};
  std::unique_ptr<EntryStore> store_;
  std::unique_ptr<rocksdb::DB> raw_;
  Row store_row_ = 0;
  Row raw_row_ = 0;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int Run(size_t rounds, size_t batches_per_round) {
  std::string path = (std::filesystem::temp_directory_path() / "mneme-bench-XXXXXX").string();
  Require(::mkdtemp(path.data()) != nullptr, "no temporary directory");
  std::mt19937_64 random(1);
  std::vector<double> store_rates;
  std::vector<double> raw_rates;
  std::vector<double> ratios;
  {
    Rivals rivals(path);
    EntryId id = 0;
    for (size_t round = 0; round < rounds; ++round) {
      std::vector<EntryColumns> batches;
      for (size_t i = 0; i < batches_per_round; ++i, id += kEntries) batches.push_back(RandomColumns(random, id));
      const double entries = static_cast<double>(batches_per_round * kEntries);
      // Who goes first changes every round.
      const bool store_first = round % 2 == 0;
      double store = store_first ? rivals.RunStore(batches) : 0;
      const double raw = rivals.RunRaw(batches);
      if (!store_first) store = rivals.RunStore(batches);
      store_rates.push_back(entries / store);
      raw_rates.push_back(entries / raw);
      ratios.push_back(raw / store);
    }
  }
  std::filesystem::remove_all(path);
  std::printf("{\"benchmark\":\"durable_insert\",\"batch\":%zu,\"key_bytes\":%zu,\"rounds\":%zu,"
              "\"batches_per_round\":%zu,"
              "\"store_entries_per_second\":%.0f,\"raw_entries_per_second\":%.0f,\"ratio\":%.3f,\"ratio_min\":%.3f,"
              "\"ratio_max\":%.3f,\"bar\":0.75}\n",
              kEntries, kKeyBytes, rounds, batches_per_round, Median(store_rates), Median(raw_rates), Median(ratios),
              *std::min_element(ratios.begin(), ratios.end()), *std::max_element(ratios.begin(), ratios.end()));
  return 0;
}

}  // namespace
}  // namespace mneme

// insert_benchmark [ROUNDS [BATCHES_PER_ROUND]]
int main(int argc, char** argv) {
  const size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 9;
  const size_t batches = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 100;
  if (rounds == 0 || batches == 0) {
    std::fprintf(stderr, "usage: %s [ROUNDS [BATCHES_PER_ROUND]], both above 0\n", argv[0]);
    return 2;
  }
  return mneme::Run(rounds, batches);
}
