#include "tests/bench/faiss_side.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>
#include <omp.h>

#include <algorithm>

#include "client/npy/npy_file.h"
#include "tests/bench/measurement.h"

namespace mneme::bench {

struct FaissSide::Index {
  Index(size_t dimension, size_t lists)
      : quantizer(static_cast<faiss::Index::idx_t>(dimension)), ivf(&quantizer, dimension, lists) {}

  faiss::IndexFlatL2 quantizer;
  faiss::IndexIVFFlat ivf;
};

FaissSide::FaissSide(const std::vector<float>& keys, const std::vector<float>& centroids, size_t dimension)
    : index_(std::make_unique<Index>(dimension, centroids.size() / dimension)), dimension_(dimension) {
  index_->quantizer.add(static_cast<faiss::Index::idx_t>(centroids.size() / dimension), centroids.data());
  index_->ivf.is_trained = true;
  index_->ivf.add(static_cast<faiss::Index::idx_t>(keys.size() / dimension), keys.data());
}

FaissSide::~FaissSide() = default;

nlohmann::json FaissSide::Run(const nlohmann::json& command, const std::vector<float>& queries) {
  using Id = faiss::Index::idx_t;
  const size_t k = command.value("k", 10);
  const size_t batch = command.value("batch", 64);
  const double seconds = command.value("seconds", 2.0);
  const std::string ids_out = command.value("ids_out", "");
  const size_t count = queries.size() / dimension_;
  index_->ivf.nprobe = command.value("nprobe", 1);
  omp_set_num_threads(command.value("threads", 2));

  std::vector<float> distances(batch * k);
  std::vector<Id> ids(batch * k);
  std::vector<int64_t> all;
  Measurement measured;
  measured.Start();
  const Steady::time_point begin = Steady::now();
  for (size_t first = 0;; first += batch) {
    if (first >= count) {
      if (!ids_out.empty()) break;
      first = 0;
    }
    if (ids_out.empty() && SecondsBetween(begin, Steady::now()) >= seconds) break;
    const size_t rows = std::min(batch, count - first);
    const Steady::time_point start = Steady::now();
    index_->ivf.search(static_cast<Id>(rows), queries.data() + first * dimension_, static_cast<Id>(k),
                       distances.data(), ids.data());
    measured.Add(start, rows, 0);
    if (!ids_out.empty()) all.insert(all.end(), ids.begin(), ids.begin() + static_cast<ptrdiff_t>(rows * k));
  }
  if (!ids_out.empty()) {
    NpyWriter writer = Require(NpyWriter::Create(ids_out, NpyDtype::kI64, k));
    Require(writer.AppendItems(all));
    Require(writer.Finish());
  }
  return measured.Report();
}

}  // namespace mneme::bench
