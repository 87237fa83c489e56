// What a RemoteDeployment has, for its own files alone.
#ifndef MNEME_CLUSTER_REMOTE_DEPLOYMENT_STATE_H_
#define MNEME_CLUSTER_REMOTE_DEPLOYMENT_STATE_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cluster/catalogue_watch.h"
#include "cluster/front_end_port.h"
#include "cluster/logged_shard_port.h"
#include "cluster/remote_deployment.h"
#include "cluster/remote_leases.h"
#include "cluster/remote_query.h"
#include "cluster/remote_shard_port.h"
#include "cluster/shard_fan.h"
#include "engine/benefit_counts.h"
#include "engine/search_pool.h"
#include "engine/write_fanout.h"

namespace mneme {

struct RemoteDeployment::State {
  State(std::unique_ptr<CatalogueWatch> catalogue_watch, const RemoteDeploymentOptions& options, size_t threads)
      : watch(std::move(catalogue_watch)), shards(watch->identity(), options.shards, options.security.get()),
        addresses(options.shards), leases(&shards), logs(options.logs),
        catalogues(MakeCatalogues(options)),
        ports(MakePorts(shards, logs, clock, *watch)), port_pointers(PointersTo(ports)),
        pool(threads, /*max_batched_rows=*/1) {}

  using Catalogues = std::vector<std::unique_ptr<mneme::internal::v1::CatalogueService::Stub>>;
  static Catalogues MakeCatalogues(const RemoteDeploymentOptions& options) {
    Catalogues made;
    for (const std::string& address : options.shards.front()) {
      made.push_back(mneme::internal::v1::CatalogueService::NewStub(
          MakeInternalChannel(address, options.security.get())));
    }
    return made;
  }

  using Ports = std::vector<std::unique_ptr<FrontEndPort>>;
  static Ports MakePorts(const ShardFan& fan, const std::vector<std::shared_ptr<ShardLog>>& logs, const Clock& clock,
                         const CatalogueWatch& names) {
    Ports made;
    for (const uint32_t number : fan.all()) {
      const ShardChannel* const shard = &fan.shard(number);
      if (logs.empty()) {
        made.push_back(std::make_unique<RemoteShardPort>(shard));
      } else {
        made.push_back(std::make_unique<LoggedShardPort>(
            LoggedShardPortOptions{shard, logs[number].get(), &clock, names.clock_check()}));
      }
    }
    return made;
  }
  static std::vector<ShardPort*> PointersTo(const Ports& made) {
    std::vector<ShardPort*> pointers;
    for (const auto& port : made) pointers.push_back(port.get());
    return pointers;
  }

  const Routing& routing() const { return shards.routing(); }
  // What reads ask a shard with: the memory, its lease on it, what to read, and `more`.
  Question Selected(const MemoryRecord& memory, VisitCommand command, uint32_t shard,
                    const std::string& more = {}) const;

  SystemClock clock;
  const std::unique_ptr<CatalogueWatch> watch;
  const ShardFan shards;
  const ShardAddresses addresses;
  RemoteLeases leases;
  const std::vector<std::shared_ptr<ShardLog>> logs;  // by number; none: the shards have logs of their own
  const Catalogues catalogues;  // of the replicas of shard 0, and
  std::atomic<size_t> changed_at{shards.shard(0).at()};  // which of them decided on a change last
  const Ports ports;
  const std::vector<ShardPort*> port_pointers;
  const WriteFanout fanout{port_pointers, &shards.routing()};
  const WorkingMemory working_memory{port_pointers, &shards.routing(), &clock};
  SearchPool pool;  // ends before what its steps use
  QueryAdmission admission;
  const RemoteQueryContext query_context{&shards, &pool, &admission};

  BenefitCounts benefit;
};

// Appends a part of a version that was read.
void Join(const Version& part, Version& whole);

}  // namespace mneme

#endif  // MNEME_CLUSTER_REMOTE_DEPLOYMENT_STATE_H_
