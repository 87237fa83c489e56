// What a RemoteDeployment has, for its own files alone.
#ifndef MNEME_CLUSTER_REMOTE_DEPLOYMENT_STATE_H_
#define MNEME_CLUSTER_REMOTE_DEPLOYMENT_STATE_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
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
      : watch(std::move(catalogue_watch)), security(options.security),
        shards(watch->identity(), options.shards, security.get()), addresses(options.shards), events(options.events),
        leases(&shards),
        logs(options.logs),
        tellers(MakeTellers(options.shards.front(), {})), changed_at(shards.shard(0).at()),
        ports(MakePorts(shards, logs, clock, *watch)), port_pointers(PointersTo(ports)),
        pool(threads, /*max_batched_rows=*/1) {}

  // A replica of shard 0, as it is asked for changes of names.
  struct Teller {
    std::string address;
    std::unique_ptr<mneme::internal::v1::CatalogueService::Stub> stub;
  };
  using Tellers = std::vector<std::shared_ptr<const Teller>>;
  // At `addresses`, where one is; those of `before` that are there already.
  Tellers MakeTellers(const std::vector<std::string>& addresses, const Tellers& before) const {
    Tellers made;
    for (const std::string& address : addresses) {
      if (address.empty()) continue;
      const auto known = std::find_if(before.begin(), before.end(),
                                      [&address](const auto& each) { return each->address == address; });
      if (known != before.end()) {
        made.push_back(*known);
        continue;
      }
      auto teller = std::make_shared<Teller>();
      teller->address = address;
      teller->stub =
          mneme::internal::v1::CatalogueService::NewStub(MakeInternalChannel(address, security.get()));
      made.push_back(std::move(teller));
    }
    return made;
  }
  Tellers TellersNow() const ABSL_LOCKS_EXCLUDED(tellers_mutex) {
    MutexLock lock(&tellers_mutex);
    return tellers;
  }
  // Shards have the replicas that an operator has set, from now on. One thread at a time.
  void TakeReplicas(const ReplicaLists& lists) ABSL_LOCKS_EXCLUDED(tellers_mutex);

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
            LoggedShardPortOptions{shard, logs[number].get(), &clock, names.stamp_check()}));
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
  const std::shared_ptr<const ChannelSecurity> security;  // may be null
  ShardFan shards;
  const ShardAddresses addresses;  // as options say
  const EventSink events;          // may be empty
  RemoteLeases leases;
  const std::vector<std::shared_ptr<ShardLog>> logs;  // by number; none: the shards have logs of their own
  mutable Mutex tellers_mutex;
  Tellers tellers ABSL_GUARDED_BY(tellers_mutex);  // at least one, and
  std::atomic<size_t> changed_at;                  // which of them decided on a change last
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

// UNAVAILABLE: of the replicas of a shard that each were to be asked none is one any more.
absl::Status ReplicasChanged(uint32_t shard);

}  // namespace mneme

#endif  // MNEME_CLUSTER_REMOTE_DEPLOYMENT_STATE_H_
