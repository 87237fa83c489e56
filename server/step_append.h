// Learning from a step: the columns that a query stream appends, and what the memory was worth there.
#ifndef MNEME_SERVER_STEP_APPEND_H_
#define MNEME_SERVER_STEP_APPEND_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/aligned_buffer.h"
#include "common/columns.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "server/distribution_plan.h"

namespace mneme {

// A query that a stream has answered, as far as an append may refer to it. Immutable once made.
struct AnsweredQuery {
  // That was asked, or that a mixture named for its appends; 0: it named none. No handle: data of a memory that was
  // dropped goes while streams live on.
  MemoryNumber memory = 0;
  bool mixed = false;
  AlignedBuffer rows;  // [count x dimension] f32, as decoded
  size_t count = 0;
  // Of a distribution; absent for other read-outs.
  bool has_distribution = false;
  std::vector<NeighbourColumns> neighbours;  // of each source
  std::vector<double> weights;               // of the sources
  double temperature = 1.0;  // the first
  uint32_t k = 0;            // the first
  std::vector<Token> allowed;
  bool has_allowed = false;
  double knn_weight = 0.25;  // of its mix, or the paper's
};

struct PlannedAppend {
  InsertCommand command;
  BenefitCount benefit;
  bool of_mixture = false;  // the benefit: told on the stream, and no one memory's
};

// Validates an append and counts its benefit. Keys left out are those of `last`; the benefit of keys that are on the
// wire is counted against `previous` where they are its keys (a decode loop learns one step late), else against `last`.
// Either query may be null. INVALID_ARGUMENT names the field, under "append".
absl::StatusOr<PlannedAppend> PlanAppend(const v1::StepAppend& append, const MemoryHandle& memory,
                                         const AnsweredQuery* last, const AnsweredQuery* previous);

}  // namespace mneme

#endif  // MNEME_SERVER_STEP_APPEND_H_
