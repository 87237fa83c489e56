#include "server/step_names.h"

namespace mneme {

void StepNames::TakeFrom(const v1::QueryRequest& query) {
  if (query.memory().empty() && query.sources_size() == 0) return;
  memory_ = query.memory();
  sources_.clear();
  for (const v1::MixtureSource& source : query.sources()) sources_.push_back(source.memory());
}

AccessTargets StepNames::TargetsOf(const v1::QueryStreamRequest& step) const {
  AccessTargets targets;
  if (step.has_query()) targets = mneme::TargetsOf(step.query());
  // In the order of TargetsOf(QueryRequest).
  size_t next = 0;
  if (next < targets.size() && (!memory_.empty() || sources_.empty())) targets[next++].memory = memory_;
  for (size_t i = 0; i < sources_.size() && next < targets.size(); ++i) targets[next++].memory = sources_[i];
  if (step.has_append()) {
    targets.push_back({.memory = memory_,
                       .scope = AccessTarget::Scope::kPartitions,
                       .partitions = {step.append().partition()},
                       .right = Right::kWrite});
  }
  return targets;
}

}  // namespace mneme
