// FaissFile: the trained part of a FAISS index file, read without FAISS and without trusting a byte of it.
//
// The format is that of faiss::write_index (1.5 to 1.15, little endian): a kind of four letters, a header, and for an
// inverted file its coarse quantiser, which is an index of its own, before its product quantiser, if it has one, and
// the lists.
#ifndef MNEME_CLIENT_CLI_FAISS_FILE_H_
#define MNEME_CLIENT_CLI_FAISS_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mneme/v1/types.pb.h"

namespace mneme::cli {

struct FaissTraining {
  uint32_t dimension = 0;
  v1::Metric metric = v1::METRIC_L2;  // or METRIC_INNER_PRODUCT
  uint32_t lists = 0;
  std::vector<float> centroids;  // [lists x dimension]
  // IVFPQ only.
  bool by_residual = false;  // else it codes whole keys
  uint32_t columns = 0;      // M
  uint32_t bits = 0;
  std::vector<float> subvectors;  // [M x 2^bits x dimension / M]
};

// What was trained of an IVFFlat ("IwFl") or IVFPQ ("IwPQ") index over a flat quantiser; its rows are walked over and
// not read. Messages begin with the path. NOT_FOUND when there is no such file; INVALID_ARGUMENT when it is no index of
// these kinds, untrained, or beyond the bounds of common/limits.h; DATA_LOSS when it is shorter or longer than it says
// or contradicts itself.
absl::StatusOr<FaissTraining> ReadFaissTraining(const std::string& path);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_FAISS_FILE_H_
