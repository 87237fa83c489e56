// S3Store: a bucket of a store that speaks Amazon's S3, signed as its version 4 wants it, by libcurl. Buckets are named
// in the path, as every such store takes them.
#ifndef MNEME_CLUSTER_S3_STORE_H_
#define MNEME_CLUSTER_S3_STORE_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/s3_settings.h"
#include "storage/object_store.h"

namespace mneme {

// What comes is held in ram, and the store is told the SHA-256 of what it gets, and compares it. What fails for the
// store's own reasons, or on the way, is asked again a few times.
class S3Store final : public ObjectStore {
 public:
  // Asks nobody yet. `give_up` is asked while the store is waited for. UNAVAILABLE when libcurl cannot be begun.
  static absl::StatusOr<std::unique_ptr<S3Store>> New(S3Address address, S3Settings settings,
                                                      std::function<bool()> give_up);
  ~S3Store() override;

  absl::StatusOr<std::vector<StoredObject>> List() override;
  absl::Status Put(const std::string& name, std::string_view bytes) override;
  absl::StatusOr<std::string> Get(const std::string& name) override;
  absl::Status Remove(const std::string& name) override;

 private:
  struct Request;
  struct Response;
  struct Curl;

  S3Store(S3Address address, S3Settings settings, std::function<bool()> give_up, std::unique_ptr<Curl> curl);

  std::string UrlOf(const std::string& name) const;
  // Asked again while that may help; errors of what the store says.
  absl::StatusOr<std::string> Ask(const Request& request);
  absl::Status AskOnce(const Request& request, Response& response);
  absl::Status StatusOf(const Request& request, const Response& response) const;

  const S3Address address_;
  const S3Settings settings_;
  const std::function<bool()> give_up_;
  const std::unique_ptr<Curl> curl_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_S3_STORE_H_
