// Progress: one line on stderr that follows long work.
#ifndef MNEME_CLIENT_CLI_PROGRESS_H_
#define MNEME_CLIENT_CLI_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <string>

namespace mneme::cli {

// "import wiki  [=====>    ]  52 %  186,000 of 357,664 rows  91,000 rows/s  2.0 s left", redrawn at most ten times a
// second; nothing at all when it is not `live` (stderr is no terminal, or -q). Not thread-safe.
class Progress {
 public:
  // `total` 0: unknown, no bar.
  Progress(bool live, std::string what, std::string unit, uint64_t total);
  // Clears the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Set(uint64_t done);
  void SetTotal(uint64_t total) { total_ = total; }
  // Replaces everything by a line of the caller's.
  void SetLine(const std::string& line);
  double seconds() const;

 private:
  // True when the line may be drawn again.
  bool Due();
  void Draw(const std::string& line);

  const bool live_;
  const std::string what_;
  const std::string unit_;
  uint64_t total_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point drawn_;
  bool shown_ = false;
};

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_PROGRESS_H_
