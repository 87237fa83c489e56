// What Prometheus expects to know of any process.
#ifndef MNEME_SERVER_PROCESS_METRICS_H_
#define MNEME_SERVER_PROCESS_METRICS_H_

#include <string>
#include <vector>

namespace mneme {

struct ProcessMetric {
  std::string name;  // process_*
  std::string help;
  double value = 0.0;
  bool counter = false;
};

// Reads /proc/self; leaves out what cannot be read. Thread-safe.
std::vector<ProcessMetric> ReadProcessMetrics();

}  // namespace mneme

#endif  // MNEME_SERVER_PROCESS_METRICS_H_
