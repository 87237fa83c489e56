// StepNames: what the memories of a query stream were called by who asks, for his grants are on these names. The stream
// itself goes on with the memories' own (step_template.h), whatever their aliases point to by then.
#ifndef MNEME_SERVER_STEP_NAMES_H_
#define MNEME_SERVER_STEP_NAMES_H_

#include <string>
#include <vector>

#include "mneme/v1/memory.pb.h"
#include "server/access_targets.h"

namespace mneme {

// Not thread-safe.
class StepNames {
 public:
  // A query, as it came, that names a memory or sources; any other changes nothing.
  void TakeFrom(const v1::QueryRequest& query);
  // Of a step whose query was completed: what it asks, and where it appends. Views of this and of `step`.
  AccessTargets TargetsOf(const v1::QueryStreamRequest& step) const;

  // That appends go to; "" where none was named.
  const std::string& memory() const { return memory_; }

 private:
  std::string memory_;
  std::vector<std::string> sources_;
};

}  // namespace mneme

#endif  // MNEME_SERVER_STEP_NAMES_H_
