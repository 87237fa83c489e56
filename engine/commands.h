// What can be asked of a deployment, and what it answers. Plain data, validated by who builds it: shapes, finite
// components, token and id ranges are checked at the edge, where a field has a name.
#ifndef MNEME_ENGINE_COMMANDS_H_
#define MNEME_ENGINE_COMMANDS_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/aligned_buffer.h"
#include "common/columns.h"
#include "common/types.h"
#include "index/row_filter.h"
#include "storage/catalogue_store.h"

namespace mneme {

// An event worth a log line, with what it is about. Called from any thread.
using EventSink = std::function<void(std::string_view event, std::string_view detail)>;

// A memory that was found by name, and stays valid for as long as it is held. Once it is dropped, writes answer
// NOT_FOUND, while reads see what was there: its data goes when nobody holds it any more. So hold it for one call.
using MemoryHandle = std::shared_ptr<const MemoryRecord>;

// A name that points to a memory.
struct Alias {
  std::string name;
  MemoryHandle memory;
};

struct AliasChange {
  std::string name;
  std::string memory;
  // When given, the own name of the memory that the alias must point to before; empty: there must be no such alias.
  std::optional<std::string> expected;
};

// Which parts of a memory a read covers. None named and not all: partition 0.
struct PartitionSelection {
  std::vector<PartitionId> partitions;
  bool all = false;
};

// A position in the history of every shard that a write touched or a read saw (I1).
struct Version {
  MemoryNumber memory = 0;
  struct Part {
    uint32_t shard = 0;
    Sequence sequence = 0;
  };
  std::vector<Part> parts;  // ascending by shard
};

// When to give up. Checked while waiting, between blocks of rows and between shards.
struct CallLimits {
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  std::shared_ptr<const std::atomic<bool>> cancelled;  // may be null

  // DEADLINE_EXCEEDED or CANCELLED when it is time to stop.
  absl::Status Check() const;
  // The same, but for `time` from now on at most.
  CallLimits Within(std::chrono::steady_clock::duration time) const;
};

struct InsertCommand {
  PartitionId partition = 0;
  EntryColumns entries;    // keys in the stored dtype; ids empty: the server gives them
  std::string request_id;  // empty: no exactly-once
  Durability durability = Durability::kSync;
  bool bulk = false;       // one of many of a load: see InsertOperation
};

struct InsertOutcome {
  uint64_t inserted = 0;
  uint64_t replaced = 0;
  std::vector<EntryId> given_ids;
  Version version;
  bool replayed = false;
};

struct DeleteCommand {
  PartitionSelection partitions;
  // Exactly one of the three.
  std::optional<std::vector<EntryId>> ids;
  std::optional<RowFilter> filter;
  bool everything = false;

  bool dry_run = false;
  std::string request_id;
  Durability durability = Durability::kSync;
  CallLimits limits;  // of a dry run
};

struct DeleteOutcome {
  uint64_t deleted = 0;
  uint64_t absent = 0;
  int64_t deleted_at_ms = 0;
  Version version;
  bool replayed = false;
};

// A held version (leases.h); null: what is there now.
struct Lease;
using LeaseHandle = std::shared_ptr<const Lease>;

struct QueryCommand {
  PartitionSelection partitions;
  AlignedBuffer queries;  // [count x dimension] f32
  size_t count = 0;
  uint32_t k = 0;         // 0 only with extra candidates; kEveryEntry: all, bounded by kMaxAttendedBytes
  bool exact = false;
  double recall_target = 0.95;
  uint32_t probes = 0;    // 0: by recall_target
  bool approximate_distances = false;  // not with exact
  RowFilter filter;       // stamp_ms 0: set by the deployment
  std::vector<EntryId> exclude_ids;       // [count] or empty
  std::vector<uint64_t> exclude_sources;  // [count] or empty
  // Extra candidates of query i: [extra_offsets[i], extra_offsets[i + 1]); one partition only.
  std::vector<size_t> extra_offsets;
  std::vector<EntryId> extra_ids;
  std::vector<uint64_t> extra_sources;  // as long as extra_ids, or empty: any source
  bool with_keys = false;
  bool with_successors = false;  // with attributes only
  bool with_attributes = true;   // false: labels, sources and positions of what is found may be left out
  bool with_ids = true;          // false: so may ids and partitions, unless answers are merged; not with successors
  bool single_scores = false;    // scores may be rounded to f32, unless answers are merged
  // What is to be made of the neighbours, in words of whoever asks and of shards in other processes, which the engine
  // does not know. One that has all of them may make that instead of telling them (QueryOutcome::read_out): it is asked
  // for what this returns, which is called at most once, before Query() returns: not where shards are in this process,
  // answers are merged or added to, or the query is refused. Empty: they are wanted themselves. Not with successors.
  std::function<std::string()> read_out;
  uint64_t read_out_bytes = 0;  // what it returns and the longest answer to that
  // Bytes that searches for every entry gather, together with those of others of one request; null: with none.
  std::shared_ptr<std::atomic<double>> attended_bytes;
  Version at_least;  // no parts: whatever is there
  LeaseHandle lease;  // covers `partitions`; not with at_least
  CallLimits limits;
  // Not for every entry: shards of other processes that do not answer in time, or say that they could not (QUEUE_FULL),
  // are left out, be it all of them. The coverage tells.
  bool allow_partial = false;
};

// Which of the shards that were asked have answered all that they were asked.
struct Coverage {
  uint32_t shards_total = 0;
  uint32_t shards_answered = 0;
  std::vector<uint32_t> missing_shards;  // ascending
  absl::Status why_missing;              // of one of them, UNAVAILABLE rather than another; OK without any
};

// What a shard in another process made of the neighbours that it found.
struct FinishedReadOut {
  std::string answer;           // to QueryCommand::read_out
  uint64_t benefit_tokens = 0;  // that it counted for whoever asked, and
  double benefit_nats = 0.0;    // what the memory was worth there
  uint64_t took_us = 0;
};

struct QueryOutcome {
  NeighbourColumns neighbours;  // the k nearest and the extra candidates, in the order of I4; none beside read_out
  std::optional<FinishedReadOut> read_out;
  std::vector<EntryId> successors;      // [neighbours.size()] where asked for
  std::vector<uint8_t> has_successor;   // [neighbours.size()] where asked for
  SearchStatistics statistics;
  Coverage coverage;
  Version version;
  uint64_t queue_us = 0;
  uint64_t search_us = 0;
};

// Entries to be looked at one by one, or counted, of immutable versions.
struct VisitCommand {
  PartitionSelection partitions = {};
  RowFilter filter = {};  // stamp_ms 0: set by the deployment
  Version at_least = {};
  LeaseHandle lease = {};  // covers `partitions`; not with at_least
  CallLimits limits = {};
  bool with_keys = true;  // false: whoever visits looks at no key
};

// Where a scan goes on. Opaque outside the engine (see version.h for its encoding).
struct ScanPosition {
  MemoryNumber memory = 0;
  uint32_t shard = 0;
  PartitionId partition = 0;
  Row row = 0;
};

struct ScanCommand {
  PartitionSelection partitions;
  RowFilter filter;
  bool with_keys = false;
  size_t page_size = 0;
  // A page stops growing here: well below the bound of a message.
  size_t page_bytes = 8 * 1024 * 1024;
  std::optional<ScanPosition> from;
  Version at_least;
  CallLimits limits;
};

struct ScanPage {
  EntryColumns entries;
  std::vector<PartitionId> partitions;  // [entries.count]
  std::optional<ScanPosition> next;     // absent on the last page
};

// What a memory, or one partition of it, holds, as its shards count it.
struct StoredAmount {
  uint64_t entries = 0;  // live; those that have expired count until they are removed
  uint64_t bytes = 0;    // EntryStore::BytesOf
};

struct MemoryStatistics {
  uint64_t entries = 0;
  uint64_t dead_rows = 0;
  uint64_t partitions = 0;
  uint64_t tail_rows = 0;
  uint64_t segments = 0;
  uint64_t codebooks = 0;
  uint64_t index_bytes = 0;
  uint64_t tail_ram_bytes = 0;
  uint64_t evicted = 0;              // entries that made room in a memory with a capacity, and
  uint64_t expired = 0;              // entries that were removed after their expiry: since the server started
  uint64_t unsealed_partitions = 0;  // whose tail is long enough to be sealed
  double drift = 0.0;                // the greatest of all partitions (engine/drift.h); 0: nothing to compare
  uint64_t benefit_tokens = 0;
  double benefit_nats = 0.0;

  void Add(const MemoryStatistics& other);
  // Takes back what was added; the drift, which is no sum, stays.
  void Subtract(const MemoryStatistics& other);
};

struct DeploymentStatistics {
  MemoryStatistics memories;
  uint64_t memory_count = 0;
  uint64_t store_bytes = 0;
  uint64_t queued_searches = 0;
  uint64_t queued_write_bytes = 0;
  // Sessions, and states of others, that were removed after their expiry since the server started.
  uint64_t expired_sessions = 0;
  uint64_t expired_states = 0;
  // Queries that the answer cache could have answered, those that it did, and its ram (engine/answer_cache.h).
  uint64_t answers_asked = 0;
  uint64_t answers_known = 0;
  uint64_t answers_bytes = 0;
  uint64_t leases = 0;
  uint64_t leased_ram_bytes = 0;  // of tails that leases hold
  // Ram of what read-outs of entries keep (engine/label_sum_cache.h, engine/match_entries.h).
  uint64_t label_sum_bytes = 0;
  uint64_t match_cache_bytes = 0;
  bool maintenance_busy = false;
  // Deletions whose bytes may be left in an index or a store, the age of the oldest, and the runs that erased some
  // since the server started: of this process alone (engine/erasure.h).
  uint64_t unerased_deletions = 0;
  int64_t unerased_ms = 0;
  uint64_t erasures = 0;
  absl::Status write_status;  // not OK: writes are refused, and why

  // Adds what another process has; of two reasons why writes are refused the first stays.
  void Add(const DeploymentStatistics& other);
};

struct BuildProgress {
  const char* stage = "reading";  // "reading", "training", "writing", "done"
  uint64_t rows_done = 0;
  uint64_t rows_total = 0;
};

}  // namespace mneme

#endif  // MNEME_ENGINE_COMMANDS_H_
