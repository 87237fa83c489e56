// How what shards export is laid flat, between processes; see flat_commands.h.
#ifndef MNEME_ENGINE_FLAT_EXPORT_H_
#define MNEME_ENGINE_FLAT_EXPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/exported_index.h"
#include "engine/flat_commands.h"

namespace mneme {

enum class ExportPart : uint8_t { kHead = 1, kCentroids = 2, kLists = 3 };

// What a shard is asked for: its head, in one message; its centroids; or sizes of lists, and then entries.
struct ExportQuestion {
  MemoryNumber memory = 0;
  PartitionId partition = 0;
  std::string lease;         // of the shard, of this partition alone
  int64_t stamp_ms = 0;      // what expired by then is left out
  ExportPart part = ExportPart::kHead;
  std::vector<float> given;  // of a shard without an index: centroids of another, into whose lists its entries go
};

template <typename Codec, OneOf<ExportQuestion> T>
void Describe(Codec& codec, T& question) {
  codec(question.memory, question.partition, question.lease, question.stamp_ms);
  codec.Enum(question.part, ExportPart::kHead, ExportPart::kLists);
  codec(question.given);
}

template <typename Codec, OneOf<ExportHead> T>
void Describe(Codec& codec, T& head) {
  codec(head.rows, head.entries, head.lists, head.centroids);
}

template <typename Codec, OneOf<ExportPiece> T>
void Describe(Codec& codec, T& piece) {
  codec(piece.centroids, piece.list_sizes, piece.ids, piece.keys);
}

}  // namespace mneme

#endif  // MNEME_ENGINE_FLAT_EXPORT_H_
