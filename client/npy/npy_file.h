// NpyFile and NpyWriter: arrays as files, read through a memory map and written row by row.
#ifndef MNEME_CLIENT_NPY_NPY_FILE_H_
#define MNEME_CLIENT_NPY_NPY_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/npy/npy_header.h"

namespace mneme {

// A read-only array on disk: a NumPy file, or a headerless memory map whose dtype and width the caller knows. Opening
// reads the header only, so that a datastore larger than ram opens at once; pages come as rows are touched.
// Thread-safe. The file must not shrink while it is open (as with any memory map, touching lost pages is fatal).
class NpyFile {
 public:
  // Opens a .npy file; strict, see NpyHeader. Messages begin with the path.
  // Returns NOT_FOUND if there is no such file; INVALID_ARGUMENT if it is not a regular file, not NumPy's or of a kind
  // that is not accepted; DATA_LOSS if it is shorter or longer than its header says.
  static absl::StatusOr<NpyFile> Open(const std::string& path);

  // Opens a headerless file of rows of `columns` items; columns 0: one dimension.
  // Returns NOT_FOUND as above; INVALID_ARGUMENT if its size is not a whole number of rows, or if it is a NumPy file
  // after all (its header would be read as numbers).
  static absl::StatusOr<NpyFile> OpenRaw(const std::string& path, NpyDtype dtype, uint64_t columns);

  NpyFile(NpyFile&&) = default;
  NpyFile& operator=(NpyFile&&) = default;

  const std::string& path() const { return path_; }
  NpyDtype dtype() const { return header_.dtype; }
  const std::vector<uint64_t>& shape() const { return header_.shape; }
  // The first extent (1 for a scalar), and the items and bytes of one row.
  uint64_t rows() const { return header_.shape.empty() ? 1 : header_.shape[0]; }
  uint64_t row_items() const;
  uint64_t row_bytes() const { return row_items() * NpyItemBytes(header_.dtype); }

  // Rows [first, first + count), which the array has: little-endian items, C order, at any alignment.
  std::string_view Rows(uint64_t first, uint64_t count) const;

  // Returns INVALID_ARGUMENT, naming path, extents and bound, unless the array has this many dimensions (and, when
  // `columns` is not 0, this many columns) or as many rows.
  absl::Status CheckDimensions(size_t dimensions, uint64_t columns = 0) const;
  absl::Status CheckRows(uint64_t rows) const;
  // Returns INVALID_ARGUMENT unless the items are integers.
  absl::Status CheckInteger() const;

  // Item i in C order, i < rows() * row_items(). IntegerAt: of an integer dtype; a u64 above 2^63 - 1 comes back
  // negative, as its two's complement. NumberAt: of any dtype, rounded to a double.
  int64_t IntegerAt(uint64_t i) const;
  double NumberAt(uint64_t i) const;

 private:
  struct Unmap {
    Unmap() : bytes(0) {}
    explicit Unmap(size_t mapped) : bytes(mapped) {}
    void operator()(const char* map) const;
    size_t bytes;
  };
  NpyFile() = default;
  static absl::StatusOr<NpyFile> Map(const std::string& path);

  std::string path_;
  NpyHeader header_;
  std::unique_ptr<const char, Unmap> map_;  // null when the file is empty
  size_t file_bytes_ = 0;
};

// Writes a .npy file whose number of rows is known only at the end. The file has its name once it is whole: rows go to
// `path`.partial until Finish. Not thread-safe.
class NpyWriter {
 public:
  // Rows of `columns` items; columns 0: one dimension. Replaces a file of this name at Finish.
  // Returns INVALID_ARGUMENT for kBF16, which NumPy has not; UNAVAILABLE if the file cannot be created.
  static absl::StatusOr<NpyWriter> Create(const std::string& path, NpyDtype dtype, uint64_t columns = 0);

  NpyWriter(NpyWriter&& other) noexcept;
  NpyWriter& operator=(NpyWriter&& other) noexcept;
  // Removes the partial file unless Finish was called.
  ~NpyWriter();

  // Appends whole rows of little-endian items.
  // Returns INVALID_ARGUMENT if `bytes` is not a whole number of rows; UNAVAILABLE if the disk refuses them.
  absl::Status Append(std::string_view bytes);
  // Appends one dimension's items, whose C++ type matches the dtype in size.
  template <typename T>
  absl::Status AppendItems(const std::vector<T>& items) {
    return Append({reinterpret_cast<const char*>(items.data()), items.size() * sizeof(T)});
  }

  // Writes the header, syncs, and gives the file its name. Called once, last.
  absl::Status Finish();

 private:
  NpyWriter() = default;

  std::string path_;
  NpyDtype dtype_ = NpyDtype::kF32;
  uint64_t columns_ = 0;
  uint64_t bytes_ = 0;
  int file_ = -1;  // -1: finished or moved from
};

}  // namespace mneme

#endif  // MNEME_CLIENT_NPY_NPY_FILE_H_
