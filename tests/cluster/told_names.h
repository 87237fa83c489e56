// A teller of names that never change, for front ends of shards that a test stands in for.
#ifndef MNEME_TESTS_CLUSTER_TOLD_NAMES_H_
#define MNEME_TESTS_CLUSTER_TOLD_NAMES_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <thread>
#include <utility>

#include "common/clock.h"
#include "engine/flat_catalogue.h"
#include "engine/flat_commands.h"
#include "mneme/internal/v1/shard.grpc.pb.h"

namespace mneme::testing {

inline CatalogueChanges NoNames() {
  CatalogueChanges everything;
  everything.whole = true;
  everything.revision = 1;
  everything.next_number = 1;
  return everything;
}

class ToldNames final : public internal::v1::CatalogueService::Service {
 public:
  ToldNames(uint64_t deployment, CatalogueChanges everything)
      : deployment_(deployment), everything_(std::move(everything)) {}

  grpc::Status Watch(grpc::ServerContext*, const internal::v1::WatchRequest* request,
                     internal::v1::WatchAnswer* answer) override {
    if (request->leaving()) return grpc::Status::OK;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CatalogueChanges changes;
    changes.revision = everything_.revision;
    changes.next_number = everything_.next_number;
    if (request->epoch() == 0) changes = everything_;
    answer->set_deployment(deployment_);
    answer->set_epoch(deployment_);
    answer->set_revision(everything_.revision);
    answer->set_lease_ms(5'000);
    answer->set_now_ms(SystemClock().NowMs());
    answer->set_changes(Flat(changes));
    return grpc::Status::OK;
  }

 private:
  const uint64_t deployment_;
  const CatalogueChanges everything_;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_CLUSTER_TOLD_NAMES_H_
