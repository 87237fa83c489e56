// CheckpointManifest: what a checkpoint of a shard's store consists of, as a replica that copies it is told.
#ifndef MNEME_STORAGE_CHECKPOINT_MANIFEST_H_
#define MNEME_STORAGE_CHECKPOINT_MANIFEST_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/checksum.h"
#include "common/types.h"

namespace mneme {

struct CheckpointFile {
  std::string name;  // of no folder
  uint64_t bytes = 0;
  Hash128 checksum;  // of all of them (Checksum128)
  friend bool operator==(const CheckpointFile&, const CheckpointFile&) = default;
};

struct CheckpointManifest {
  uint64_t id = 0;       // by which its source knows it
  Sequence applied = 0;  // it has everything up to here, and nothing after it
  uint64_t entries = 0;  // that are alive
  std::vector<CheckpointFile> files;  // by name

  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const CheckpointFile& file : files) sum += file.bytes;
    return sum;
  }
  friend bool operator==(const CheckpointManifest&, const CheckpointManifest&) = default;
};

// A piece of a file, on its way.
struct CheckpointChunk {
  uint64_t offset = 0;
  uint64_t checksum = 0;  // ChunkChecksum()
  std::string bytes;
};

// A piece that is put elsewhere has another one.
inline uint64_t ChunkChecksum(uint64_t offset, std::string_view bytes) { return Checksum64(bytes, offset); }

}  // namespace mneme

#endif  // MNEME_STORAGE_CHECKPOINT_MANIFEST_H_
