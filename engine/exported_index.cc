#include "engine/exported_index.h"

#include "absl/strings/str_cat.h"
#include "common/limits.h"

namespace mneme {

size_t CentroidsOfPiece(const MemorySpec& spec) { return limits::kExportPieceBytes / (spec.dimension * sizeof(float)); }

size_t EntriesOfPiece(const MemorySpec& spec) {
  return limits::kExportPieceBytes / (spec.dimension * sizeof(float) + sizeof(EntryId));
}

size_t SizesOfPiece() { return limits::kExportPieceBytes / sizeof(uint64_t); }

absl::Status NoIndexError(uint64_t rows) {
  return absl::FailedPreconditionError(
      absl::StrCat("the partition has ", rows, " rows and no index; build it first (BuildIndex, of ",
                   limits::kMinIndexedRows, " or more)"));
}

}  // namespace mneme
