// StepTemplate: what a query stream's messages may leave out because an earlier one said it.
#ifndef MNEME_SERVER_STEP_TEMPLATE_H_
#define MNEME_SERVER_STEP_TEMPLATE_H_

#include <string>

#include "absl/status/status.h"
#include "mneme/v1/memory.pb.h"

namespace mneme {

// The last query that named a memory or sources, without its keys, per-row columns and versions. Not thread-safe.
class StepTemplate {
 public:
  // A query that names a memory or sources becomes the template; one that does not is completed from it.
  // INVALID_ARGUMENT when there is none yet.
  absl::Status Complete(v1::QueryRequest& query);
  // Later messages mean these memories, though the aliases that the template named may point elsewhere by then.
  void KeepMemory(const std::string& own_name) { query_.set_memory(own_name); }
  void KeepSource(int source, const std::string& own_name) { query_.mutable_sources(source)->set_memory(own_name); }

 private:
  v1::QueryRequest query_;
};

}  // namespace mneme

#endif  // MNEME_SERVER_STEP_TEMPLATE_H_
