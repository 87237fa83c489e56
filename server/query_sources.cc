#include "server/query_sources.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_memory.h"
#include "server/convert_selection.h"
#include "server/find_memory.h"
#include "server/query_plan.h"
#include "server/read_source.h"
#include "server/request_error.h"

namespace mneme {
namespace {

absl::Status ReadScope(const std::string& prefix, const v1::PartitionSelection& partitions, QuerySource& source) {
  RETURN_IF_ERROR(ReadPartitions(absl::StrCat(prefix, "partitions"), partitions, source.command.partitions));
  source.several_partitions = CoversSeveral(source.command.partitions);
  return absl::OkStatus();
}

absl::StatusOr<QuerySource> FindOnly(const Deployment& deployment, const v1::QueryRequest& request) {
  QuerySource source;
  ASSIGN_OR_RETURN(source.memory, FindMemory(deployment, request.memory()));
  RETURN_IF_ERROR(CheckFingerprint("fingerprint", request.fingerprint(), source.spec()));
  RETURN_IF_ERROR(ReadScope("", request.partitions(), source));
  RETURN_IF_ERROR(ReadSource(deployment, source.memory, request, source.command));
  source.k = request.k();
  return source;
}

absl::StatusOr<QuerySource> FindOneOf(const Deployment& deployment, const v1::QueryRequest& request,
                                      const v1::MixtureSource& wire, const std::string& prefix) {
  QuerySource source;
  ASSIGN_OR_RETURN(source.memory, FindMemory(deployment, wire.memory(), absl::StrCat(prefix, "memory")));
  RETURN_IF_ERROR(CheckFingerprint("fingerprint", request.fingerprint(), source.spec()));
  RETURN_IF_ERROR(ReadScope(prefix, wire.partitions(), source));
  source.weight = wire.weight();
  if (!(source.weight >= limits::kMinMixtureWeight && source.weight <= limits::kMaxMixtureWeight)) {
    return FieldError(absl::StrCat(prefix, "weight"),
                      absl::StrCat("is ", source.weight, "; must be in [", limits::kMinMixtureWeight, ", ",
                                   limits::kMaxMixtureWeight, "]"));
  }
  ASSIGN_OR_RETURN(source.command.at_least, ReadVersion(deployment, source.memory, wire.at_least_version(),
                                                        absl::StrCat(prefix, "at_least_version")));
  source.k = wire.k() != 0 ? wire.k() : request.k();
  return source;
}

// What a request may not say beside `sources`.
absl::Status CheckMixture(const v1::QueryRequest& request) {
  const auto count = static_cast<size_t>(request.sources_size());
  if (count > limits::kMaxMixtureSources) {
    return FieldError("sources", absl::StrCat("names ", count, "; must name at most ", limits::kMaxMixtureSources));
  }
  if (!request.has_distribution() && !request.has_attention()) {
    return FieldError("sources", "need a read-out that weights can mix: distribution or attention");
  }
  if (request.partitions().all() || request.partitions().partitions_size() != 0) {
    return FieldError("partitions", "must be empty beside sources, which name their own");
  }
  if (!request.at_least_version().empty()) {
    return FieldError("at_least_version", "must be empty beside sources; a version is of one memory, so name it there");
  }
  if (!request.lease().empty()) {
    return FieldError("lease", "must be empty beside sources; a lease holds one memory");
  }
  if (!request.extra().ids().empty() || !request.extra().offsets().empty()) {
    return FieldError("extra", "must be empty beside sources; ids are unique only within one memory");
  }
  if (request.distribution().with_features()) {
    return FieldError("distribution.with_features", "is true beside sources, whose neighbours stand in no one order");
  }
  return absl::OkStatus();
}

std::string ShapeOf(const MemorySpec& spec) {
  std::string shape = absl::StrCat("dimension ", spec.dimension, ", ",
                                   v1::Metric_Name(static_cast<v1::Metric>(spec.metric)), ", ",
                                   v1::ValueKind_Name(static_cast<v1::ValueKind>(spec.value_kind)));
  if (spec.vocabulary_size != 0) absl::StrAppend(&shape, ", vocabulary size ", spec.vocabulary_size);
  if (spec.value_dimension != 0) absl::StrAppend(&shape, ", value dimension ", spec.value_dimension);
  return shape;
}

// The searches of one query that have not ended yet.
struct Join {
  Join(size_t count, std::function<void(absl::Status)> all_done)
      : ends(count), left(count), done(std::move(all_done)) {}

  void End(size_t source, absl::Status status) {
    ends[source] = std::move(status);
    if (left.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    for (const absl::Status& end : ends) {
      if (!end.ok()) return done(end);
    }
    done(absl::OkStatus());
  }

  std::vector<absl::Status> ends;
  std::atomic<size_t> left;
  const std::function<void(absl::Status)> done;
};

}  // namespace

absl::Status CheckSameShape(const std::string& field, const MemorySpec& memory, const MemorySpec& first) {
  const bool same = memory.dimension == first.dimension && memory.metric == first.metric &&
                    memory.value_kind == first.value_kind && memory.vocabulary_size == first.vocabulary_size &&
                    memory.value_dimension == first.value_dimension;
  if (same) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is \"", memory.name, "\", of ", ShapeOf(memory), "; must be as the first, \"",
                                        first.name, "\", of ", ShapeOf(first)));
}

absl::StatusOr<std::vector<QuerySource>> FindSources(const Deployment& deployment, const v1::QueryRequest& request) {
  std::vector<QuerySource> sources;
  if (request.sources_size() == 0) {
    ASSIGN_OR_RETURN(QuerySource only, FindOnly(deployment, request));
    sources.push_back(std::move(only));
    return sources;
  }
  RETURN_IF_ERROR(CheckMixture(request));
  for (int i = 0; i < request.sources_size(); ++i) {
    const std::string prefix = absl::StrCat("sources[", i, "].");
    ASSIGN_OR_RETURN(QuerySource source, FindOneOf(deployment, request, request.sources(i), prefix));
    if (i > 0) RETURN_IF_ERROR(CheckSameShape(absl::StrCat(prefix, "memory"), source.spec(), sources.front().spec()));
    sources.push_back(std::move(source));
  }
  return sources;
}

absl::Status CheckAnswered(absl::Span<const QuerySource> sources) {
  absl::Status why;
  for (const QuerySource& source : sources) {
    const Coverage& coverage = source.outcome.coverage;
    if (coverage.shards_answered != 0 || coverage.why_missing.ok()) return absl::OkStatus();
    const bool tells_more = absl::IsUnavailable(coverage.why_missing) && !absl::IsUnavailable(why);
    if (why.ok() || tells_more) why = coverage.why_missing;
  }
  return why;
}

void AskSources(Deployment& deployment, std::vector<QuerySource>& sources, std::function<void(absl::Status)> done) {
  const size_t count = sources.size();
  const auto join = std::make_shared<Join>(count, [&sources, done = std::move(done)](const absl::Status& status) {
    done(status.ok() ? CheckAnswered(sources) : status);
  });
  // After the last of these calls the sources may be gone.
  for (size_t i = 0; i < count; ++i) {
    QuerySource& source = sources[i];
    deployment.Query(source.memory, std::move(source.command),
                     [join, i, &source](absl::StatusOr<QueryOutcome> outcome) {
                       if (!outcome.ok()) return join->End(i, WithMemory(outcome.status(), *source.memory));
                       source.outcome = std::move(*outcome);
                       join->End(i, absl::OkStatus());
                     });
  }
}

void WriteSources(const Deployment& deployment, absl::Span<const QuerySource> sources, v1::QueryResponse* out) {
  for (const QuerySource& source : sources) {
    v1::MixtureAnswer* answer = out->add_sources();
    answer->set_memory(source.spec().name);
    answer->set_version(deployment.EncodeVersion(source.outcome.version));
    WriteCoverage(source.outcome.coverage, answer->mutable_coverage());
    WriteSearchStatistics(source.outcome, answer->mutable_statistics());
  }
}

}  // namespace mneme
