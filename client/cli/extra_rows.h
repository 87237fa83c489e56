// ExtraRows: the extra candidates of each query, from files (RetoMaton).
#ifndef MNEME_CLIENT_CLI_EXTRA_ROWS_H_
#define MNEME_CLIENT_CLI_EXTRA_ROWS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/npy/npy_file.h"
#include "mneme/v1/memory.pb.h"

namespace mneme::cli {

struct ExtraFiles {
  std::string ids;      // empty: there are none
  std::string offsets;  // empty: `ids` has a row for each query
  std::string sources;
};

// Opened, checked files. Immutable, thread-safe.
class ExtraRows {
 public:
  // Returns INVALID_ARGUMENT, naming file and bound, if they are not those of `rows` queries.
  static absl::StatusOr<ExtraRows> Open(const ExtraFiles& files, uint64_t rows);

  // Those of queries [first, first + count).
  v1::ExtraCandidates Rows(uint64_t first, uint64_t count) const;

 private:
  explicit ExtraRows(NpyFile ids) : ids_(std::move(ids)) {}

  NpyFile ids_;
  std::vector<NpyFile> sources_;   // none or one
  std::vector<uint64_t> offsets_;  // rows + 1
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_EXTRA_ROWS_H_
