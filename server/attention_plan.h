// AttentionPlan: what an attention read-out was asked for, checked; and the answer made from neighbours. Pure;
// thread-safe.
#ifndef MNEME_SERVER_ATTENTION_PLAN_H_
#define MNEME_SERVER_ATTENTION_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/columns.h"
#include "common/types.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "readout/attention.h"
#include "server/query_source.h"

namespace mneme {

struct AttentionPlan {
  AttentionOptions options;
  bool keep_ties = false;
  bool with_weights = false;
  // Groups, or none.
  std::vector<size_t> group_offsets;
  std::vector<char> contexts;  // f32 [groups x value_dimension]
  Metric group_metric = Metric::kInnerProduct;
  double group_temperature = 1.0;
};

// The sources' commands have rows and k already, 0 for all; their k becomes what is to be searched for.
// INVALID_ARGUMENT names the field, under "attention".
absl::Status ReadAttention(const v1::AttentionReadOut& wire, absl::Span<QuerySource> sources, AttentionPlan& plan);

// The most bytes that the columns of its answer take, in double precision: what is of rows, and what is of groups
// alone. The source is the only one, and was not asked yet. Weights of all entries, whose number is not known, are left
// out.
size_t MostRowBytes(const AttentionPlan& plan, const QuerySource& source);
size_t MostGroupBytes(const AttentionPlan& plan, const QuerySource& source);

// Fills the answer, of one source or of a mixture: then also what the MixtureAnswers of `out`, one for each, say of
// found, weights and active. What `limits` says when it says stop; DATA_LOSS when a stored value is damaged.
absl::Status WriteAttention(const AttentionPlan& plan, absl::Span<const QuerySource> sources, v1::Precision precision,
                            const CallLimits& limits, v1::QueryResponse* out);

}  // namespace mneme

#endif  // MNEME_SERVER_ATTENTION_PLAN_H_
