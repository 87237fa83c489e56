// Canceller: passes on that a caller has gone to the calls that were made for it.
#ifndef MNEME_CLUSTER_CANCELLER_H_
#define MNEME_CLUSTER_CANCELLER_H_

#include <grpcpp/client_context.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"

namespace mneme {

// Thread-safe. Looks every few milliseconds while there is something to look at.
class Canceller {
 public:
  Canceller();
  ~Canceller();

  // Cancels `context` once `cancelled` (may be null) is set, or all are cancelled, as long as somebody holds it.
  void Watch(std::shared_ptr<const std::atomic<bool>> cancelled, std::weak_ptr<grpc::ClientContext> context);
  // Cancels every call that was made, and those that will be.
  void CancelAll();
  bool cancels_all() const;

 private:
  struct Watched {
    std::shared_ptr<const std::atomic<bool>> cancelled;
    std::weak_ptr<grpc::ClientContext> context;
  };

  void Run();

  mutable Mutex mutex_;
  CondVar arrived_;
  std::vector<Watched> watched_ ABSL_GUARDED_BY(mutex_);
  bool all_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_CANCELLER_H_
