#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <system_error>
#include <vector>

#include "common/error_reason.h"
#include "server/process_metrics.h"
#include "server/version.h"

namespace mneme {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr int kCodes = 17;
constexpr const char* kCodeNames[kCodes] = {
    "OK",           "Canceled",           "Unknown",          "InvalidArgument", "DeadlineExceeded",
    "NotFound",     "AlreadyExists",      "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",      "OutOfRange",         "Unimplemented",    "Internal",        "Unavailable",
    "DataLoss",     "Unauthenticated"};

// 50 us to 10 s: from an empty call to a recall probe.
const Histogram::BucketBoundaries& Seconds() {
  static const Histogram::BucketBoundaries boundaries = {5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2,
                                                         2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0};
  return boundaries;
}

MetricFamily Gauge(const std::string& name, const std::string& help, double value, const std::string& label = "",
                   const std::string& label_value = "") {
  MetricFamily family{name, help, MetricType::Gauge, {}};
  prometheus::ClientMetric metric;
  if (!label.empty()) metric.label.push_back({label, label_value});
  metric.gauge.value = value;
  family.metric.push_back(metric);
  return family;
}

MetricFamily Count(const std::string& name, const std::string& help, double value) {
  MetricFamily family{name, help, MetricType::Counter, {}};
  prometheus::ClientMetric metric;
  metric.counter.value = value;
  family.metric.push_back(metric);
  return family;
}

void AddTo(MetricFamily& family, const std::string& label, const std::string& value, double number) {
  prometheus::ClientMetric metric;
  metric.label.push_back({label, value});
  metric.gauge.value = number;
  family.metric.push_back(metric);
}

// What every role has.
void AppendQueues(const MetricsState& state, std::vector<MetricFamily>& out) {
  const auto number = [](uint64_t value) { return static_cast<double>(value); };
  MetricFamily queues = Gauge("mneme_queue_depth", "Work that waits.", number(state.deployment->queued_searches),
                              "queue", "search");
  AddTo(queues, "queue", "call", number(state.queued_calls));
  if (state.front_end) AddTo(queues, "queue", "shard", number(state.shard_queries));
  out.push_back(queues);
  out.push_back(Gauge("mneme_queued_write_bytes", "Bytes of writes that wait for a shard.",
                      number(state.deployment->queued_write_bytes)));
  out.push_back(Gauge("mneme_held_answer_bytes", "Bytes of answers that clients have not taken yet.",
                      number(state.held_answer_bytes)));
  if (state.front_end) {
    out.push_back(Gauge("mneme_held_query_bytes", "Bytes of queries that are with shards, with their answers.",
                        number(state.held_query_bytes)));
    out.push_back(Count("mneme_hedged_calls_total", "Reads that were asked at a second replica.",
                        number(state.hedged_calls)));
    out.push_back(Count("mneme_hedges_won_total", "Reads that the second replica answered.",
                        number(state.hedges_won)));
  }
}

void AppendBenefit(const MemoryStatistics& memories, std::vector<MetricFamily>& out) {
  out.push_back(Count("mneme_benefit_tokens_total", "Tokens for which the benefit was counted.",
                      static_cast<double>(memories.benefit_tokens)));
  // A sum of logarithms may fall, so that it is no counter: untyped.
  MetricFamily nats{"mneme_benefit_nats_total", "Sum of ln p_mix - ln p_LM of those tokens.", MetricType::Untyped, {}};
  nats.metric.emplace_back().untyped.value = memories.benefit_nats;
  out.push_back(nats);
}

void AppendDeployment(const DeploymentStatistics& deployment, std::vector<MetricFamily>& out) {
  const MemoryStatistics& memories = deployment.memories;
  const auto number = [](uint64_t value) { return static_cast<double>(value); };
  out.push_back(Gauge("mneme_memories", "Memories.", number(deployment.memory_count)));
  out.push_back(Gauge("mneme_entries", "Live entries.", number(memories.entries)));
  out.push_back(Gauge("mneme_dead_rows", "Deleted or overwritten rows not merged away yet.",
                      number(memories.dead_rows)));
  out.push_back(Gauge("mneme_partitions", "Partitions.", number(memories.partitions)));
  // As of the memories that are there: a drop makes them fall, which Prometheus takes for a restart.
  out.push_back(Count("mneme_evicted_entries_total", "Entries that made room in memories with a capacity.",
                      number(memories.evicted)));
  out.push_back(Count("mneme_expired_entries_total", "Entries that were removed after their expiry.",
                      number(memories.expired)));
  out.push_back(Count("mneme_expired_sessions_total", "Sessions that were removed after their expiry.",
                      number(deployment.expired_sessions)));
  out.push_back(Count("mneme_expired_states_total", "States of other sessions that were removed after their expiry.",
                      number(deployment.expired_states)));
  out.push_back(Gauge("mneme_tail_rows", "Rows not sealed into a segment yet.", number(memories.tail_rows)));
  out.push_back(Gauge("mneme_segments", "Sealed segments.", number(memories.segments)));
  MetricFamily bytes =
      Gauge("mneme_memory_bytes", "Bytes held, in ram and on disk.", number(memories.tail_ram_bytes),
            "kind", "tail_ram");
  AddTo(bytes, "kind", "index", number(memories.index_bytes));
  AddTo(bytes, "kind", "store", number(deployment.store_bytes));
  AddTo(bytes, "kind", "answer_cache", number(deployment.answers_bytes));
  AddTo(bytes, "kind", "leased_tail_ram", number(deployment.leased_ram_bytes));
  AddTo(bytes, "kind", "label_sums", number(deployment.label_sum_bytes));
  AddTo(bytes, "kind", "match_cache", number(deployment.match_cache_bytes));
  out.push_back(bytes);
  out.push_back(Gauge("mneme_leases", "Versions that are held for reads.", number(deployment.leases)));
  out.push_back(Count("mneme_answer_cache_queries_total", "Queries that the answer cache could have answered.",
                      number(deployment.answers_asked)));
  out.push_back(Count("mneme_answer_cache_hits_total", "Queries that it answered.", number(deployment.answers_known)));
  const bool disk_is_low = ReasonOf(deployment.write_status) == reason::kStorageLow;
  const bool store_failed = !deployment.write_status.ok() && !disk_is_low;
  MetricFamily refused = Gauge("mneme_writes_refused",
                               "1 while writes are refused: a store failed, or less of the disk is free than is kept.",
                               store_failed ? 1 : 0, "kind", "store");
  AddTo(refused, "kind", "disk", disk_is_low ? 1 : 0);
  out.push_back(refused);
  out.push_back(Gauge("mneme_unerased_deletions", "Deletions whose bytes may be left in an index or in RocksDB.",
                      number(deployment.unerased_deletions)));
  out.push_back(Gauge("mneme_unerased_seconds", "Age of the oldest of them; 0 without one.",
                      static_cast<double>(deployment.unerased_ms) / 1000));
  out.push_back(Count("mneme_erasures_total", "Runs that erased deletions.", number(deployment.erasures)));
  out.push_back(Gauge("mneme_maintenance_busy", "1 while background work runs.", deployment.maintenance_busy ? 1 : 0));
}

// What the process has before its deployment is open, too.
void AppendProcess(const MetricsState& state, std::vector<MetricFamily>& out) {
  out.push_back(Gauge("mneme_serving", "1 while the process says that it serves.", state.serving ? 1 : 0));
  out.push_back(Count("mneme_connections_refused_total", "Connections that were closed at once: there were too many.",
                      static_cast<double>(state.refused_connections)));
  if (state.certificate_end.has_value()) {
    out.push_back(Gauge("mneme_tls_certificate_end_seconds", "Unix time when the server's certificate is over.",
                        static_cast<double>(absl::ToUnixSeconds(*state.certificate_end))));
  }
  if (state.ram_limit_bytes != 0) {
    out.push_back(Gauge("mneme_ram_limit_bytes", "Limit of unsealed rows and queued writes in ram.",
                        static_cast<double>(state.ram_limit_bytes)));
  }
  if (state.data_dir.empty()) return;
  std::error_code error;
  const auto room = std::filesystem::space(state.data_dir, error);
  if (error) return;
  MetricFamily disk = Gauge("mneme_disk_bytes", "Room of the file system that has the data directory.",
                            static_cast<double>(room.available), "kind", "free");
  AddTo(disk, "kind", "size", static_cast<double>(room.capacity));
  out.push_back(disk);
  out.push_back(Gauge("mneme_disk_reserve_bytes", "Bytes of it that are kept free: with less, writes are refused.",
                      static_cast<double>(state.disk_reserve_bytes)));
}

void AppendLog(const LogMetrics& log, std::vector<MetricFamily>& out) {
  if (log.handled.has_value()) {
    out.push_back(Gauge("mneme_log_handled", "Sequence up to which the shard's replicated log is applied.",
                        static_cast<double>(*log.handled)));
  }
  if (log.backlog.has_value()) {
    out.push_back(Gauge("mneme_log_backlog", "Records of the replicated log that were seen and are not applied yet.",
                        static_cast<double>(*log.backlog)));
  }
  if (log.lost.has_value()) {
    out.push_back(Gauge("mneme_log_lost", "1 while the replicated log cannot be reached.", *log.lost ? 1 : 0));
  }
  out.push_back(Gauge("mneme_log_failed", "1 when nothing is applied of the replicated log, or appended to it.",
                      log.failed ? 1 : 0));
}

void AppendState(const MetricsState& state, std::vector<MetricFamily>& out) {
  AppendProcess(state, out);
  if (state.log.has_value()) AppendLog(*state.log, out);
  if (state.clock_ahead_seconds.has_value()) {
    out.push_back(Gauge("mneme_clock_ahead_seconds",
                        "How far the clock is ahead of that of the process of shard 0 whose names are watched.",
                        *state.clock_ahead_seconds));
  }
  if (!state.deployment.has_value()) return;
  AppendQueues(state, out);
  AppendBenefit(state.deployment->memories, out);
  if (!state.front_end) AppendDeployment(*state.deployment, out);
}

}  // namespace

class Metrics::Method {
 public:
  prometheus::Labels labels;  // service, method, type
  Counter* started = nullptr;
  Histogram* seconds = nullptr;
  std::array<std::atomic<Counter*>, kCodes> handled{};
};

struct Metrics::Families {
  prometheus::Registry registry;
  Family<Counter>& started = prometheus::BuildCounter()
                                 .Name("grpc_server_started_total")
                                 .Help("Calls that began.")
                                 .Register(registry);
  Family<Counter>& handled = prometheus::BuildCounter()
                                 .Name("grpc_server_handled_total")
                                 .Help("Calls that ended, by status code.")
                                 .Register(registry);
  Family<Histogram>& seconds = prometheus::BuildHistogram()
                                   .Name("grpc_server_handling_seconds")
                                   .Help("Time from the arrival of a call to its status.")
                                   .Register(registry);
  Family<Histogram>& search = prometheus::BuildHistogram()
                                  .Name("mneme_search_seconds")
                                  .Help("Time of a query, by stage.")
                                  .Register(registry);
  Family<Counter>& in_part = prometheus::BuildCounter()
                                 .Name("mneme_partial_answers_total")
                                 .Help("Queries that were answered without some of their shards.")
                                 .Register(registry);
  Family<Counter>& rejected = prometheus::BuildCounter()
                                  .Name("mneme_rejected_total")
                                  .Help("Calls refused because something was full.")
                                  .Register(registry);
  Family<Counter>& quotas = prometheus::BuildCounter()
                                .Name("mneme_quota_refusals_total")
                                .Help("Calls refused by a quota of their caller.")
                                .Register(registry);
  Family<Counter>& rebuilt = prometheus::BuildCounter()
                                 .Name("mneme_index_rebuilt_total")
                                 .Help("Damaged files of the index that were made anew.")
                                 .Register(registry);
  Family<Counter>& failed = prometheus::BuildCounter()
                                .Name("mneme_maintenance_failures_total")
                                .Help("Background work and backups that failed.")
                                .Register(registry);
  Histogram& queue = search.Add({{"stage", "queue"}}, Seconds());
  Histogram& scan = search.Add({{"stage", "search"}}, Seconds());
  Histogram& read_out = search.Add({{"stage", "read_out"}}, Seconds());
  Counter& partial_answers = in_part.Add({});
  std::vector<std::unique_ptr<Method>> methods;
};

Metrics::Metrics() : families_(std::make_unique<Families>()) {
  // There from the start, so that an alert sees the first one as an increase.
  for (const char* quota : {"requests/s", "entries/s", "bytes/s", "answered-bytes/s", "stored-entries", "stored-bytes",
                            "memories"}) {
    families_->quotas.Add({{"quota", quota}});
  }
  for (const char* kind : {"codebook", "segment"}) families_->rebuilt.Add({{"kind", kind}});
  for (const char* kind : {"index_build", "expiry", "backup", "erasure"}) families_->failed.Add({{"kind", kind}});
}
Metrics::~Metrics() = default;

Metrics::Method* Metrics::AddMethod(const std::string& service, const std::string& method, const std::string& type) {
  auto added = std::make_unique<Method>();
  added->labels = {{"grpc_service", service}, {"grpc_method", method}, {"grpc_type", type}};
  added->started = &families_->started.Add(added->labels);
  added->seconds = &families_->seconds.Add(added->labels, Seconds());
  families_->methods.push_back(std::move(added));
  return families_->methods.back().get();
}

void Metrics::Started(Method* method) { method->started->Increment(); }

void Metrics::Handled(Method* method, int code, double seconds) {
  const int index = code >= 0 && code < kCodes ? code : 2;
  Counter* counter = method->handled[index].load(std::memory_order_acquire);
  if (counter == nullptr) {
    prometheus::Labels labels = method->labels;
    labels["grpc_code"] = kCodeNames[index];
    counter = &families_->handled.Add(labels);  // the same one, whoever adds it first
    method->handled[index].store(counter, std::memory_order_release);
  }
  counter->Increment();
  method->seconds->Observe(seconds);
}

void Metrics::Searched(uint64_t queue_us, uint64_t search_us) {
  families_->queue.Observe(static_cast<double>(queue_us) * 1e-6);
  families_->scan.Observe(static_cast<double>(search_us) * 1e-6);
}

void Metrics::ReadOut(double seconds) { families_->read_out.Observe(seconds); }

void Metrics::AnsweredInPart() { families_->partial_answers.Increment(); }

void Metrics::Rejected(const std::string& reason) { families_->rejected.Add({{"reason", reason}}).Increment(); }

void Metrics::QuotaRefused(const std::string& quota) { families_->quotas.Add({{"quota", quota}}).Increment(); }

void Metrics::IndexRebuilt(const std::string& kind) { families_->rebuilt.Add({{"kind", kind}}).Increment(); }

void Metrics::MaintenanceFailed(const std::string& kind) { families_->failed.Add({{"kind", kind}}).Increment(); }

std::string Metrics::Expose(const MetricsState& state) const {
  std::vector<MetricFamily> families = families_->registry.Collect();
  AppendState(state, families);
  families.push_back(Gauge("mneme_build_info", "1; the version is in the label.", 1, "version", kVersion));
  for (const ProcessMetric& metric : ReadProcessMetrics()) {
    families.push_back(metric.counter ? Count(metric.name, metric.help, metric.value)
                                      : Gauge(metric.name, metric.help, metric.value));
  }
  return prometheus::TextSerializer().prometheus::Serializer::Serialize(families);
}

}  // namespace mneme
