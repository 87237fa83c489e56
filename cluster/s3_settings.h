// S3Settings: what an operator says of a store that speaks Amazon's S3: where it is, and who asks it.
#ifndef MNEME_CLUSTER_S3_SETTINGS_H_
#define MNEME_CLUSTER_S3_SETTINGS_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace mneme {

// s3://BUCKET[/PREFIX]
struct S3Address {
  std::string bucket;
  std::string prefix;  // without slashes at its ends
};

// INVALID_ARGUMENT: what goes on after the name of what was given: is "..."; must be ...
absl::StatusOr<S3Address> ParseS3Address(std::string_view address);

struct S3Settings {
  std::string endpoint;  // https://HOST[:PORT]; http:// where nobody is on the way
  std::string region = "us-east-1";
  std::string access_key;
  std::string secret_key;
  std::string ca_file;  // who signs the certificate of the endpoint; empty: whom the machine trusts
};

// Of a file's text (ReadOperatorFile, security/small_file.h): one NAME=VALUE a line, by the names above with "-" for
// "_"; lines that are empty or begin with # say nothing. INVALID_ARGUMENT: what goes on after the file's name, with the
// line. It repeats no value.
absl::StatusOr<S3Settings> ParseS3Settings(std::string_view text);

}  // namespace mneme

#endif  // MNEME_CLUSTER_S3_SETTINGS_H_
