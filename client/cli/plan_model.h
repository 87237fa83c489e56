// PlanModel: what a memory of so many entries needs, by arithmetic alone: no server is asked.
#ifndef MNEME_CLIENT_CLI_PLAN_MODEL_H_
#define MNEME_CLIENT_CLI_PLAN_MODEL_H_

#include <cstdint>

#include "common/index_choice.h"

namespace mneme::cli {

// What is planned, and the machines to plan it for.
struct PlanRequest {
  uint64_t entries = 0;
  uint32_t dimension = 0;
  uint32_t component_bytes = 4;  // of a stored key: 4 for f32, 2 for f16
  bool cosine = false;
  IndexChoice index;
  double value_bytes = 4;        // of one entry: a token's, or the mean of what is stored
  bool variable_values = false;  // BYTES values
  uint32_t k = 10;
  uint64_t machine_ram_bytes = uint64_t{24} << 30;
  uint32_t machine_cores = 2;
  double wanted_queries_per_second = 0;  // 0: whatever one copy gives
};

// Of one copy of the memory, sealed into one segment, at the default recall target, in batches.
struct Plan {
  uint32_t lists = 0;                  // 0: too few entries for an index, scanned exactly
  double code_bytes_per_entry = 0;     // what the fast pass reads
  double store_bytes = 0;              // RocksDB
  double index_bytes = 0;              // segment and codebook files
  double disk_bytes = 0;               // both
  double peak_disk_bytes = 0;          // while a rebuild writes the new segment beside the old one
  double ram_bytes = 0;                // of the server with the whole index resident; writes take up to 512 MB more
  double least_ram_bytes = 0;          // with codes, ids and centroids resident, keys read from disk as needed
  double build_seconds = 0;            // training and writing from an empty index
  double rows_scanned = 0;             // by one query
  double queries_per_second = 0;       // of one machine
  uint64_t machines_for_ram = 0;       // so that all pages are resident
  uint64_t machines = 0;               // and the wanted queries per second are met
};

Plan MakePlan(const PlanRequest& request);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_PLAN_MODEL_H_
