// CheckpointSource: the files of a checkpoint of a shard's store, for a replica that copies them.
#ifndef MNEME_STORAGE_CHECKPOINT_SOURCE_H_
#define MNEME_STORAGE_CHECKPOINT_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/checkpoint_manifest.h"

namespace mneme {

// Thread-safe (immutable). Its files are links and copies that nobody changes; they go with it.
class CheckpointSource {
 public:
  // Told how many bytes were read of how many; its error ends the reading.
  using Reading = std::function<absl::Status(uint64_t bytes, uint64_t of_bytes)>;

  // Of the folder `path`, which EntryStore::Checkpoint made and which is this object's from now on, after an error,
  // too. Reads everything once. DATA_LOSS when the store does not open; RESOURCE_EXHAUSTED beyond kMaxCheckpointFiles.
  static absl::StatusOr<std::unique_ptr<const CheckpointSource>> Open(std::string path, uint64_t id,
                                                                      const Reading& reading);
  ~CheckpointSource();

  const CheckpointManifest& manifest() const { return manifest_; }
  // A piece of file `file` of the manifest from `offset` on, of kCheckpointChunkBytes unless the file ends before.
  // OUT_OF_RANGE where there is no such byte.
  absl::StatusOr<CheckpointChunk> Read(uint64_t file, uint64_t offset) const;

 private:
  explicit CheckpointSource(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  CheckpointManifest manifest_;  // constant after Open()
};

}  // namespace mneme

#endif  // MNEME_STORAGE_CHECKPOINT_SOURCE_H_
