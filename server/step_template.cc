#include "server/step_template.h"

#include "server/request_error.h"

namespace mneme {

absl::Status StepTemplate::Complete(v1::QueryRequest& query) {
  if (!query.memory().empty() || query.sources_size() != 0) {
    query_.Clear();
    query_.set_memory(query.memory());
    *query_.mutable_sources() = query.sources();
    // What has been seen once is seen by every later read.
    for (v1::MixtureSource& source : *query_.mutable_sources()) source.clear_at_least_version();
    query_.set_k(query.k());
    query_.set_precision(query.precision());
    query_.set_lease(query.lease());
    query_.set_allow_partial(query.allow_partial());
    if (query.has_search()) *query_.mutable_search() = query.search();
    if (query.has_filter()) *query_.mutable_filter() = query.filter();
    if (query.has_partitions()) *query_.mutable_partitions() = query.partitions();
    if (query.has_neighbours()) *query_.mutable_neighbours() = query.neighbours();
    if (query.has_distribution()) *query_.mutable_distribution() = query.distribution();
    if (query.has_attention()) *query_.mutable_attention() = query.attention();
    return absl::OkStatus();
  }
  if (query_.memory().empty() && query_.sources_size() == 0) {
    return FieldError("query.memory", "is empty; the first message must name a memory, or sources");
  }
  query.set_memory(query_.memory());
  *query.mutable_sources() = query_.sources();
  if (query.k() == 0) query.set_k(query_.k());
  if (query.precision() == v1::PRECISION_UNSPECIFIED) query.set_precision(query_.precision());
  if (query.lease().empty()) query.set_lease(query_.lease());
  if (query_.allow_partial()) query.set_allow_partial(true);
  if (!query.has_search() && query_.has_search()) *query.mutable_search() = query_.search();
  if (!query.has_filter() && query_.has_filter()) *query.mutable_filter() = query_.filter();
  if (!query.has_partitions() && query_.has_partitions()) *query.mutable_partitions() = query_.partitions();
  if (query.read_out_case() != v1::QueryRequest::READ_OUT_NOT_SET) return absl::OkStatus();
  if (query_.has_neighbours()) *query.mutable_neighbours() = query_.neighbours();
  if (query_.has_distribution()) *query.mutable_distribution() = query_.distribution();
  if (query_.has_attention()) *query.mutable_attention() = query_.attention();
  return absl::OkStatus();
}

}  // namespace mneme
