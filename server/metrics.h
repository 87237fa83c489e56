// Metrics: what the server counts, in Prometheus' text form.
#ifndef MNEME_SERVER_METRICS_H_
#define MNEME_SERVER_METRICS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "engine/commands.h"

namespace mneme {

// Of the replicated log: what this replica has done of it, and whether the process does anything with it.
struct LogMetrics {
  std::optional<uint64_t> handled = {};  // of a shard: the sequence up to which every record had its outcome, and
  std::optional<uint64_t> backlog = {};  // records that were seen and wait
  std::optional<bool> lost = {};         // whether it cannot be reached now
  bool failed = false;
};

// State that is read when somebody scrapes, rather than counted as it happens.
struct MetricsState {
  bool serving = false;
  uint64_t ram_limit_bytes = 0;  // 0: this process has none
  std::string data_dir;          // on the disk whose room is told; "": no disk
  uint64_t disk_reserve_bytes = 0;  // of that disk
  // What this process has; nullopt before it is open. Of a front end that is what it queues and measures itself: shards
  // tell what they have.
  std::optional<DeploymentStatistics> deployment;
  std::optional<LogMetrics> log;  // nullopt: shards have logs of their own, or it is not open
  bool front_end = false;
  uint64_t shard_queries = 0;      // of a front end: that are with its shards, and
  uint64_t held_query_bytes = 0;   // what they hold here
  uint64_t hedged_calls = 0;       // reads that were asked at a second replica, and
  uint64_t hedges_won = 0;         // those that it answered
  std::optional<double> clock_ahead_seconds;  // of that of who tells names; nullopt: this process does
  uint64_t queued_calls = 0;
  uint64_t held_answer_bytes = 0;
  uint64_t refused_connections = 0;
  std::optional<absl::Time> certificate_end;  // of the server's; nullopt: it has none that can be read
};

// Counters and histograms of one server. Names of calls are those of go-grpc-prometheus, so that public dashboards
// work. Thread-safe.
class Metrics {
 public:
  // The series of one RPC; stays valid as long as the Metrics.
  class Method;

  Metrics();
  ~Metrics();

  Method* AddMethod(const std::string& service, const std::string& method, const std::string& type);
  void Started(Method* method);
  // `code` is the gRPC status code.
  void Handled(Method* method, int code, double seconds);

  void Searched(uint64_t queue_us, uint64_t search_us);
  void ReadOut(double seconds);
  // A query was answered without some of its shards.
  void AnsweredInPart();
  // A call refused with RESOURCE_EXHAUSTED.
  void Rejected(const std::string& reason);
  // A call refused by a quota of its caller; `quota` as the token file calls it.
  void QuotaRefused(const std::string& quota);

  // A file of the index was damaged and made anew; `kind` is "codebook" or "segment".
  void IndexRebuilt(const std::string& kind);

  // Background work failed; `kind` is "index_build", "expiry", "backup" or "erasure".
  void MaintenanceFailed(const std::string& kind);

  // The whole text of /metrics.
  std::string Expose(const MetricsState& state) const;

 private:
  struct Families;
  std::unique_ptr<Families> families_;
};

}  // namespace mneme

#endif  // MNEME_SERVER_METRICS_H_
