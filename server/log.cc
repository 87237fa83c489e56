#include "server/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace mneme {

const char* LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return "debug";
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarning: return "warning";
    case LogLevel::kError: return "error";
  }
  return "";
}

namespace {

std::string Timestamp() { return absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::Now(), absl::UTCTimeZone()); }

struct JsonValue {
  std::string operator()(const std::string& text) const { return JsonString(text); }
  std::string operator()(int64_t number) const { return absl::StrCat(number); }
  std::string operator()(double number) const { return std::isfinite(number) ? absl::StrCat(number) : "null"; }
  std::string operator()(bool truth) const { return truth ? "true" : "false"; }
};

std::string JsonLine(LogLevel level, const char* component, const std::string& message,
                     const std::vector<LogField>& fields) {
  std::string line = absl::StrCat("{\"ts\":\"", Timestamp(), "\",\"level\":\"", LogLevelName(level),
                                  "\",\"component\":\"", component, "\",\"msg\":", JsonString(message));
  for (const LogField& field : fields) {
    absl::StrAppend(&line, ",\"", field.name, "\":", std::visit(JsonValue{}, field.value));
  }
  line.push_back('}');
  return line;
}

std::string TextLine(LogLevel level, const char* component, const std::string& message,
                     const std::vector<LogField>& fields) {
  std::string line = absl::StrCat(Timestamp(), " ", LogLevelName(level), " ", component, ": ", message);
  for (const LogField& field : fields) {
    absl::StrAppend(&line, " ", field.name, "=", std::visit(JsonValue{}, field.value));
  }
  return line;
}

}  // namespace

struct Log::Sink {
  spdlog::logger logger{"mneme", std::make_shared<spdlog::sinks::stderr_sink_mt>()};
};

Log::Log(LogFormat format, LogLevel level) : format_(format), level_(level), sink_(std::make_unique<Sink>()) {
  sink_->logger.set_pattern("%v");
  sink_->logger.set_level(spdlog::level::trace);
}

Log::~Log() = default;

void Log::Write(LogLevel level, const char* component, const std::string& message, std::vector<LogField> fields) {
  if (!Enabled(level)) return;
  const std::string line = format_ == LogFormat::kJson ? JsonLine(level, component, message, fields)
                                                       : TextLine(level, component, message, fields);
  sink_->logger.log(spdlog::level::info, spdlog::string_view_t(line));
}

std::string JsonString(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace mneme
