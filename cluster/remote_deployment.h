// RemoteDeployment: a deployment whose shards are in other processes. What a front end is made of; it keeps nothing
// that matters.
//
// - Names come from a replica of shard 0 under a lease (catalogue_watch.h): a call that begins after a drop or a
//   swing was acknowledged is answered by it, at whichever front end it arrives; one that cannot know is UNAVAILABLE.
// - Writes are split here and handed to the shards, or to their logs, as records, each with a request id, the client's
//   or a random one, so that they may be handed over again.
// - Reads ask a replica of each shard that owns a part and merge what they answer as one process would.
#ifndef MNEME_CLUSTER_REMOTE_DEPLOYMENT_H_
#define MNEME_CLUSTER_REMOTE_DEPLOYMENT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "engine/deployment.h"
#include "engine/log_record.h"

namespace mneme {

class ChannelSecurity;
class ShardLog;

struct RemoteDeploymentOptions {
  std::vector<std::vector<std::string>> shards;  // addresses of the replicas of each, by number
  // The replicated log of each shard, by number; empty: shards have logs of their own, and one replica each.
  std::vector<std::shared_ptr<ShardLog>> logs = {};
  uint32_t search_threads = 0;      // that merge and read out; 0: one per core
  EventSink events = {};            // may be empty
  std::function<bool()> give_up = [] { return false; };  // asked while the catalogue is waited for
  std::shared_ptr<const ChannelSecurity> security = {};  // of the connections to shards; may be null
};

// What a front end has itself, without asking anybody.
struct FrontEndStatistics {
  uint64_t queued_merges = 0;  // steps of queries that wait for a search thread
  uint64_t queries = 0;        // that are with shards, and
  uint64_t query_bytes = 0;    // what they hold
  uint64_t write_bytes = 0;    // of writes that no shard has answered yet
  uint64_t hedged = 0;         // reads that were asked at a second replica, and
  uint64_t hedges_won = 0;     // those that it answered
  int64_t clock_ahead_ms = 0;  // of the clock of the replica of shard 0 that it watches
  uint64_t benefit_tokens = 0;
  double benefit_nats = 0.0;
};

// Thread-safe.
class RemoteDeployment final : public Deployment {
 public:
  // Waits until a replica of shard 0 tells names; errors as CatalogueWatch::Start.
  static absl::StatusOr<std::unique_ptr<RemoteDeployment>> Open(RemoteDeploymentOptions options);
  // Every call has ended.
  ~RemoteDeployment() override;

  // Whoever still waits for a shard is told CANCELLED, at once and from now on: a write may have been applied.
  void GiveUp();
  FrontEndStatistics Own() const;

  uint32_t shards() const override;
  uint64_t identity() const override;

  // The first memory is made when every shard is there, else UNAVAILABLE: so a shard without data, in a deployment that
  // has had memories, has lost it, and is refused.
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
  // Of these, Scan() and Query(): DATA_LOSS when what a shard tells is not whole, or not as wide as the memory says.
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
  Leases& leases() const override;
  absl::StatusOr<std::unique_ptr<ExportedIndex>> ExportIndex(const MemoryHandle& memory, const LeaseHandle& lease,
                                                             const CallLimits& limits) const override;
  const WorkingMemory& working_memory() const override;

  absl::Status BuildIndex(const MemoryHandle& memory, bool retrain,
                          std::function<bool(const BuildProgress&)> progress) override;
  absl::Status BuildIndexOn(const MemoryHandle& memory, const GivenParts& given,
                            std::function<bool(const BuildProgress&)> progress) override;
  // One shard after the other, or, with a guard, all of them once it was reckoned. Where shards have a replicated log,
  // one replica of each chooses, since what is merged depends on an index, of which each replica has one of its own.
  absl::StatusOr<PruneOutcome> Prune(const MemoryHandle& memory, PruneCommand command) override;
  absl::StatusOr<MemoryStatistics> Statistics(const MemoryHandle& memory) const override;
  // Of a shard that does not answer: nothing, and write_status says so.
  DeploymentStatistics Statistics() const override;
  void CountBenefit(const MemoryHandle& memory, uint64_t tokens, double nats) override;
  const Backups* backups() const override { return nullptr; }
  // One replica of each shard writes a part (remote_backups.cc). One that was not made is an event, too: TellNotMade().
  absl::StatusOr<BackupOutcome> CreateBackup(uint32_t keep, const CallLimits& limits,
                                             const BackupProgressSink& progress) const override;
  absl::StatusOr<std::vector<KnownBackup>> ListBackups(const CallLimits& limits) const override;
  // Digests of a shard's replicas are of one offset of its log; where it has none, of each as it is now.
  absl::Status DescribeReplicas(const ReplicaQuestion& question, const ReplicaSink& each) const override;
  absl::StatusOr<ReplicaChangeOutcome> ChangeReplicas(const ReplicaChange& change, const CallLimits& limits,
                                                      const ReplicaChangeSink& tell) const override;

 private:
  struct State;
  explicit RemoteDeployment(std::unique_ptr<State> state);

  // Has a replica of shard 0 make a change of names, the next one when that is away; its answer. UNAVAILABLE, too,
  // while what they tell is not taken: it may be an older copy.
  absl::StatusOr<std::string> Change(LoggedOperation change) const;
  absl::StatusOr<DeleteOutcome> DryRun(const MemoryHandle& memory, const DeleteCommand& command) const;
  // One replica of one shard after the other. True when any of them had something to build.
  absl::StatusOr<bool> Build(const MemoryHandle& memory, bool retrain, const GivenParts& given,
                             const std::function<bool(const BuildProgress&)>& progress) const;

  const std::unique_ptr<State> state_;
};

}  // namespace mneme

#endif  // MNEME_CLUSTER_REMOTE_DEPLOYMENT_H_
