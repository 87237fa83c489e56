// ValueSource: the values of an import, whatever their kind and file.
#ifndef MNEME_CLIENT_CLI_VALUE_SOURCE_H_
#define MNEME_CLIENT_CLI_VALUE_SOURCE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/npy/npy_file.h"
#include "mneme/v1/admin.pb.h"

namespace mneme::cli {

struct ValueFiles {
  std::string values;     // SPARSE_VECTOR: the listed components of all values
  std::string offsets;    // where each value begins; BYTES without: rows of equal length, or lines of text
  std::string indices;    // SPARSE_VECTOR: which components
  std::string remainders; // SPARSE_VECTOR: the sum of the others; empty: 0
  bool raw = false;       // headerless
  std::string raw_dtype;  // of raw values
};

// Checked values: tokens in range, vectors of the right width, bytes within bounds. Immutable, thread-safe.
class ValueSource {
 public:
  // Returns INVALID_ARGUMENT, naming file, row and bound, if a value cannot be one of `memory`'s.
  static absl::StatusOr<ValueSource> Open(const ValueFiles& files, const v1::MemoryDescription& memory);

  uint64_t rows() const { return rows_; }
  // What a value takes in a message, on average.
  uint64_t RowBytes() const;
  // Rows [first, first + count).
  v1::Values Rows(uint64_t first, uint64_t count) const;

 private:
  explicit ValueSource(v1::ValueKind kind) : kind_(kind) {}
  absl::Status OpenTokens(const ValueFiles& files, uint32_t vocabulary_size);
  absl::Status OpenVectors(const ValueFiles& files, const v1::MemoryDescription& memory);
  absl::Status OpenBytes(const ValueFiles& files);
  absl::Status OpenSparse(const ValueFiles& files, uint32_t vocabulary_size);
  absl::Status OpenLines(const std::string& path);
  absl::Status CheckBlobs(const std::string& path) const;

  v1::SparseVectors SparseRows(uint64_t first, uint64_t count) const;

  v1::ValueKind kind_;
  uint64_t rows_ = 0;
  std::vector<NpyFile> file_;        // none or one
  std::vector<NpyFile> indices_;     // SPARSE_VECTOR: one
  std::vector<NpyFile> remainders_;  // SPARSE_VECTOR: none or one
  std::string lines_;             // BYTES from a text file: all of them, without line ends
  std::vector<uint64_t> bounds_;  // BYTES and SPARSE_VECTOR: rows + 1 offsets into the file or into lines_
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_VALUE_SOURCE_H_
