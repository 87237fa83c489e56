// What a LocalDeployment has, for its own files alone.
#ifndef MNEME_ENGINE_LOCAL_DEPLOYMENT_STATE_H_
#define MNEME_ENGINE_LOCAL_DEPLOYMENT_STATE_H_

#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/backups.h"
#include "engine/benefit_counts.h"
#include "engine/catalogue.h"
#include "engine/disk_room.h"
#include "engine/erasure.h"
#include "engine/label_sum_cache.h"
#include "engine/leaving_memories.h"
#include "engine/local_deployment.h"
#include "engine/local_shard_port.h"
#include "engine/log_applier.h"
#include "engine/maintenance.h"
#include "engine/match_entries.h"
#include "engine/prune_decisions.h"
#include "engine/query_execution.h"
#include "engine/routing.h"
#include "engine/search_pool.h"
#include "engine/shard.h"
#include "engine/shard_backups.h"
#include "engine/shard_checkpoints.h"
#include "engine/write_fanout.h"
#include "storage/data_directory.h"
#include "storage/rocksdb_entry_store.h"

namespace mneme {

struct LocalDeployment::State {
  explicit State(Routing shard_routing) : routing(shard_routing) {}

  SystemClock system_clock;
  SteadyClock timer;
  const Clock* clock = nullptr;
  uint64_t ram_limit_bytes = 0;
  Routing routing;  // constant once the shards are open
  std::shared_ptr<DataDirectory> directory;
  std::unique_ptr<const DiskRoom> disk;  // that has it
  std::unique_ptr<StoreResources> resources;
  std::unique_ptr<Catalogue> catalogue;  // null where another process owns it
  CatalogueNames told_names;             // what that told
  LeavingMemories leaving{[this](MemoryNumber number) { RemoveData(number); }};
  std::vector<std::unique_ptr<Shard>> shards;  // those of this process
  // [routing.shards()]; null for those of other processes.
  std::vector<Shard*> by_number;
  std::vector<std::unique_ptr<LocalShardPort>> ports;
  std::unique_ptr<WriteFanout> fanout;
  std::unique_ptr<WorkingMemory> working_memory;
  std::string address;  // of a hosted shard, as that of HostedShard
  // Of a hosted shard that has one. The applier starts last, when all that it needs is there.
  std::shared_ptr<ShardLog> log;
  std::unique_ptr<LogApplier> applier;
  std::atomic<LogApplier*> running_applier{nullptr};  // for maintenance, which starts before it
  std::unique_ptr<Maintenance> maintenance;  // before the shards in destruction
  std::unique_ptr<SearchPool> pool;
  std::unique_ptr<AnswerCache> answers;
  std::unique_ptr<HeldLeases> leases;
  std::unique_ptr<Backups> backups;
  std::unique_ptr<ShardCheckpoints> checkpoints;  // of a hosted shard, as is
  std::unique_ptr<ShardBackups> shard_backups;
  PruneDecisions prune_decisions;
  LabelSumCache label_sums;
  MatchCache matches;
  std::unique_ptr<Erasure> erasure;  // before all that it uses in destruction
  QueryContext query_context;

  BenefitCounts benefit;

  // Set once the shards are open; until then nothing is sealable.
  std::atomic<Maintenance*> sealer{nullptr};

  const CatalogueNames& names() const { return catalogue != nullptr ? catalogue->names() : told_names; }
  std::vector<Shard*> HostedShards() const {
    std::vector<Shard*> hosted;
    for (const auto& shard : shards) hosted.push_back(shard.get());
    return hosted;
  }
  std::vector<ShardPort*> PortPointers() const {
    std::vector<ShardPort*> pointers;
    for (const auto& each : ports) pointers.push_back(each.get());
    return pointers;
  }

  // Steps of Open().
  absl::Status OpenCatalogue(const std::optional<HostedShard>& hosted);
  absl::Status OpenShards(const DeploymentOptions& options, size_t threads);
  void MakeCheckpoints(const DeploymentOptions& options);
  void MakeBackups(const DeploymentOptions& options);
  absl::Status StartMaintenance(const DeploymentOptions& options);
  void StartErasure(const DeploymentOptions& options);
  void StartApplier(const DeploymentOptions& options);

  absl::Status OwnsCatalogue() const;
  // A memory that nobody finds any more takes no writes, and its data goes when nobody reads it.
  void Close(MemoryHandle dropped);
  absl::Status CheckRam() const;
  absl::Status CheckRamBeside(uint64_t leased_bytes) const;
  // As LogApplierOptions::find_memory.
  absl::StatusOr<MemoryHandle> FindOfRecord(MemoryNumber number) const;
  absl::Status Await(const Version& version, const CallLimits& limits) const;
  void RemoveData(MemoryNumber number);
};

// The moment by which a read judges expiry, unless who asks has set it.
inline void Stamp(RowFilter& filter, const LeaseHandle& lease, const Clock& clock) {
  if (filter.stamp_ms == 0) filter.stamp_ms = StampOf(lease, clock.NowMs());
}

}  // namespace mneme

#endif  // MNEME_ENGINE_LOCAL_DEPLOYMENT_STATE_H_
