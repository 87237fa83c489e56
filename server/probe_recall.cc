// 1. Take the keys of the request, or stored keys, each as likely as any other.
// 2. Ask for the k nearest of each, exactly and as the request says.
// 3. A neighbour is recalled when it is no farther than the k-th of the exact answer: ties are as good.
// 4. TOKEN values: what the lost neighbours do to ln p of every token that the exact answer has.
#include "server/probe_recall.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/vector_codec.h"
#include "readout/distribution.h"
#include "server/convert_keys.h"
#include "server/distribution_plan.h"
#include "server/find_memory.h"
#include "server/query_plan.h"
#include "server/request_error.h"

namespace mneme {
namespace {

constexpr uint32_t kDefaultSample = 100;
constexpr uint64_t kSeed = 1;  // the same entries give the same sample, so that two probes can be compared

absl::StatusOr<QueryOutcome> QueryAndWait(Deployment& deployment, const MemoryHandle& memory, QueryCommand command) {
  absl::Notification answered;
  absl::StatusOr<QueryOutcome> out = absl::UnknownError("not answered");
  deployment.Query(memory, std::move(command), [&](absl::StatusOr<QueryOutcome> outcome) {
    out = std::move(outcome);
    answered.Notify();
  });
  answered.WaitForNotification();
  return out;
}

// Ids drawn evenly from all that are stored (reservoir, Vitter's algorithm R); fewer when there are fewer. One pass
// over the entries, which is little beside the exact searches that follow.
absl::StatusOr<std::vector<EntryId>> SampleIds(const CallContext& call, const MemoryHandle& memory, uint32_t sample) {
  std::mt19937_64 random(kSeed);
  std::vector<EntryId> ids;
  uint64_t seen = 0;
  ScanCommand scan;
  scan.page_size = limits::kMaxScanPage;
  scan.limits = call.limits;
  do {
    ASSIGN_OR_RETURN(const ScanPage page, call.deployment.Scan(memory, scan));
    for (size_t i = 0; i < page.entries.count; ++i) {
      const uint64_t place = std::uniform_int_distribution<uint64_t>(0, seen++)(random);
      if (ids.size() < sample) {
        ids.push_back(page.entries.ids[i]);
      } else if (place < sample) {
        ids[place] = page.entries.ids[i];
      }
    }
    scan.from = page.next;
  } while (scan.from.has_value());
  // An entry that is overwritten during the pass may come twice.
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

absl::Status SampleKeys(const CallContext& call, const MemoryHandle& memory, uint32_t sample, QueryCommand& command) {
  ASSIGN_OR_RETURN(const std::vector<EntryId> ids, SampleIds(call, memory, sample));
  std::vector<bool> found;
  ASSIGN_OR_RETURN(const EntryColumns entries, call.deployment.Get(memory, 0, ids, /*with_keys=*/true, Version{},
                                                                   call.limits, found));
  const MemorySpec& spec = memory->spec;
  const size_t key_bytes = spec.KeyBytes();
  command.count = entries.count;
  command.exclude_ids = entries.ids;
  command.queries.Resize(entries.count * spec.dimension * sizeof(float));
  for (size_t i = 0; i < entries.count; ++i) {
    DecodeVector(spec.key_dtype, entries.keys.data() + i * key_bytes, spec.dimension,
                 command.queries.as<float>() + i * spec.dimension);
  }
  return absl::OkStatus();
}

absl::Status ReadProbe(const CallContext& call, const v1::ProbeRecallRequest& request, const MemoryHandle& memory,
                       QueryCommand& command) {
  command.k = request.k();
  if (command.k == 0 || command.k > limits::kMaxK) {
    return FieldError("k", absl::StrCat("is ", command.k, "; must be in [1, ", limits::kMaxK, "]"));
  }
  if (request.sample() > limits::kMaxProbeQueries) {
    return FieldError("sample", absl::StrCat("is ", request.sample(), "; must be at most ", limits::kMaxProbeQueries));
  }
  const size_t queries =
      request.has_keys() ? limits::kMaxProbeQueries : std::max<size_t>(request.sample(), kDefaultSample);
  if (queries * command.k > limits::kMaxNeighboursPerRequest) {
    return FieldError("k", absl::StrCat("times up to ", queries, " queries is ", queries * command.k,
                                        "; must be at most ", limits::kMaxNeighboursPerRequest));
  }
  if (request.temperature() != 0.0) RETURN_IF_ERROR(CheckTemperature("temperature", request.temperature()));
  RETURN_IF_ERROR(ReadSearchParams(request.search(), command));
  command.limits = call.limits;
  if (request.has_keys()) {
    return DecodeKeys("keys", request.keys(), memory->spec, limits::kMaxProbeQueries, command.queries, command.count);
  }
  return SampleKeys(call, memory, request.sample() == 0 ? kDefaultSample : request.sample(), command);
}

QueryCommand Copy(const QueryCommand& command, bool exact) {
  QueryCommand copy;
  copy.queries = command.queries.Clone();
  copy.count = command.count;
  copy.k = command.k;
  copy.exact = exact;
  copy.recall_target = command.recall_target;
  copy.probes = command.probes;
  copy.approximate_distances = !exact && command.approximate_distances;
  copy.exclude_ids = command.exclude_ids;
  copy.limits = command.limits;
  return copy;
}

double RecallOfRow(const NeighbourColumns& exact, const NeighbourColumns& found, size_t row) {
  const size_t begin = exact.offsets[row];
  const size_t end = exact.offsets[row + 1];
  if (begin == end) return 1.0;
  const double farthest = exact.scores[end - 1];
  size_t hits = 0;
  for (size_t i = found.offsets[row]; i < found.offsets[row + 1]; ++i) hits += found.scores[i] >= farthest ? 1 : 0;
  return std::min(1.0, static_cast<double>(hits) / static_cast<double>(end - begin));
}

void WriteRecall(const QueryOutcome& exact, const QueryOutcome& found, v1::ProbeRecallResponse* out) {
  const size_t queries = exact.neighbours.queries();
  double sum = 0.0;
  double least = 1.0;
  for (size_t row = 0; row < queries; ++row) {
    const double recall = RecallOfRow(exact.neighbours, found.neighbours, row);
    sum += recall;
    least = std::min(least, recall);
  }
  out->set_mean_recall(queries == 0 ? 1.0 : sum / static_cast<double>(queries));
  out->set_min_recall(least);
  out->set_queries(static_cast<uint32_t>(queries));
  const auto total = static_cast<double>(found.statistics.rows_total);
  out->set_scanned_share(total == 0.0 ? 0.0 : static_cast<double>(found.statistics.rows_scanned) / total);
}

// Sums over queries of how the distribution of what was found differs from that of the exact answer.
class LogProbDelta {
 public:
  explicit LogProbDelta(double temperature) : temperature_(temperature) {}

  void Add(const ScoredTokens& exact, const ScoredTokens& found) {
    const TokenDistribution wanted = Distribution(exact, OptionsFor(exact));
    const TokenDistribution got = Distribution(found, OptionsFor(found));
    absl::flat_hash_map<Token, double> log_prob_of;
    for (size_t i = 0; i < got.tokens.size(); ++i) log_prob_of[got.tokens[i]] = got.log_probs[i];
    for (size_t i = 0; i < wanted.tokens.size(); ++i) {
      const auto at = log_prob_of.find(wanted.tokens[i]);
      if (at == log_prob_of.end()) {
        ++missing_;
        missing_mass_ += std::exp(wanted.log_probs[i]);
        continue;
      }
      const double delta = std::abs(wanted.log_probs[i] - at->second);
      ++compared_;
      sum_ += delta;
      greatest_ = std::max(greatest_, delta);
    }
    ++queries_;
  }

  void Write(v1::ProbeRecallResponse* out) const {
    out->set_mean_delta_log_prob(compared_ == 0 ? 0.0 : sum_ / static_cast<double>(compared_));
    out->set_max_delta_log_prob(greatest_);
    out->set_compared_tokens(compared_);
    out->set_missing_tokens(missing_);
    out->set_missing_mass(queries_ == 0 ? 0.0 : missing_mass_ / static_cast<double>(queries_));
  }

 private:
  DistributionOptions OptionsFor(const ScoredTokens& neighbours) const {
    return {.temperature = temperature_, .k = static_cast<uint32_t>(neighbours.scores.size())};
  }

  const double temperature_;
  uint64_t queries_ = 0;
  uint64_t compared_ = 0;
  uint64_t missing_ = 0;
  double sum_ = 0.0;
  double greatest_ = 0.0;
  double missing_mass_ = 0.0;
};

void WriteDelta(const QueryOutcome& exact, const QueryOutcome& found, double temperature,
                v1::ProbeRecallResponse* out) {
  LogProbDelta delta(temperature);
  for (size_t row = 0; row < exact.neighbours.queries(); ++row) {
    delta.Add(TokensOfRow(exact.neighbours, row), TokensOfRow(found.neighbours, row));
  }
  delta.Write(out);
}

}  // namespace

absl::Status HandleProbeRecall(const CallContext& call, const v1::ProbeRecallRequest& request,
                               v1::ProbeRecallResponse* response) {
  ASSIGN_OR_RETURN(const MemoryHandle memory, FindMemory(call.deployment, request.memory()));
  QueryCommand command;
  RETURN_IF_ERROR(ReadProbe(call, request, memory, command));
  if (command.count == 0) {  // an empty memory recalls everything
    response->set_mean_recall(1.0);
    response->set_min_recall(1.0);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const QueryOutcome exact, QueryAndWait(call.deployment, memory, Copy(command, true)));
  ASSIGN_OR_RETURN(const QueryOutcome found, QueryAndWait(call.deployment, memory, Copy(command, command.exact)));
  WriteRecall(exact, found, response);
  if (memory->spec.value_kind == ValueKind::kToken) {
    WriteDelta(exact, found, request.temperature() == 0.0 ? 1.0 : request.temperature(), response);
  }
  return absl::OkStatus();
}

}  // namespace mneme
