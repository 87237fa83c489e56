// The requests of a load: batches of query keys, or of new entries, from arrays.
#ifndef MNEME_TESTS_BENCH_LOAD_REQUESTS_H_
#define MNEME_TESTS_BENCH_LOAD_REQUESTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/npy/npy_file.h"
#include "mneme/v1/memory.pb.h"
#include "tests/bench/load_options.h"

namespace mneme::bench {

// All the queries of an array, batch after batch; the last may be short. Not thread-safe.
class QueryLoad {
 public:
  static absl::StatusOr<QueryLoad> New(const LoadOptions& options);

  size_t requests() const { return requests_.size(); }
  const v1::QueryRequest& Request(size_t i) const { return requests_[i % requests_.size()]; }
  size_t Rows(size_t i) const;
  // Remembers the ids of an answer, and makes of it what is to be made of it.
  void Keep(size_t i, const v1::QueryResponse& response);
  // Writes them, [queries x k] i64.
  absl::Status WriteIds(const std::string& path) const;

 private:
  QueryLoad() = default;
  void MakeDistributions(const v1::NeighboursResult& result) const;

  uint32_t batch_ = 0;
  uint32_t k_ = 0;
  size_t queries_ = 0;
  double temperature_ = 0.0;  // of distributions that the client makes; 0: it makes none
  std::vector<v1::QueryRequest> requests_;
  std::vector<int64_t> ids_;
};

// New entries with ascending ids; keys and values of the arrays in turn. Not thread-safe.
class InsertLoad {
 public:
  static absl::StatusOr<InsertLoad> New(const LoadOptions& options);

  size_t requests() const { return keys_.rows() / options_.batch; }
  // Request i of this load; overwrites `request`.
  void Fill(size_t i, v1::InsertRequest& request) const;

 private:
  InsertLoad(const LoadOptions& options, NpyFile keys, NpyFile values)
      : options_(options), keys_(std::move(keys)), values_(std::move(values)) {}

  LoadOptions options_;
  NpyFile keys_;
  NpyFile values_;
};

}  // namespace mneme::bench

#endif  // MNEME_TESTS_BENCH_LOAD_REQUESTS_H_
