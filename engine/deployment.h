// Deployment: the shards and the catalogue of one process, and the routing between them. What a front end calls.
//
// 1. Writes are split by owner shard (docs/formats.md, "Routing"), logged, applied and acknowledged by the shards.
// 2. Reads go to the shards that hold the partitions asked for; their answers merge in the order of I4.
// Searches run on a fixed pool of threads; callbacks are called on threads of the deployment and must not block long.
#ifndef MNEME_ENGINE_DEPLOYMENT_H_
#define MNEME_ENGINE_DEPLOYMENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/limits.h"
#include "engine/commands.h"
#include "engine/index_thresholds.h"
#include "engine/leases.h"
#include "engine/prune_command.h"
#include "engine/remember.h"
#include "engine/working_memory.h"
#include "index/codebook.h"

namespace mneme {

class LabelSums;
struct MatchCommand;
struct MatchOutcome;

struct DeploymentOptions {
  std::string data_dir = {};
  uint32_t shards = 0;          // 0: as stored, or 1 when new
  uint32_t search_threads = 0;  // 0: one per core
  // Rows of queued queries that one worker searches together; 1: each query alone.
  size_t max_batched_rows = limits::kMaxBatchedRows;
  uint64_t ram_limit_bytes = 0; // of tails and queued writes; 0: half of the machine's
  uint64_t answer_cache_bytes = 0;  // of answers to keys that are asked again; 0: none
  bool accept_truncated_log = false;
  IndexThresholds thresholds = {};
  const Clock* clock = nullptr; // borrowed; null: the machine's
  EventSink events = {};        // may be empty
};

// Thread-safe.
class Deployment {
 public:
  // Opens or creates. FAILED_PRECONDITION and DATA_LOSS as DataDirectory and OpenRocksDbEntryStore say.
  static absl::StatusOr<std::unique_ptr<Deployment>> Open(DeploymentOptions options);
  // Finishes accepted writes, then stops.
  ~Deployment();

  uint32_t shards() const;

  // --- Catalogue ---
  // ALREADY_EXISTS when the name is taken; RESOURCE_EXHAUSTED beyond kMaxMemories.
  absl::StatusOr<MemoryHandle> CreateMemory(const MemorySpec& spec);
  // By its name or by an alias. NOT_FOUND.
  absl::StatusOr<MemoryHandle> FindMemory(std::string_view name) const;
  std::vector<MemoryHandle> ListMemories() const;  // by name
  // NOT_FOUND; FAILED_PRECONDITION while an alias points to it. The name is free when it returns; data goes in the
  // background, once the reads that found the memory have ended.
  absl::Status DropMemory(std::string_view name);
  // As Catalogue says.
  absl::StatusOr<MemoryHandle> SetAlias(const AliasChange& change);
  absl::Status DropAlias(std::string_view name);
  std::vector<Alias> ListAliases() const;  // by name

  // --- Writes ---
  // `visible` (may be null) is called when the next query will see the write; `done` when it is as durable as asked.
  // `done` is called exactly once: RESOURCE_EXHAUSTED when queues, ram or disk are full; FAILED_PRECONDITION when the
  // request id was used with other content; NOT_FOUND when the memory was dropped. Nothing of a failed write is applied
  // on the shard that failed it.
  void Insert(MemoryHandle memory, InsertCommand command, std::function<void()> visible,
              std::function<void(absl::StatusOr<InsertOutcome>)> done);
  void Delete(MemoryHandle memory, DeleteCommand command, std::function<void(absl::StatusOr<DeleteOutcome>)> done);

  // For a memory with a capacity; see remember.h.
  void Remember(const MemoryHandle& memory, RememberCommand command,
                std::function<void(absl::StatusOr<RememberOutcome>)> done);

  // --- Reads ---
  // `done` is called exactly once, on a search thread unless the queue is full (RESOURCE_EXHAUSTED).
  void Query(MemoryHandle memory, QueryCommand command, std::function<void(absl::StatusOr<QueryOutcome>)> done);
  // Entries by id in the order asked for; found[i] tells which are there (entries holds only those).
  absl::StatusOr<EntryColumns> Get(const MemoryHandle& memory, PartitionId partition, const std::vector<EntryId>& ids,
                                   bool with_keys, const Version& at_least, const CallLimits& limits,
                                   std::vector<bool>& found) const;
  // Calls `visit(partition, entry)` for each live entry that is accepted, in no particular order, until it returns an
  // error, which is returned. Every shard is read in one version (I3). Returns what was read.
  absl::StatusOr<Version> Visit(const MemoryHandle& memory, VisitCommand command,
                                const std::function<absl::Status(PartitionId, const EntryView&)>& visit) const;
  // The same entries as sums of keys by label, without reading all of them each time where nothing is filtered (see
  // label_sum_cache.h): equal to a sum over all of them to 1e-12. OUT_OF_RANGE as LabelSums says.
  absl::StatusOr<Version> SumByLabel(const MemoryHandle& memory, VisitCommand command, LabelSums& sums) const;
  // The best counterpart of each entry of two selections; see match_entries.h. OUT_OF_RANGE when the sides have more
  // than kMaxMatchBytes or kMaxMatchProducts.
  absl::StatusOr<MatchOutcome> Match(MatchCommand command) const;
  absl::StatusOr<ScanPage> Scan(const MemoryHandle& memory, const ScanCommand& command) const;
  absl::StatusOr<uint64_t> Count(const MemoryHandle& memory, VisitCommand command) const;

  // --- Leases ---
  // Holds the partitions of `command` once its version is visible; as Leases::Acquire, which see.
  absl::StatusOr<Leases::Granted> AcquireLease(const MemoryHandle& memory, const VisitCommand& command,
                                               int64_t lease_ms);
  Leases& leases() const;

  // --- Working memory ---
  const WorkingMemory& working_memory() const;

  // --- Index and statistics ---
  // Seals tails and brings the index of every partition up to date. CANCELLED when `progress` returns false.
  absl::Status BuildIndex(const MemoryHandle& memory, bool retrain, std::function<bool(const BuildProgress&)> progress);
  // Builds the index of every partition anew on what is given, centroids among it. FAILED_PRECONDITION when none is
  // long enough for an index; CANCELLED as above.
  absl::Status BuildIndexOn(const MemoryHandle& memory, const GivenParts& given,
                            std::function<bool(const BuildProgress&)> progress);
  // Merges redundant entries of one partition; blocks. Errors as prune.h says. `command.stamp_ms` is set by the
  // deployment.
  absl::StatusOr<PruneOutcome> Prune(const MemoryHandle& memory, PruneCommand command);
  absl::StatusOr<MemoryStatistics> Statistics(const MemoryHandle& memory) const;
  DeploymentStatistics Statistics() const;
  // Adds to the benefit that was counted for a memory.
  void CountBenefit(const MemoryHandle& memory, uint64_t tokens, double nats);

  // Opaque bytes of a version, and back. INVALID_ARGUMENT when malformed; FAILED_PRECONDITION when it is of another
  // deployment or of a memory that was dropped.
  std::string EncodeVersion(const Version& version) const;
  absl::StatusOr<Version> DecodeVersion(const MemoryHandle& memory, std::string_view bytes) const;
  std::string EncodeScanPosition(const ScanPosition& position) const;
  absl::StatusOr<ScanPosition> DecodeScanPosition(const MemoryHandle& memory, std::string_view bytes) const;

 private:
  struct State;
  absl::StatusOr<uint64_t> CountMatching(const MemoryHandle& memory, const VisitCommand& command) const;
  absl::StatusOr<DeleteOutcome> DryRun(const MemoryHandle& memory, const DeleteCommand& command) const;
  explicit Deployment(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_DEPLOYMENT_H_
