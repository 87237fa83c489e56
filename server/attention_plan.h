// AttentionPlan: what an attention read-out was asked for, checked; and the answer made from neighbours. Pure;
// thread-safe.
#ifndef MNEME_SERVER_ATTENTION_PLAN_H_
#define MNEME_SERVER_ATTENTION_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "common/columns.h"
#include "common/types.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "readout/attention.h"

namespace mneme {

struct AttentionPlan {
  AttentionOptions options;
  uint32_t k = 0;  // kEveryEntry: all
  bool keep_ties = false;
  bool with_weights = false;
  // Groups, or none.
  std::vector<size_t> group_offsets;
  std::vector<char> contexts;  // f32 [groups x value_dimension]
  Metric group_metric = Metric::kInnerProduct;
  double group_temperature = 1.0;
};

// `command` has rows and k already, 0 for all; its k becomes what is to be searched for. INVALID_ARGUMENT names the
// field, under "attention".
absl::Status ReadAttention(const v1::AttentionReadOut& wire, const MemorySpec& spec, QueryCommand& command,
                           AttentionPlan& plan);

// `searched` is the k that was searched for. What `limits` says when it says stop; DATA_LOSS when a stored value is damaged.
absl::Status WriteAttention(const AttentionPlan& plan, const MemorySpec& spec, uint32_t searched,
                            const NeighbourColumns& neighbours, v1::Precision precision, bool several_partitions,
                            const CallLimits& limits, v1::AttentionResult* out);

}  // namespace mneme

#endif  // MNEME_SERVER_ATTENTION_PLAN_H_
