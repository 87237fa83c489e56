// StepTemplate: what a query stream's messages may leave out because an earlier one said it.
#ifndef MNEME_SERVER_STEP_TEMPLATE_H_
#define MNEME_SERVER_STEP_TEMPLATE_H_

#include <string>

#include "absl/status/status.h"
#include "mneme/v1/memory.pb.h"

namespace mneme {

// The last query that named a memory, without its keys and per-row columns. Not thread-safe.
class StepTemplate {
 public:
  // A query that names a memory becomes the template; one that does not is completed from it. INVALID_ARGUMENT when
  // there is none yet.
  absl::Status Complete(v1::QueryRequest& query);
  // Later messages mean this memory, though the alias that the template named may point elsewhere by then.
  void KeepMemory(const std::string& own_name) { query_.set_memory(own_name); }
  // Of the template; empty before the first.
  const std::string& memory() const { return query_.memory(); }

 private:
  v1::QueryRequest query_;
};

}  // namespace mneme

#endif  // MNEME_SERVER_STEP_TEMPLATE_H_
