// FaissWriter: an index as the file that faiss::read_index opens, written as it arrives.
#ifndef MNEME_CLIENT_CLI_FAISS_WRITER_H_
#define MNEME_CLIENT_CLI_FAISS_WRITER_H_

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mneme/v1/admin.pb.h"

namespace mneme::cli {

// Writes an IVFFlat index ("IwFl") over a flat quantiser, in the format that faiss_file.h names, from the messages of
// one ExportIndex. The file has its name once it is whole: what comes goes to `path`.partial until Finish. Ram holds
// the sizes of the lists, and the ids of one. Not thread-safe.
class FaissWriter {
 public:
  // Returns UNAVAILABLE if the file cannot be created.
  static absl::StatusOr<FaissWriter> Create(const std::string& path);

  FaissWriter(FaissWriter&& other) noexcept = default;
  // Removes the partial file unless Finish was called.
  ~FaissWriter();

  // The next message. Returns INTERNAL if it does not fit those before; UNAVAILABLE if the disk refuses it.
  absl::Status Add(const v1::ExportIndexResponse& piece);
  // Returns INTERNAL if something did not come. Called once, last.
  absl::Status Finish();

  // Of the first message.
  const v1::ExportedShape& shape() const { return shape_; }
  uint64_t rows() const { return rows_; }

 private:
  FaissWriter() = default;
  uint64_t KeyBytes() const { return uint64_t{shape_.dimension()} * sizeof(float); }
  absl::Status Begin(const v1::ExportedShape& shape);
  absl::Status AddCentroids(const std::string& bytes);
  absl::Status AddSizes(const std::string& bytes);
  absl::Status AddRows(const std::string& ids, const std::string& keys);
  // Closes the lists that are full: their ids follow their keys.
  absl::Status CloseLists();
  absl::Status Write(const void* data, size_t bytes);
  template <typename T>
  absl::Status Item(T item) {
    return Write(&item, sizeof(item));
  }
  absl::Status WriteHeader(uint64_t rows);

  std::string path_;
  std::ofstream file_;
  v1::ExportedShape shape_;
  uint64_t centroid_bytes_ = 0;  // written
  std::vector<uint64_t> sizes_;
  uint64_t sized_rows_ = 0;      // of all sizes
  size_t list_ = 0;
  std::vector<uint64_t> ids_;    // of the list that is being written
  uint64_t rows_ = 0;
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_FAISS_WRITER_H_
