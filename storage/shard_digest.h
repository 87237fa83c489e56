// ShardDigest: one number for what a shard's store says, so that replicas can be compared.
//
// Two replicas that have applied the same records of their log have the same digest, however each grouped, flushed,
// compacted and sealed. It is XXH3-128 over, for each memory that is there, by its number:
//
//   - its description, as the catalogue has it;
//   - the heads of its partitions: how many rows were given, and how many of them are alive. A deletion shows in both,
//     and in that the row is gone;
//   - its rows, in their order: number, id, key, value and attributes. Overwritten and deleted ones are not there;
//   - its sessions, their states and the pieces of those, and how often a space is the base of another.
//
// What is left out is each replica's own, and two that are well may differ in it:
//
//   - `segments` and `dead`: the index, which each builds when it likes, and the marks that its segments still need;
//   - `ids` and `id_runs`, `id_bound` of a head: the same map is stored in one way or another, by what was written
//     together. What it says is in the rows, each of which has its id;
//   - `least_expiry_ms` of a head, and the keys 'e' of `states`: when to look for what expires. Expiries themselves are
//     in rows, sessions and states;
//   - `requests`: a write to a memory that was being dropped is remembered by a replica that applied it before it was
//     told of the drop, and refused by one that applied it after;
//   - data of dropped memories, which goes when nobody reads it any more;
//   - `state`: how many batches were written.
#ifndef MNEME_STORAGE_SHARD_DIGEST_H_
#define MNEME_STORAGE_SHARD_DIGEST_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checksum.h"
#include "common/types.h"
#include "storage/catalogue_store.h"

namespace mneme {

struct ShardDigest {
  Sequence applied = 0;  // where the store stands
  uint64_t entries = 0;  // rows that are in it
  Hash128 hash;
  friend bool operator==(const ShardDigest&, const ShardDigest&) = default;
};

// Of the store whose checkpoint lies at `path`, with `memories` as those that are there. Reads all of them in order;
// `reading` is told how many bytes that were now and then, and its error ends it. DATA_LOSS when a record is damaged,
// or a partition has not as many rows as its head says.
absl::StatusOr<ShardDigest> DigestStore(const std::string& path, std::vector<MemoryRecord> memories,
                                        const std::function<absl::Status(uint64_t bytes)>& reading);

}  // namespace mneme

#endif  // MNEME_STORAGE_SHARD_DIGEST_H_
