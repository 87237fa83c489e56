// LocalDeployment: a deployment whose shards are in this process: all of them, or the one that a shard process hosts
// for front ends elsewhere (docs/architecture.md, "Past one process").
//
// Searches run on a fixed pool of threads.
#ifndef MNEME_ENGINE_LOCAL_DEPLOYMENT_H_
#define MNEME_ENGINE_LOCAL_DEPLOYMENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/limits.h"
#include "engine/candidates.h"
#include "engine/catalogue_names.h"
#include "engine/deployment.h"
#include "engine/disk_room.h"
#include "engine/index_thresholds.h"
#include "engine/leases.h"
#include "engine/match_rows.h"
#include "engine/shard_log.h"
#include "engine/write_operations.h"

namespace mneme {

class Catalogue;
class DataDirectory;
class PruneDecisions;
class ShardBackups;
class ShardCheckpoints;

// The one shard that a process has. Shard 0 without a replicated log owns the catalogue; all others are told it, a
// replica of shard 0 by its own process (engine/catalogue_teller.h).
struct HostedShard {
  uint32_t number = 0;
  // Of the deployment, as who tells names has it; 0: of shard 0, which then owns the catalogue and gives the number.
  uint64_t identity = 0;
  CatalogueChanges catalogue = {};  // whole; not for the owner
  // Of a process that has opened it before; null: it is opened, or made.
  std::shared_ptr<DataDirectory> directory = {};
  // Opens a directory that holds nothing though the deployment has had memories: what the shard had of them is gone. No
  // matter where there is a log: that has it.
  bool accept_empty = false;
  // Its replicated log, which all replicas of the shard apply; null: it has none, and there is one replica.
  std::shared_ptr<ShardLog> log = {};
  uint32_t replica = 0;
  std::string address = {};  // where others of the deployment reach it, by its own options
  // Called with the directory, which is locked, and with `catalogue`, before the store is opened: may put a store there
  // (cluster/checkpoint_copy.h), and then brings the catalogue to where it knows the memories of that. May be empty.
  std::function<absl::Status(const DataDirectory&, CatalogueChanges& catalogue)> prepare = {};
  // Of a replica of shard 0, which tells names beside: for its backups, as those of ShardBackupsOptions. Borrowed.
  const Catalogue* names = nullptr;
  std::function<absl::Status(const CallLimits&)> await_names = {};

  bool OwnsCatalogue() const { return number == 0 && identity == 0; }
};

// How far a shard has come with its log.
struct LogState {
  bool logged = false;       // whether it has one
  Sequence handled = 0;      // as those of LogApplier, and so are the others
  LogOffset seen_end = 0;
  bool lost = false;
  bool refused = false;
  absl::Status status = {};
};

struct DeploymentOptions {
  std::string data_dir = {};
  uint32_t shards = 0;          // 0: as stored, or 1 when new
  uint32_t search_threads = 0;  // 0: one per core
  // Rows of queued queries that one worker searches together; 1: each query alone.
  size_t max_batched_rows = limits::kMaxBatchedRows;
  uint64_t ram_limit_bytes = 0; // of tails and queued writes; 0: half of the machine's
  uint64_t disk_reserve_bytes = 0;  // of the disk of data_dir: what fills it is refused while less is free; 0: never
  DiskRoom::FreeBytes free_disk = {};  // empty: as the file system says
  uint64_t answer_cache_bytes = 0;  // of answers to keys that are asked again; 0: none
  bool accept_truncated_log = false;
  IndexThresholds thresholds = {};
  const Clock* clock = nullptr; // borrowed; null: the machine's
  EventSink events = {};        // may be empty
  std::string backup_dir = {};  // where backups go; empty: there are none
  // How long what was deleted may wait to be erased with what is deleted later (engine/erasure.h).
  int64_t erase_after_ms = int64_t{24} * 3'600'000;
  std::optional<HostedShard> hosted = {};  // nullopt: all shards
};

// Thread-safe.
class LocalDeployment final : public Deployment {
 public:
  // Opens or creates. FAILED_PRECONDITION and DATA_LOSS as DataDirectory and OpenRocksDbEntryStore say; DATA_LOSS, too,
  // when it is to create a hosted shard of a deployment that has had memories: the first is made when every shard is
  // there (cluster/remote_deployment.h), so this one has lost its data.
  static absl::StatusOr<std::unique_ptr<LocalDeployment>> Open(DeploymentOptions options);
  // Finishes accepted writes, then stops.
  ~LocalDeployment() override;

  uint32_t shards() const override;
  uint64_t identity() const override;

  // FAILED_PRECONDITION, too, where the process does not own the catalogue; so for all that changes it.
  absl::StatusOr<MemoryHandle> CreateMemory(const MemorySpec& spec) override;
  absl::StatusOr<MemoryHandle> FindMemory(std::string_view name) const override;
  absl::StatusOr<std::vector<MemoryHandle>> ListMemories() const override;
  absl::Status DropMemory(std::string_view name) override;
  absl::StatusOr<MemoryHandle> SetAlias(const AliasChange& change) override;
  absl::Status DropAlias(std::string_view name) override;
  absl::StatusOr<std::vector<Alias>> ListAliases() const override;

  void Insert(MemoryHandle memory, InsertCommand command, std::function<void()> visible,
              std::function<void(absl::StatusOr<InsertOutcome>)> done) override;
  void Delete(MemoryHandle memory, DeleteCommand command,
              std::function<void(absl::StatusOr<DeleteOutcome>)> done) override;
  void Remember(const MemoryHandle& memory, RememberCommand command,
                std::function<void(absl::StatusOr<RememberOutcome>)> done) override;

  absl::StatusOr<ReceiptStatus> Receipt(const MemoryHandle& memory, const Version& receipt,
                                        const CallLimits& limits) const override;
  absl::StatusOr<ReceiptPage> ListReceipts(const MemoryHandle& memory, const std::optional<ScanPosition>& from,
                                           size_t limit, const CallLimits& limits) const override;

  void Query(MemoryHandle memory, QueryCommand command,
             std::function<void(absl::StatusOr<QueryOutcome>)> done) override;
  absl::StatusOr<EntryColumns> Get(const MemoryHandle& memory, PartitionId partition, const std::vector<EntryId>& ids,
                                   bool with_keys, const Version& at_least, const CallLimits& limits,
                                   std::vector<bool>& found) const override;
  absl::StatusOr<Version> Visit(
      const MemoryHandle& memory, VisitCommand command,
      const std::function<absl::Status(PartitionId, const EntryView&)>& visit) const override;
  absl::StatusOr<Version> SumByLabel(const MemoryHandle& memory, VisitCommand command, LabelSums& sums) const override;
  absl::StatusOr<MatchOutcome> Match(MatchCommand command) const override;
  absl::StatusOr<ScanPage> Scan(const MemoryHandle& memory, const ScanCommand& command) const override;
  absl::StatusOr<uint64_t> Count(const MemoryHandle& memory, VisitCommand command) const override;
  absl::StatusOr<StoredAmount> CountStored(const MemoryHandle& memory, std::optional<PartitionId> partition,
                                           const CallLimits& limits) const override;

  absl::StatusOr<Leases::Granted> AcquireLease(const MemoryHandle& memory, const VisitCommand& command,
                                               int64_t lease_ms) override;
  HeldLeases& leases() const override;
  absl::StatusOr<std::unique_ptr<ExportedIndex>> ExportIndex(const MemoryHandle& memory, const LeaseHandle& lease,
                                                             const CallLimits& limits) const override;
  const WorkingMemory& working_memory() const override;

  absl::Status BuildIndex(const MemoryHandle& memory, bool retrain,
                          std::function<bool(const BuildProgress&)> progress) override;
  absl::Status BuildIndexOn(const MemoryHandle& memory, const GivenParts& given,
                            std::function<bool(const BuildProgress&)> progress) override;
  // Where the shard has a log, this replica chooses, and writes through the log.
  absl::StatusOr<PruneOutcome> Prune(const MemoryHandle& memory, PruneCommand command) override;
  absl::StatusOr<MemoryStatistics> Statistics(const MemoryHandle& memory) const override;
  DeploymentStatistics Statistics() const override;
  void CountBenefit(const MemoryHandle& memory, uint64_t tokens, double nats) override;
  // Null, too, in a process that hosts one shard of several.
  const Backups* backups() const override;
  // FAILED_PRECONDITION, too, in such a process, which front ends ask (shard_backups()).
  absl::StatusOr<BackupOutcome> CreateBackup(uint32_t keep, const CallLimits& limits,
                                             const BackupProgressSink& progress) const override;
  absl::StatusOr<std::vector<KnownBackup>> ListBackups(const CallLimits& limits) const override;
  // Its own shards, each as the one replica that is here; FAILED_PRECONDITION with digests.
  absl::Status DescribeReplicas(const ReplicaQuestion& question, const ReplicaSink& each) const override;
  // FAILED_PRECONDITION.
  absl::StatusOr<ReplicaChangeOutcome> ChangeReplicas(const ReplicaChange& change, const CallLimits& limits,
                                                      const ReplicaChangeSink& tell) const override;

  // --- For front ends elsewhere: what they ask of the shard that this process hosts ---
  // Whether the shard may have any of what a selection names.
  bool Owns(const MemoryRecord& memory, const PartitionSelection& selection) const;
  const CatalogueNames& names() const;
  // Takes what it is told of names: memories that went are closed, and their data goes. DATA_LOSS as
  // CatalogueNames::Apply.
  absl::Status TakeCatalogue(const CatalogueChanges& changes);
  // One part of a write, which a front end split. As LocalShardPort::Submit(); RESOURCE_EXHAUSTED, too, when ram is
  // full. FAILED_PRECONDITION where the shard has a log: it takes writes from that alone.
  absl::Status Append(WriteOperation operation);
  // What became of a record of the log. As LogApplier::AwaitOutcome(); FAILED_PRECONDITION without a log.
  void AwaitOutcome(LogOffset offset, const RequestIdentity& request, const CallLimits& limits,
                    std::function<void(absl::StatusOr<WriteResult>)> then);
  LogState log_state() const;
  // What prunes of the shard wait for (PruneCommand::decided).
  PruneDecisions& prune_decisions() const;
  // Both null unless it hosts a shard.
  ShardCheckpoints* checkpoints() const;
  ShardBackups* shard_backups() const;
  const ShardPort& port() const;
  // Scores what the shard holds of `wanted`; see candidates.h.
  absl::StatusOr<NeighbourColumns> Score(const MemoryHandle& memory, const QueryCommand& command, bool plain,
                                         const std::vector<WantedEntry>& wanted) const;
  // Entries of the shard, as Get(), of which `stamp_ms` is the moment.
  absl::StatusOr<EntryColumns> GetAt(const MemoryHandle& memory, PartitionId partition, const std::vector<EntryId>& ids,
                                     bool with_keys, int64_t stamp_ms, const CallLimits& limits,
                                     std::vector<bool>& found) const;
  absl::Status Await(const Version& version, const CallLimits& limits) const;
  // As BuildIndexOn(); false when no partition is long enough.
  absl::StatusOr<bool> BuildOn(const MemoryHandle& memory, const GivenParts& given,
                               const std::function<bool(const BuildProgress&)>& progress);
  absl::StatusOr<MatchRows> ReadMatchRows(MatchSide side, Version& read) const;
  absl::StatusOr<DeleteOutcome> DryRun(const MemoryHandle& memory, const DeleteCommand& command) const;

 private:
  struct State;
  absl::StatusOr<uint64_t> CountMatching(const MemoryHandle& memory, const VisitCommand& command) const;
  explicit LocalDeployment(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_LOCAL_DEPLOYMENT_H_
