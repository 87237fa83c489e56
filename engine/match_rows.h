// MatchRows: the keys of one side of a match, only the components that are compared, as shards give them and as they
// are compared.
#ifndef MNEME_ENGINE_MATCH_ROWS_H_
#define MNEME_ENGINE_MATCH_ROWS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/commands.h"
#include "index/index_version.h"
#include "readout/match.h"

namespace mneme {

struct MatchSide {
  MemoryHandle memory;
  VisitCommand selection;
  std::vector<uint32_t> components;  // of the keys, compared with those of the other side in pairs
};

struct MatchCommand {
  MatchSide source;
  MatchSide target;
  uint32_t csls_k = 0;
  CslsForm form = CslsForm::kHalf;
};

struct MatchRows {
  std::vector<EntryId> ids;
  std::vector<PartitionId> partitions;  // [ids]
  std::vector<double> values;           // [ids x width]
  size_t width = 0;
  uint64_t read = 0;  // keys that were looked at

  MatrixView view() const { return {values, ids.size(), width}; }
};

// The live entries of `versions` that the side's filter accepts, in no order. OUT_OF_RANGE when there are more than
// kMaxMatchBytes of them; what the selection's limits say.
absl::StatusOr<MatchRows> ReadMatchRows(const MatchSide& side,
                                        absl::Span<const std::shared_ptr<const IndexVersion>> versions);
// Appends the rows of another shard. OUT_OF_RANGE as above.
absl::Status AppendMatchRows(const MatchSide& side, const MatchRows& more, MatchRows& rows);
// By (id, partition); rows of a cosine memory as unit vectors.
MatchRows Ordered(const MatchSide& side, const MatchRows& rows);
// OUT_OF_RANGE beyond kMaxMatchProducts.
absl::Status CheckProducts(const MatchRows& x, const MatchRows& z);

}  // namespace mneme

#endif  // MNEME_ENGINE_MATCH_ROWS_H_
