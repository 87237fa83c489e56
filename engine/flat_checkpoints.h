// What replicas ask of each other, and a front end of replicas, laid flat; see flat_commands.h.
#ifndef MNEME_ENGINE_FLAT_CHECKPOINTS_H_
#define MNEME_ENGINE_FLAT_CHECKPOINTS_H_

#include "engine/flat_commands.h"
#include "engine/flat_progress.h"
#include "engine/replica_description.h"
#include "storage/checkpoint_manifest.h"
#include "storage/shard_digest.h"

namespace mneme {

template <typename Codec, OneOf<CheckpointFile> T>
void Describe(Codec& codec, T& file) {
  codec(file.name, file.bytes, file.checksum);
}

template <typename Codec, OneOf<CheckpointManifest> T>
void Describe(Codec& codec, T& manifest) {
  codec(manifest.id, manifest.applied, manifest.entries, manifest.files);
}

template <typename Codec, OneOf<CheckpointChunk> T>
void Describe(Codec& codec, T& chunk) {
  codec(chunk.offset, chunk.checksum, chunk.bytes);
}

template <typename Codec, OneOf<ShardDigest> T>
void Describe(Codec& codec, T& digest) {
  codec(digest.applied, digest.entries, digest.hash);
}

// What a replica says of itself, with the address by which it knows itself; the rest is known to who asks.
template <typename Codec, OneOf<ReplicaDescription> T>
void Describe(Codec& codec, T& replica) {
  codec.Enum(replica.state, ReplicaState::kServing, ReplicaState::kAway);
  codec(replica.address, replica.detail, replica.applied, replica.log_end, replica.entries);
}

}  // namespace mneme

#endif  // MNEME_ENGINE_FLAT_CHECKPOINTS_H_
