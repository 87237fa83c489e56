// ImportSource: the files of one import as batches of entries.
#ifndef MNEME_CLIENT_CLI_IMPORT_SOURCE_H_
#define MNEME_CLIENT_CLI_IMPORT_SOURCE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/value_source.h"
#include "client/npy/npy_file.h"
#include "mneme/v1/admin.pb.h"

namespace mneme::cli {

// As given on the command line; an empty path is a column that is not there.
struct ImportFiles {
  std::string keys;
  ValueFiles values;
  std::string ids;
  std::string weights;
  std::string scores;
  std::string labels;
  std::string sources;
  std::string positions;
  std::string expiries_ms;
  std::string partitions;
  std::string raw_dtype;   // of raw keys
  uint32_t raw_dimension = 0;
};

// Opened, checked files of equal length. Immutable, thread-safe.
class ImportSource {
 public:
  // Returns INVALID_ARGUMENT, naming file, row and bound, if anything does not fit the memory or the other files.
  static absl::StatusOr<ImportSource> Open(const ImportFiles& files, const v1::MemoryDescription& memory);

  uint64_t rows() const { return keys_.rows(); }
  // Rows of a batch that travels well, and of one that becomes a table of its own.
  uint64_t BatchRows() const;
  uint64_t BulkBatchRows() const;
  // Where a batch of at most `rows` rows from `first` on ends: it is of one partition.
  uint64_t BatchEnd(uint64_t first, uint64_t rows) const;
  // The partition of a row; `otherwise` where the files do not say.
  uint64_t PartitionAt(uint64_t row, uint64_t otherwise) const;
  // Rows [first, first + count), with ids: the file's, or the row numbers counted from `first_id`.
  v1::Entries Batch(uint64_t first, uint64_t count, uint64_t first_id) const;

 private:
  enum class Kind { kIds, kWeights, kScores, kLabels, kSources, kPositions, kExpiries };
  struct Column {
    Kind kind;
    NpyFile file;
  };

  ImportSource(NpyFile keys, ValueSource values) : keys_(std::move(keys)), values_(std::move(values)) {}
  // At most `rows` rows, of about `bytes` bytes together.
  uint64_t RowsWithin(uint64_t bytes, uint64_t rows) const;
  absl::Status AddColumn(Kind kind, const std::string& path);

  NpyFile keys_;
  ValueSource values_;
  std::vector<Column> columns_;
  std::vector<NpyFile> partitions_;  // none or one
};

// An error of the server about a batch whose first row is `first`, told by file and row of the file instead of the
// field and the item of the request: "entries.keys[3] has .." is "keys.npy row 150003 has ..". Others are returned as
// they are.
absl::Status NameRow(const absl::Status& status, const ImportFiles& files, uint64_t first);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_IMPORT_SOURCE_H_
