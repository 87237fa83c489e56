#include "server/build_index.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/aligned_buffer.h"
#include "common/index_choice.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_keys.h"
#include "server/find_memory.h"
#include "server/request_error.h"

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

// What the request gives of a codebook.
struct GivenRows {
  AlignedBuffer centroids;
  size_t lists = 0;
  std::vector<char> subvectors;

  GivenParts Parts(const MemorySpec& spec) const {
    return {{centroids.as<float>(), lists * spec.dimension},
            {reinterpret_cast<const float*>(subvectors.data()), subvectors.size() / sizeof(float)}};
  }
};

absl::Status ReadGiven(const v1::BuildIndexRequest& request, const MemorySpec& spec, GivenRows& out) {
  if (request.has_centroids()) {
    RETURN_IF_ERROR(
        DecodeKeys("centroids", request.centroids(), spec, limits::kMaxProbes, out.centroids, out.lists));
  }
  if (!request.has_subvectors()) return absl::OkStatus();
  if (!request.has_centroids()) return FieldError("subvectors", "needs centroids: they code what is left of these");
  const CodecChoice& codec = spec.index.codec;
  if (codec.kind != CodecKind::kPq) {
    return FieldError("subvectors", absl::StrCat("is for a memory whose index is pq; this one's is ",
                                                 FormatIndexChoice(spec.index)));
  }
  return DecodeFinite("subvectors", request.subvectors(), spec.dimension / codec.columns,
                      size_t{codec.columns} << codec.bits, out.subvectors, limits::kMaxKeyComponent);
}

}  // namespace

absl::Status HandleBuildIndex(const CallContext& call, const v1::BuildIndexRequest& request,
                              const Tell<v1::BuildIndexResponse>& tell) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  ASSIGN_OR_RETURN(const MemoryStatistics before, call.deployment.Statistics(memory));
  const auto progress = [&](const BuildProgress& step) { return tell(Step(step)); };
  GivenRows rows;
  RETURN_IF_ERROR(ReadGiven(request, memory->spec, rows));
  const GivenParts given = rows.Parts(memory->spec);
  const bool anew = !given.centroids.empty();
  const absl::Status built = anew ? call.deployment.BuildIndexOn(memory, given, progress)
                                  : call.deployment.BuildIndex(memory, request.retrain(), progress);
  RETURN_IF_ERROR(WithMemory(built, *memory));
  ASSIGN_OR_RETURN(const MemoryStatistics after, call.deployment.Statistics(memory));
  const uint64_t sealed = RowsSealed(before, after, request.retrain() || anew);
  (void)tell(Step({"done", sealed, sealed}));
  return absl::OkStatus();
}

}  // namespace mneme
