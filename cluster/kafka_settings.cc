#include "cluster/kafka_settings.h"

#include <algorithm>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/absl_view.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme {
namespace {

constexpr char kForm[] = "kafka://HOST:PORT[,HOST:PORT...]/TOPIC";

// Names that are taken; those that end with '.' are all that begin so.
constexpr absl::string_view kTaken[] = {
    "security.protocol",
    "ssl.",
    "sasl.",
    "enable.ssl.certificate.verification",
    "client.id",
    "broker.address.",
    "socket.",
    "reconnect.backoff.",
    "connections.max.idle.ms",
    "metadata.max.age.ms",
    "topic.metadata.refresh.interval.ms",
    "fetch.wait.max.ms",
    "debug",
};

absl::Status NotAnAddress(std::string_view address, absl::string_view must) {
  return absl::InvalidArgumentError(absl::StrCat("is \"", ToAbsl(address), "\"; must be ", must));
}

bool IsBroker(absl::string_view broker) {
  const size_t colon = broker.rfind(':');
  if (colon == absl::string_view::npos) return false;
  const absl::string_view port = broker.substr(colon + 1);
  int number = 0;
  if (!std::all_of(port.begin(), port.end(), absl::ascii_isdigit) || !absl::SimpleAtoi(port, &number) || number < 1 ||
      number > 65'535) {
    return false;
  }
  absl::string_view host = broker.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  return !host.empty() && std::all_of(host.begin(), host.end(), [bracketed](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_' || (bracketed && (c == ':' || c == '%'));
  });
}

// With the topic of names beside it.
constexpr size_t kMostTopicBytes = limits::kMaxTopicNameBytes - (sizeof(limits::kCatalogueTopicSuffix) - 1);

bool IsTopic(absl::string_view topic) {
  return !topic.empty() && topic.size() <= kMostTopicBytes && topic != "." && topic != ".." &&
         std::all_of(topic.begin(), topic.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-'; });
}

bool IsTaken(absl::string_view name) {
  return std::any_of(std::begin(kTaken), std::end(kTaken), [name](absl::string_view taken) {
    return taken.back() == '.' ? absl::StartsWith(name, taken) && name.size() > taken.size() : name == taken;
  });
}

std::string TakenNames() {
  return absl::StrJoin(kTaken, ", ", [](std::string* out, absl::string_view taken) {
    absl::StrAppend(out, taken, taken.back() == '.' ? "*" : "");
  });
}

// A name in a message: one that is far too long is none, and may be a secret that lost its line's start.
constexpr size_t kShown = 64;

absl::Status AddLine(absl::string_view line, KafkaSettings& settings) {
  const size_t equals = line.find('=');
  if (equals == absl::string_view::npos) return absl::InvalidArgumentError("has no \"=\"; must be NAME=VALUE");
  const absl::string_view name = absl::StripAsciiWhitespace(line.substr(0, equals));
  const absl::string_view value = absl::StripAsciiWhitespace(line.substr(equals + 1));
  if (!IsTaken(name)) {
    return absl::InvalidArgumentError(absl::StrCat("sets \"", name.substr(0, kShown),
                                                   name.size() > kShown ? ".." : "", "\"; must be one of ",
                                                   TakenNames()));
  }
  if (value.empty()) return absl::InvalidArgumentError(absl::StrCat("gives ", name, " no value"));
  if (absl::StrContains(value, absl::string_view("\0", 1))) {
    return absl::InvalidArgumentError(absl::StrCat("gives ", name, " a value with a zero byte"));
  }
  for (const auto& [other, unused] : settings) {
    if (other == name) return absl::InvalidArgumentError(absl::StrCat("sets ", name, " again"));
  }
  settings.emplace_back(std::string(name), std::string(value));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<KafkaAddress> ParseKafkaAddress(std::string_view address) {
  absl::string_view rest = ToAbsl(address);
  if (absl::StrContains(rest, '@')) {
    return absl::InvalidArgumentError(
        "has a user; must have none: names and passwords are of the log settings (sasl.username, sasl.password)");
  }
  if (!absl::ConsumePrefix(&rest, "kafka://")) return NotAnAddress(address, kForm);
  const size_t slash = rest.find('/');
  if (slash == absl::string_view::npos) return NotAnAddress(address, kForm);
  const absl::string_view topic = rest.substr(slash + 1);
  if (!IsTopic(topic)) {
    return NotAnAddress(address, absl::StrCat(kForm, " with a topic of 1 to ", kMostTopicBytes,
                                              " letters, digits, '.', '_', '-'"));
  }
  const std::vector<absl::string_view> brokers = absl::StrSplit(rest.substr(0, slash), ',');
  if (brokers.size() > limits::kMaxLogBrokers) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", brokers.size(), " brokers; must have at most ", limits::kMaxLogBrokers));
  }
  for (const absl::string_view broker : brokers) {
    if (IsBroker(broker)) continue;
    return NotAnAddress(address, absl::StrCat(kForm, ", where \"", broker,
                                              "\" is no HOST:PORT or [IPV6]:PORT with a port in [1, 65535]"));
  }
  return KafkaAddress{std::string(rest.substr(0, slash)), std::string(topic)};
}

absl::StatusOr<KafkaSettings> ParseKafkaSettings(std::string_view text) {
  if (text.size() > limits::kMaxLogSettingsBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", text.size(), " bytes; must have at most ", limits::kMaxLogSettingsBytes));
  }
  KafkaSettings settings;
  size_t number = 0;
  for (absl::string_view line : absl::StrSplit(ToAbsl(text), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    const absl::Status status = AddLine(line, settings);
    if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("line ", number, " ", status.message()));
  }
  return settings;
}

bool IsSecretKafkaSetting(std::string_view name) {
  const absl::string_view each = ToAbsl(name);
  return absl::StrContains(each, "password") || absl::StrContains(each, "secret") || absl::EndsWith(each, ".pem") ||
         absl::EndsWith(each, ".config");
}

}  // namespace mneme
