// Deployment: the memories of a deployment, and what is asked of them. What a front end calls, whether the shards are
// in its process (local_deployment.h) or in others.
//
// 1. Writes are split by owner shard (docs/formats.md, "Routing"), logged, applied and acknowledged by the shards.
// 2. Reads go to the shards that hold the partitions asked for; their answers merge in the order of I4.
// Callbacks are called on threads of the deployment and must not block long.
#ifndef MNEME_ENGINE_DEPLOYMENT_H_
#define MNEME_ENGINE_DEPLOYMENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backup_outcome.h"
#include "engine/commands.h"
#include "engine/exported_index.h"
#include "engine/lease.h"
#include "engine/prune_command.h"
#include "engine/receipts.h"
#include "engine/remember.h"
#include "engine/replica_description.h"
#include "engine/working_memory.h"
#include "index/codebook.h"

namespace mneme {

class Backups;
class LabelSums;
struct MatchCommand;
struct MatchOutcome;

// Thread-safe. Where the shards are in other processes, everything that asks one may answer UNAVAILABLE, naming the
// shard: the same call may succeed later.
class Deployment {
 public:
  virtual ~Deployment() = default;

  virtual uint32_t shards() const = 0;
  // Random, given at creation: tells the versions of this deployment from those of any other.
  virtual uint64_t identity() const = 0;

  // --- Catalogue ---
  // ALREADY_EXISTS when the name is taken; RESOURCE_EXHAUSTED beyond kMaxMemories.
  virtual absl::StatusOr<MemoryHandle> CreateMemory(const MemorySpec& spec) = 0;
  // By its name or by an alias; never blocks. NOT_FOUND.
  virtual absl::StatusOr<MemoryHandle> FindMemory(std::string_view name) const = 0;
  virtual absl::StatusOr<std::vector<MemoryHandle>> ListMemories() const = 0;  // by name
  // NOT_FOUND; FAILED_PRECONDITION while an alias points to it. The name is free when it returns; data goes in the
  // background, once the reads that found the memory have ended.
  virtual absl::Status DropMemory(std::string_view name) = 0;
  // As Catalogue says; the memory that the alias pointed to before, null when it was made.
  virtual absl::StatusOr<MemoryHandle> SetAlias(const AliasChange& change) = 0;
  virtual absl::Status DropAlias(std::string_view name) = 0;
  virtual absl::StatusOr<std::vector<Alias>> ListAliases() const = 0;  // by name

  // --- Writes ---
  // `visible` (may be null) is called when the next query will see the write; `done` when it is as durable as asked.
  // `done` is called exactly once: RESOURCE_EXHAUSTED when queues, ram or disk are full; FAILED_PRECONDITION when the
  // request id was used with other content; NOT_FOUND when the memory was dropped. Nothing of a failed write is applied
  // on the shard that failed it.
  virtual void Insert(MemoryHandle memory, InsertCommand command, std::function<void()> visible,
                      std::function<void(absl::StatusOr<InsertOutcome>)> done) = 0;
  virtual void Delete(MemoryHandle memory, DeleteCommand command,
                      std::function<void(absl::StatusOr<DeleteOutcome>)> done) = 0;
  // For a memory with a capacity; see remember.h.
  virtual void Remember(const MemoryHandle& memory, RememberCommand command,
                        std::function<void(absl::StatusOr<RememberOutcome>)> done) = 0;

  // --- Receipts of deletions (receipts.h) ---
  // How far a deletion is, the least of all shards that it went to and of all their replicas. NOT_FOUND
  // (RECEIPT_NOT_FOUND) when one of them has none of it.
  virtual absl::StatusOr<ReceiptStatus> Receipt(const MemoryHandle& memory, const Version& receipt,
                                                const CallLimits& limits) const = 0;
  // From `from` on, by shard, and those of a shard by age; at most `limit`, each with the status that Receipt() tells.
  // A deletion that was acknowledged before is among them, unless one of the replicas has forgotten it.
  virtual absl::StatusOr<ReceiptPage> ListReceipts(const MemoryHandle& memory, const std::optional<ScanPosition>& from,
                                                   size_t limit, const CallLimits& limits) const = 0;

  // --- Reads ---
  // `done` is called exactly once, on a search thread; but where the query is refused before it is searched by the
  // caller's, and where the queue of searches is full (RESOURCE_EXHAUSTED), or the one shard that was to read out, in
  // another process, has answered shortly, by the one that heard so.
  virtual void Query(MemoryHandle memory, QueryCommand command,
                     std::function<void(absl::StatusOr<QueryOutcome>)> done) = 0;
  // Entries by id in the order asked for; found[i] tells which are there (entries holds only those).
  virtual absl::StatusOr<EntryColumns> Get(const MemoryHandle& memory, PartitionId partition,
                                           const std::vector<EntryId>& ids, bool with_keys, const Version& at_least,
                                           const CallLimits& limits, std::vector<bool>& found) const = 0;
  // Calls `visit(partition, entry)` for each live entry that is accepted, in no particular order, until it returns an
  // error, which is returned. Every shard is read in one version (I3). Returns what was read.
  virtual absl::StatusOr<Version> Visit(
      const MemoryHandle& memory, VisitCommand command,
      const std::function<absl::Status(PartitionId, const EntryView&)>& visit) const = 0;
  // The same entries as sums of keys by label, without reading all of them each time where nothing is filtered (see
  // label_sum_cache.h): equal to a sum over all of them to 1e-12. OUT_OF_RANGE as LabelSums says.
  virtual absl::StatusOr<Version> SumByLabel(const MemoryHandle& memory, VisitCommand command,
                                             LabelSums& sums) const = 0;
  // The best counterpart of each entry of two selections; see match_entries.h. OUT_OF_RANGE when the sides have more
  // than kMaxMatchBytes or kMaxMatchProducts.
  virtual absl::StatusOr<MatchOutcome> Match(MatchCommand command) const = 0;
  virtual absl::StatusOr<ScanPage> Scan(const MemoryHandle& memory, const ScanCommand& command) const = 0;
  virtual absl::StatusOr<uint64_t> Count(const MemoryHandle& memory, VisitCommand command) const = 0;
  // Reads no entries; has all that was acknowledged by this process. Blocks where the shards are in other processes.
  virtual absl::StatusOr<StoredAmount> CountStored(const MemoryHandle& memory, std::optional<PartitionId> partition,
                                                   const CallLimits& limits) const = 0;

  // --- Leases ---
  // Holds the partitions of `command` once its version is visible, for `lease_ms`; its filter is ignored.
  // RESOURCE_EXHAUSTED beyond kMaxLeases, or when the tails that it would hold do not fit in the ram of all.
  virtual absl::StatusOr<Leases::Granted> AcquireLease(const MemoryHandle& memory, const VisitCommand& command,
                                                       int64_t lease_ms) = 0;
  virtual Leases& leases() const = 0;
  // The index of the one partition that a lease of this deployment covers. FAILED_PRECONDITION when none of its shards
  // has one. Blocks, and so does what it returns, until the deadline of `limits` or their cancellation.
  virtual absl::StatusOr<std::unique_ptr<ExportedIndex>> ExportIndex(const MemoryHandle& memory,
                                                                     const LeaseHandle& lease,
                                                                     const CallLimits& limits) const = 0;

  // --- Working memory ---
  virtual const WorkingMemory& working_memory() const = 0;

  // --- Index and statistics ---
  // Seals tails and brings the index of every partition up to date. CANCELLED when `progress` returns false.
  virtual absl::Status BuildIndex(const MemoryHandle& memory, bool retrain,
                                  std::function<bool(const BuildProgress&)> progress) = 0;
  // Builds the index of every partition anew on what is given, centroids among it. FAILED_PRECONDITION when none is
  // long enough for an index; CANCELLED as above.
  virtual absl::Status BuildIndexOn(const MemoryHandle& memory, const GivenParts& given,
                                    std::function<bool(const BuildProgress&)> progress) = 0;
  // Merges redundant entries of one partition; blocks. Errors as prune.h says. `command.stamp_ms` is set by the
  // deployment.
  virtual absl::StatusOr<PruneOutcome> Prune(const MemoryHandle& memory, PruneCommand command) = 0;
  virtual absl::StatusOr<MemoryStatistics> Statistics(const MemoryHandle& memory) const = 0;
  virtual DeploymentStatistics Statistics() const = 0;
  // Adds to the benefit that was counted for a memory, by this process.
  virtual void CountBenefit(const MemoryHandle& memory, uint64_t tokens, double nats) = 0;

  // Null where the shards are in other processes.
  virtual const Backups* backups() const = 0;
  // Backs up everything, then removes the oldest of this deployment until `keep` are left (0: none); blocks. As
  // Backups::Create(), and where the shards are in other processes as docs/architecture.md ("Backups") says:
  // UNAVAILABLE, too, when a shard is away, or names changed whenever it was tried.
  virtual absl::StatusOr<BackupOutcome> CreateBackup(uint32_t keep, const CallLimits& limits,
                                                     const BackupProgressSink& progress) const = 0;
  // By number. As Backups::List().
  virtual absl::StatusOr<std::vector<KnownBackup>> ListBackups(const CallLimits& limits) const = 0;
  // Tells of each replica of each shard, in their order; blocks. One that does not answer is told as such. Errors of
  // `each`, and what the limits say.
  virtual absl::Status DescribeReplicas(const ReplicaQuestion& question, const ReplicaSink& each) const = 0;
  // Adds a replica once it serves, removes one while another serves, or the one and then the other; blocks. Everybody
  // has been told when it returns. What was done already is not done again. NOT_FOUND when none is where one is to be
  // drained; FAILED_PRECONDITION when that is the last that serves, when what is added is another's, or has failed, and
  // where shards have no log; UNAVAILABLE when nothing answers there; RESOURCE_EXHAUSTED beyond kMaxReplicas.
  virtual absl::StatusOr<ReplicaChangeOutcome> ChangeReplicas(const ReplicaChange& change, const CallLimits& limits,
                                                              const ReplicaChangeSink& tell) const = 0;

  // Opaque bytes of a version, and back. INVALID_ARGUMENT when malformed; FAILED_PRECONDITION when it is of another
  // deployment or of a memory that was dropped.
  std::string EncodeVersion(const Version& version) const;
  absl::StatusOr<Version> DecodeVersion(const MemoryHandle& memory, std::string_view bytes) const;
  // The same of receipts, as text.
  std::string EncodeReceipt(const Version& receipt) const;
  absl::StatusOr<Version> DecodeReceipt(const MemoryHandle& memory, std::string_view text) const;
  std::string EncodeScanPosition(const ScanPosition& position) const;
  absl::StatusOr<ScanPosition> DecodeScanPosition(const MemoryHandle& memory, std::string_view bytes) const;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_DEPLOYMENT_H_
