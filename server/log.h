// Log: one line per event on stderr, as a JSON object or as text.
#ifndef MNEME_SERVER_LOG_H_
#define MNEME_SERVER_LOG_H_

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace mneme {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kJson, kText };

// "debug", "info", "warning", "error".
const char* LogLevelName(LogLevel level);

// A named field of an event: text, a number or a truth.
struct LogField {
  std::string name;
  std::variant<std::string, int64_t, double, bool> value;
};

// JSON lines carry ts (RFC 3339, UTC, microseconds), level, component, msg and the fields. Nothing that is logged holds
// a key or a value of an entry: callers pass names, numbers and status messages only. Thread-safe; a line is written
// whole.
class Log {
 public:
  Log(LogFormat format, LogLevel level);
  ~Log();

  bool Enabled(LogLevel level) const { return level >= level_; }
  void Write(LogLevel level, const char* component, const std::string& message, std::vector<LogField> fields = {});

 private:
  struct Sink;
  const LogFormat format_;
  const LogLevel level_;
  std::unique_ptr<Sink> sink_;
};

// `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD.
std::string JsonString(const std::string& text);

}  // namespace mneme

#endif  // MNEME_SERVER_LOG_H_
