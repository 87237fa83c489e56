// What a store that speaks Amazon's S3 answers, as far as it is read: pages of lists, and what errors call themselves.
#ifndef MNEME_CLUSTER_S3_ANSWER_H_
#define MNEME_CLUSTER_S3_ANSWER_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/object_store.h"

namespace mneme {

// A page of what a bucket lists, as S3 answers ListObjectsV2; and where the next one begins, empty at the end.
// DATA_LOSS when it is not that.
struct S3Page {
  std::vector<StoredObject> objects;  // whole keys
  std::string next;
};
absl::StatusOr<S3Page> ParseS3Page(std::string_view xml);

// What an error calls itself ("NoSuchBucket"), in letters and digits; not what else a store may write to a terminal.
// Empty where it does not say.
std::string S3ErrorCode(std::string_view xml);

}  // namespace mneme

#endif  // MNEME_CLUSTER_S3_ANSWER_H_
