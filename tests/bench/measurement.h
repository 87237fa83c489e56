// Measurement: what the calls of one timed run cost, as one JSON object. Shared by the load generator and engine_load,
// so that both sides of a ratio are counted alike.
#ifndef MNEME_TESTS_BENCH_MEASUREMENT_H_
#define MNEME_TESTS_BENCH_MEASUREMENT_H_

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace mneme::bench {

using Steady = std::chrono::steady_clock;

inline double SecondsBetween(Steady::time_point from, Steady::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// User and system time of this process.
inline double CpuSeconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// The same of another process; 0 when `pid` is 0 or gone.
inline double CpuSecondsOf(int pid) {
  if (pid == 0) return 0.0;
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  const size_t after_name = line.rfind(')');
  if (after_name == std::string::npos) return 0.0;
  std::istringstream fields(line.substr(after_name + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0.0;
  double system = 0.0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

// A benchmark that cannot go on says why and ends.
inline void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}
template <typename T>
T Require(absl::StatusOr<T> value) {
  Require(value.status());
  return *std::move(value);
}

// Calls that end before `Start()` are warm-up and do not count. Not thread-safe.
class Measurement {
 public:
  // `server_pid`: a process whose CPU is told as well; 0: none.
  explicit Measurement(int server_pid = 0) : server_pid_(server_pid) {}

  void Start() {
    from_ = last_ = Steady::now();
    cpu_from_ = CpuSeconds();
    server_cpu_from_ = CpuSecondsOf(server_pid_);
    counting_ = true;
  }
  // A call that began at `start` and has ended now. `error` empty: it succeeded with `rows` and `bytes`.
  void Add(Steady::time_point start, size_t rows, size_t bytes, const std::string& error = {}) {
    if (!counting_) return;
    const Steady::time_point now = Steady::now();
    longest_gap_ = std::max(longest_gap_, SecondsBetween(last_, now));
    last_ = now;
    latencies_us_.push_back(1e6 * SecondsBetween(start, now));
    if (error.empty()) {
      rows_ += rows;
      bytes_ += bytes;
    } else {
      ++errors_[error];
    }
  }

  // `bound_us`: also the share of calls that ended within it, well or not; 0: none.
  nlohmann::json Report(double bound_us = 0) {
    const double seconds = SecondsBetween(from_, last_);
    nlohmann::json report = {{"calls", latencies_us_.size()}, {"rows", rows_}, {"seconds", seconds},
                             {"rows_per_second", seconds > 0 ? static_cast<double>(rows_) / seconds : 0.0},
                             {"reply_bytes", bytes_}, {"cpu_seconds", CpuSeconds() - cpu_from_},
                             {"server_cpu_seconds", CpuSecondsOf(server_pid_) - server_cpu_from_},
                             {"longest_gap_ms", 1e3 * longest_gap_}};
    std::sort(latencies_us_.begin(), latencies_us_.end());
    const std::pair<const char*, double> quantiles[] = {
        {"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}};
    for (const auto& [name, share] : quantiles) report[name] = Quantile(share);
    report["max_us"] = latencies_us_.empty() ? 0.0 : latencies_us_.back();
    report["errors"] = errors_;
    if (bound_us > 0 && !latencies_us_.empty()) {
      const auto late = std::upper_bound(latencies_us_.begin(), latencies_us_.end(), bound_us);
      report["within_bound"] =
          static_cast<double>(late - latencies_us_.begin()) / static_cast<double>(latencies_us_.size());
    }
    return report;
  }

 private:
  double Quantile(double share) const {
    if (latencies_us_.empty()) return 0.0;
    return latencies_us_[static_cast<size_t>(share * static_cast<double>(latencies_us_.size() - 1))];
  }

  const int server_pid_;
  bool counting_ = false;
  Steady::time_point from_;
  Steady::time_point last_;
  double cpu_from_ = 0.0;
  double server_cpu_from_ = 0.0;
  double longest_gap_ = 0.0;
  uint64_t rows_ = 0;
  uint64_t bytes_ = 0;
  std::vector<double> latencies_us_;
  std::map<std::string, uint64_t> errors_;
};

}  // namespace mneme::bench

#endif  // MNEME_TESTS_BENCH_MEASUREMENT_H_
