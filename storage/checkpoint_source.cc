#include "storage/checkpoint_source.h"

#include <rocksdb/env.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/file_pieces.h"
#include "storage/read_only_db.h"

namespace mneme {
namespace {

// By name, without their checksums.
absl::StatusOr<std::vector<CheckpointFile>> FilesIn(const std::string& path) {
  std::vector<CheckpointFile> files;
  std::error_code error;
  std::filesystem::directory_iterator entry(path, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    files.push_back({entry->path().filename().string(), entry->file_size(error), {}});
    if (error) break;
    if (files.size() > limits::kMaxCheckpointFiles) {
      return absl::ResourceExhaustedError(absl::StrCat("a checkpoint has more than ", limits::kMaxCheckpointFiles,
                                                       " files, which is the bound"));
    }
  }
  if (error) return absl::UnavailableError(absl::StrCat("could not read ", path, ": ", error.message()));
  std::sort(files.begin(), files.end(),
            [](const CheckpointFile& a, const CheckpointFile& b) { return a.name < b.name; });
  return files;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const CheckpointSource>> CheckpointSource::Open(std::string path, uint64_t id,
                                                                               const Reading& reading) {
  std::unique_ptr<CheckpointSource> opened(new CheckpointSource(std::move(path)));
  CheckpointManifest& manifest = opened->manifest_;
  manifest.id = id;
  ASSIGN_OR_RETURN(manifest.files, FilesIn(opened->path_));
  const uint64_t of_bytes = manifest.bytes();
  uint64_t bytes = 0;
  for (CheckpointFile& file : manifest.files) {
    ASSIGN_OR_RETURN(const SummedFile summed,
                     SumFile(absl::StrCat(opened->path_, "/", file.name), [&](uint64_t read) {
                       bytes += read;
                       return reading(bytes, of_bytes);
                     }));
    file.bytes = summed.bytes;
    file.checksum = summed.checksum;
  }
  ASSIGN_OR_RETURN(const auto store, ReadOnlyDb::Open(opened->path_, rocksdb::Env::Default()));
  ASSIGN_OR_RETURN(const StoreContents contents, store->ReadContents());
  manifest.applied = contents.applied;
  manifest.entries = contents.entries;
  return std::unique_ptr<const CheckpointSource>(std::move(opened));
}

CheckpointSource::~CheckpointSource() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

absl::StatusOr<CheckpointChunk> CheckpointSource::Read(uint64_t file, uint64_t offset) const {
  if (file >= manifest_.files.size() || offset >= manifest_.files[file].bytes) {
    return absl::OutOfRangeError(absl::StrCat("file ", file, " of the checkpoint has no byte ", offset));
  }
  CheckpointChunk chunk;
  chunk.offset = offset;
  ASSIGN_OR_RETURN(chunk.bytes, ReadPiece(absl::StrCat(path_, "/", manifest_.files[file].name), offset,
                                          limits::kCheckpointChunkBytes));
  chunk.checksum = ChunkChecksum(offset, chunk.bytes);
  return chunk;
}

}  // namespace mneme
