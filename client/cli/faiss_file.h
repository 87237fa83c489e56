// FaissFile: the trained part of a FAISS index file, read without FAISS and without trusting a byte of it.
//
// The format is that of faiss::write_index (1.5 to 1.7, little endian): a kind of four letters, a header, and for an
// inverted file its coarse quantiser, which is an index of its own, before the lists.
#ifndef MNEME_CLIENT_CLI_FAISS_FILE_H_
#define MNEME_CLIENT_CLI_FAISS_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mneme/v1/types.pb.h"

namespace mneme::cli {

struct FaissCentroids {
  uint32_t dimension = 0;
  v1::Metric metric = v1::METRIC_L2;  // or METRIC_INNER_PRODUCT
  uint32_t lists = 0;
  std::vector<float> centroids;  // [lists x dimension]
};

// Centroids of an IVFFlat index ("IwFl") over a flat quantiser; its rows are walked over and not read. Messages begin
// with the path. NOT_FOUND when there is no such file; INVALID_ARGUMENT when it is no index of this kind, untrained, or
// beyond the bounds of common/limits.h; DATA_LOSS when it is shorter or longer than it says or contradicts itself.
absl::StatusOr<FaissCentroids> ReadFaissCentroids(const std::string& path);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_FAISS_FILE_H_
