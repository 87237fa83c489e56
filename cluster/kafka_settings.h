// KafkaSettings: what an operator says of the log of all shards: which topic it is and at which brokers, and how those
// are reached.
#ifndef MNEME_CLUSTER_KAFKA_SETTINGS_H_
#define MNEME_CLUSTER_KAFKA_SETTINGS_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace mneme {

// kafka://HOST:PORT[,HOST:PORT...]/TOPIC
struct KafkaAddress {
  std::string brokers;  // HOST:PORT[,HOST:PORT...]: some of them, which tell of the others
  std::string topic;
};

// INVALID_ARGUMENT: what goes on after the name of what was given: is "..."; must be ...
absl::StatusOr<KafkaAddress> ParseKafkaAddress(std::string_view address);

// Properties of librdkafka's, by its own names, in the order in which they are set. Values may be secrets.
using KafkaSettings = std::vector<std::pair<std::string, std::string>>;

// Of a file's text (ReadOperatorFile, security/small_file.h): one NAME=VALUE a line; lines that are empty or begin with
// # say nothing. Spaces around a name or a value are not of it. Taken are names that say how brokers are reached, and
// who asks them: TLS, SASL, sockets, time-outs, debugging. What decides what an acknowledgement means, how much ram is
// held, or which records are read is the program's, and refused. librdkafka is told more by some than data
// (sasl.kerberos.kinit.cmd is a command): whoever may write the file may do what the process may.
// INVALID_ARGUMENT: what goes on after the file's name, with the line. It repeats no value.
absl::StatusOr<KafkaSettings> ParseKafkaSettings(std::string_view text);

// Whether librdkafka takes the values, before anything is made of them (kafka_client.cc). INVALID_ARGUMENT: what goes
// on after the file's name; it repeats no secret.
absl::Status CheckKafkaSettings(const KafkaSettings& settings);

// True for a setting whose value nobody is shown, whatever is wrong with it.
bool IsSecretKafkaSetting(std::string_view name);

}  // namespace mneme

#endif  // MNEME_CLUSTER_KAFKA_SETTINGS_H_
