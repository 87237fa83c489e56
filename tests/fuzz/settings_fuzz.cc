// What an operator says of a log and of a store of objects, in addresses and in files; where a log is applied up to.
// A message repeats no value.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cluster/kafka_settings.h"
#include "cluster/s3_settings.h"
#include "common/limits.h"
#include "security/loopback.h"
#include "server/offline_options.h"
#include "server/options.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

enum Kind : uint8_t { kS3Address, kS3Settings, kKafkaAddress, kKafkaSettings, kUntil, kAddress, kKinds };

// A value that nobody is shown.
constexpr char kSecret[] = "hush0hush0hush0hush0";

bool Refused(const absl::Status& status, std::initializer_list<std::string_view> words) {
  ExpectRefusal(status, {StatusCode::kInvalidArgument}, words);
  return false;
}

// What a file says is not repeated, but for what stands in the place of a name.
bool RefusedFile(const absl::Status& status, const std::string& text, std::initializer_list<std::string_view> words) {
  const auto in_a_name = [](absl::string_view line) {
    const size_t equals = line.find('=');
    return equals != absl::string_view::npos && absl::StrContains(line.substr(0, equals), kSecret);
  };
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (std::none_of(lines.begin(), lines.end(), in_a_name)) {
    Expect(!absl::StrContains(status.message(), kSecret), "a message repeats no value");
  }
  return Refused(status, words);
}

bool S3AddressText(const std::string& text) {
  const auto address = ParseS3Address(text);
  if (!address.ok()) return Refused(address.status(), {"must be s3://BUCKET"});
  const auto again = ParseS3Address(absl::StrCat("s3://", address->bucket, "/", address->prefix));
  Expect(again.ok() && again->bucket == address->bucket && again->prefix == address->prefix,
         "an address is written so that it reads the same");
  const std::string path = absl::StrCat("/", address->bucket, "/", address->prefix, "/");
  Expect(!absl::StrContains(path, "/../") && !absl::StrContains(path, "?"), "an address leads nowhere else");
  return true;
}

bool S3SettingsText(const std::string& text) {
  const auto settings = ParseS3Settings(text);
  if (!settings.ok()) {
    return RefusedFile(settings.status(), text, {"line ", "has no endpoint", "has a region", "lacks"});
  }
  Expect(!absl::StrContains(settings->endpoint, "@"), "an endpoint has no password");
  const auto again = ParseS3Settings(absl::StrCat("endpoint=", settings->endpoint, "\nregion=", settings->region,
                                                  "\naccess-key=", settings->access_key,
                                                  "\nsecret-key=", settings->secret_key));
  Expect(again.ok() && again->endpoint == settings->endpoint && again->secret_key == settings->secret_key,
         "settings are written so that they read the same");
  return true;
}

bool KafkaAddressText(const std::string& text) {
  const auto address = ParseKafkaAddress(text);
  if (!address.ok()) return Refused(address.status(), {"must be kafka://", "must have"});
  Expect(absl::StrCat("kafka://", address->brokers, "/", address->topic) == text, "an address has its parts");
  Expect(address->topic.size() < limits::kMaxTopicNameBytes, "a topic's name is bounded");
  return true;
}

bool KafkaSettingsText(const std::string& text) {
  const auto settings = ParseKafkaSettings(text);
  if (!settings.ok()) return RefusedFile(settings.status(), text, {"line ", "must have at most"});
  std::string written;
  for (const auto& [name, value] : *settings) {
    absl::StrAppend(&written, name, "=", value, "\n");
    static_cast<void>(IsSecretKafkaSetting(name));
    for (const char* kept : {"acks", "enable.idempotence", "queue.", "message.", "auto.offset", "group."}) {
      Expect(!absl::StartsWith(name, kept), "what an acknowledgement means is the program's");
    }
  }
  const auto again = ParseKafkaSettings(written);
  Expect(again.ok() && *again == *settings, "settings are written so that they read the same");
  return true;
}

bool Until(const std::string& text) {
  // A year has four characters: from -999 on.
  constexpr int64_t kFirstMs = -94'000'000'000'000;
  constexpr int64_t kLastMs = 253'402'300'800'000;
  const auto point = ParseUntil(text);
  if (!point.ok()) return Refused(point.status(), {"--until is"});
  if (point->offsets.empty()) {
    Expect(point->until_ms >= kFirstMs && point->until_ms < kLastMs, "a time is one of a calendar");
  } else {
    Expect(point->until_ms == 0 && point->offsets.size() <= 1 + text.size() / 2, "offsets are as many as were given");
  }
  return true;
}

bool Address(const std::string& text) {
  static_cast<void>(StaysOnMachine(text));
  const auto parts = SplitAddress(text);
  if (!parts.ok()) return Refused(parts.status(), {"must be HOST:PORT"});
  Expect(!parts->first.empty() && parts->second >= 0 && parts->second <= 65'535, "an address is a host and a port");
  Expect(absl::StrContains(text, parts->first), "a host is what was given");
  // gRPC takes what begins so for a socket, whatever a host is called.
  const bool is_socket = absl::StartsWith(text, "unix:");
  Expect(is_socket || IsLoopback(parts->first) == StaysOnMachine(text), "an address is of this machine by its host");
  return true;
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  const std::string text(in.Rest());
  const AllocationBound bound(16 * 1024 + 64 * text.size());
  switch (kind) {
    case kS3Address: return S3AddressText(text);
    case kS3Settings: return S3SettingsText(text);
    case kKafkaAddress: return KafkaAddressText(text);
    case kKafkaSettings: return KafkaSettingsText(text);
    case kUntil: return Until(text);
    case kAddress: return Address(text);
    default: return false;
  }
}

std::vector<std::string> Seeds() {
  const auto seed = [](Kind kind, const std::string& text) { return std::string(1, static_cast<char>(kind)) + text; };
  return {seed(kS3Address, "s3://backups"),
          seed(kS3Address, "s3://my-backups.v2/mneme/east/"),
          seed(kS3Settings, absl::StrCat("# a store\n\nendpoint = https://store:9000/\naccess-key=AK\nsecret-key = ",
                                         kSecret, " \nregion=eu-1\nca-file=/ca.pem")),
          seed(kS3Settings, absl::StrCat("endpoint=http://[::1]:9000\naccess-key=a\nsecret-key=", kSecret)),
          seed(kKafkaAddress, "kafka://a:9092,b.example.org:9093/mneme"),
          seed(kKafkaAddress, "kafka://[fe80::1%eth0]:9092/my.topic-2_a"),
          seed(kKafkaSettings, absl::StrCat("# TLS\nsecurity.protocol = SASL_SSL\n\nssl.ca.location=/ca.pem\n"
                                            "sasl.password=", kSecret, "\nsocket.timeout.ms=5000\ndebug=broker")),
          seed(kUntil, "2026-01-31T12:00:00Z"),
          seed(kUntil, "2026-01-31T12:00:00.25+02:00"),
          seed(kUntil, "4711,4802"),
          seed(kAddress, "127.0.0.1:7700"),
          seed(kAddress, "[::1]:0"),
          seed(kAddress, "localhost:7701")};
}

const Registration kTarget({"settings", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
