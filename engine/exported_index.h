// ExportedIndex: one partition as the lists of an inverted file, piece by piece, wherever its shards are.
#ifndef MNEME_ENGINE_EXPORTED_INDEX_H_
#define MNEME_ENGINE_EXPORTED_INDEX_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/checksum.h"
#include "common/types.h"
#include "engine/commands.h"

namespace mneme {

// The next items of one column, or of ids and keys together; the others are empty.
struct ExportPiece {
  std::vector<float> centroids;      // [lists x dimension]
  std::vector<uint64_t> list_sizes;  // [lists]
  std::vector<EntryId> ids;
  std::vector<float> keys;           // [ids x dimension]; cosine: of unit length
};

// What one shard has of it.
struct ExportHead {
  uint64_t rows = 0;     // dead ones too
  uint64_t entries = 0;  // that are alive
  uint32_t lists = 0;    // 0: it has no index
  Hash128 centroids;     // their checksum: shards with the same share their lists
};

// Holds no version itself: every call is given the lease, always the same one. Not thread-safe.
class ExportedIndex {
 public:
  virtual ~ExportedIndex() = default;

  virtual uint64_t lists() const = 0;
  virtual uint64_t entries() const = 0;
  // Centroids first, then sizes of lists, then entries, those of list 0 first: at most kExportPieceBytes, and nothing
  // once all were read. Blocks.
  virtual absl::StatusOr<ExportPiece> Next(const LeaseHandle& lease) = 0;
};

// What a piece holds at most, in lists' centroids, and in entries.
size_t CentroidsOfPiece(const MemorySpec& spec);
size_t EntriesOfPiece(const MemorySpec& spec);
// And in sizes of lists.
size_t SizesOfPiece();

// FAILED_PRECONDITION: none of the shards of a partition of `rows` rows has an index.
absl::Status NoIndexError(uint64_t rows);

}  // namespace mneme

#endif  // MNEME_ENGINE_EXPORTED_INDEX_H_
