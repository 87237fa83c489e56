#include "server/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

namespace mneme {
namespace {

// Fields of /proc/self/stat after the parenthesised name (which may hold blanks): field 3 is first.
std::vector<std::string> StatFields() {
  std::ifstream file("/proc/self/stat");
  std::stringstream whole;
  whole << file.rdbuf();
  const std::string text = whole.str();
  const size_t end_of_name = text.rfind(')');
  std::vector<std::string> fields;
  if (end_of_name == std::string::npos) return fields;
  std::istringstream rest(text.substr(end_of_name + 1));
  for (std::string field; rest >> field;) fields.push_back(field);
  return fields;
}

double BootTimeSeconds() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;) {
    double seconds = 0.0;
    if (word == "btime" && file >> seconds) return seconds;
  }
  return 0.0;
}

double OpenFiles() {
  std::error_code error;
  double count = 0.0;
  for (auto it = std::filesystem::directory_iterator("/proc/self/fd", error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    ++count;
  }
  return count;
}

}  // namespace

std::vector<ProcessMetric> ReadProcessMetrics() {
  std::vector<ProcessMetric> out;
  const std::vector<std::string> stat = StatFields();
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  if (stat.size() > 21) {  // utime, stime, start time, virtual bytes and resident pages: fields 14, 15, 22, 23, 24
    out.push_back({"process_cpu_seconds_total", "CPU time, user and system.",
                   (std::stod(stat[11]) + std::stod(stat[12])) / ticks, true});
    out.push_back({"process_start_time_seconds", "Unix time of the start.",
                   BootTimeSeconds() + std::stod(stat[19]) / ticks, false});
    out.push_back({"process_virtual_memory_bytes", "Virtual address space.", std::stod(stat[20]), false});
    out.push_back({"process_resident_memory_bytes", "Resident bytes.",
                   std::stod(stat[21]) * static_cast<double>(sysconf(_SC_PAGESIZE)), false});
  }
  out.push_back({"process_open_fds", "Open file descriptors.", OpenFiles(), false});
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    out.push_back({"process_max_fds", "Most file descriptors.", static_cast<double>(files.rlim_cur), false});
  }
  return out;
}

}  // namespace mneme
