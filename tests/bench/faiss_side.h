// FaissSide: Debian's FAISS IVFFlat over the same keys and centroids, in this process.
#ifndef MNEME_TESTS_BENCH_FAISS_SIDE_H_
#define MNEME_TESTS_BENCH_FAISS_SIDE_H_

#include <memory>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace mneme::bench {

// Not thread-safe.
class FaissSide {
 public:
  // `keys` [n x dimension], `centroids` [lists x dimension]; squared L2.
  FaissSide(const std::vector<float>& keys, const std::vector<float>& centroids, size_t dimension);
  ~FaissSide();

  // Fields k, nprobe, batch, threads, seconds, and ids_out for one pass. `queries` [count x dimension].
  nlohmann::json Run(const nlohmann::json& command, const std::vector<float>& queries);

 private:
  struct Index;  // keeps FAISS out of this header
  const std::unique_ptr<Index> index_;
  const size_t dimension_;
};

}  // namespace mneme::bench

#endif  // MNEME_TESTS_BENCH_FAISS_SIDE_H_
