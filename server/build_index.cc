#include "server/build_index.h"

#include "common/aligned_buffer.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_keys.h"
#include "server/find_memory.h"

namespace mneme {
namespace {

// Over all partitions: what left the tails, or all that is sealed when everything was built anew. Writes that come
// meanwhile lengthen the tails again, so that it is a lower bound beside them.
uint64_t RowsSealed(const MemoryStatistics& before, const MemoryStatistics& after, bool retrain) {
  const uint64_t tails = retrain ? after.entries + after.dead_rows : before.tail_rows;
  return tails > after.tail_rows ? tails - after.tail_rows : 0;
}

v1::BuildIndexResponse Step(const BuildProgress& progress) {
  v1::BuildIndexResponse response;
  response.set_stage(progress.stage);
  response.set_rows_done(progress.rows_done);
  response.set_rows_total(progress.rows_total);
  return response;
}

}  // namespace

absl::Status HandleBuildIndex(const CallContext& call, const v1::BuildIndexRequest& request,
                              const Tell<v1::BuildIndexResponse>& tell) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  ASSIGN_OR_RETURN(const MemoryStatistics before, call.deployment.Statistics(memory));
  const auto progress = [&](const BuildProgress& step) { return tell(Step(step)); };
  AlignedBuffer centroids;
  size_t lists = 0;
  if (request.has_centroids()) {
    RETURN_IF_ERROR(
        DecodeKeys("centroids", request.centroids(), memory->spec, limits::kMaxProbes, centroids, lists));
  }
  const absl::Span<const float> given(centroids.as<float>(), lists * memory->spec.dimension);
  const absl::Status built = given.empty() ? call.deployment.BuildIndex(memory, request.retrain(), progress)
                                           : call.deployment.BuildIndexOn(memory, given, progress);
  RETURN_IF_ERROR(WithMemory(built, *memory));
  ASSIGN_OR_RETURN(const MemoryStatistics after, call.deployment.Statistics(memory));
  const uint64_t sealed = RowsSealed(before, after, request.retrain() || lists > 0);
  (void)tell(Step({"done", sealed, sealed}));
  return absl::OkStatus();
}

}  // namespace mneme
