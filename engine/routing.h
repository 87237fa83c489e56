// Routing: which shard owns what. Stored data depends on it: the functions are part of the format (docs/formats.md).
#ifndef MNEME_ENGINE_ROUTING_H_
#define MNEME_ENGINE_ROUTING_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "common/checksum.h"
#include "common/limits.h"
#include "common/types.h"
#include "engine/commands.h"
#include "storage/placement.h"

namespace mneme {

constexpr std::string_view RootOfSession(std::string_view session) { return session.substr(0, session.find('/')); }

// Pure. Not stateful: copy it freely.
class Routing {
 public:
  // `hosted`: the one of the shards that this process has; nullopt: it has or reaches all.
  explicit Routing(uint32_t shards, std::optional<uint32_t> hosted = std::nullopt)
      : shards_(shards), hosted_(hosted) {}
  // Shards that were restored from another number of them, and so have server-given ids that were given elsewhere.
  Routing WithMovedIds() const {
    Routing moved = *this;
    moved.moved_ids_ = true;
    return moved;
  }

  uint32_t shards() const { return shards_; }
  bool Hosts(uint32_t shard) const { return !hosted_.has_value() || *hosted_ == shard; }

  // The one shard that holds all of `partition`, or nullopt when it is spread over all.
  std::optional<uint32_t> OwnerOfPartition(const MemoryRecord& memory, PartitionId partition) const {
    if (memory.spec.spread == Spread::kOne) return static_cast<uint32_t>(Mix64(memory.number) % shards_);
    if (partition != 0) return static_cast<uint32_t>(Mix64(partition ^ Mix64(memory.number)) % shards_);
    if (shards_ == 1) return 0;
    return std::nullopt;
  }
  // The shard of an entry. A server-given id names the one that gave it.
  uint32_t OwnerOfEntry(const MemoryRecord& memory, PartitionId partition, EntryId id) const {
    if (const auto owner = OwnerOfPartition(memory, partition)) return *owner;
    if (id >= limits::kFirstServerId) return static_cast<uint32_t>((id & 0xFF) % shards_);
    return OwnerOfMapped(id);
  }
  // The shard of an entry of a spread partition that has its id in its map.
  uint32_t OwnerOfMapped(EntryId id) const { return static_cast<uint32_t>(Mix64(id) % shards_); }
  // The other shard that may have an entry: a restore takes one with a server-given id to where its hash says. nullopt
  // when there is none.
  std::optional<uint32_t> OtherOwnerOfEntry(const MemoryRecord& memory, PartitionId partition, EntryId id) const {
    if (!moved_ids_ || id < limits::kFirstServerId || OwnerOfPartition(memory, partition)) return std::nullopt;
    const uint32_t owner = OwnerOfMapped(id);
    return owner == OwnerOfEntry(memory, partition, id) ? std::nullopt : std::optional(owner);
  }
  // The shard that takes a batch without ids.
  uint32_t OwnerOfBatch(const MemoryRecord& memory, PartitionId partition, std::string_view request_id) const {
    if (const auto owner = OwnerOfPartition(memory, partition)) return *owner;
    return static_cast<uint32_t>(Checksum64(request_id, memory.number) % shards_);
  }
  // The shard of a session and of all its forks: by its root, the text before its first '/'.
  uint32_t OwnerOfSession(const MemoryRecord& memory, std::string_view session) const {
    return static_cast<uint32_t>(HashOfSession(memory, session) % shards_);
  }
  // What decides, whatever the number of shards.
  static uint64_t HashOfSession(const MemoryRecord& memory, std::string_view session) {
    if (memory.spec.spread == Spread::kOne) return Mix64(memory.number);
    return Checksum64(RootOfSession(session), memory.number);
  }
  // The hosted shards that may hold entries of the selection, ascending.
  std::vector<uint32_t> OwnersOf(const MemoryRecord& memory, const PartitionSelection& selection) const;

 private:
  uint32_t shards_;
  std::optional<uint32_t> hosted_;
  bool moved_ids_ = false;
};

// Of a deployment of so many shards that a backup is restored onto.
Placement PlacementOn(uint32_t shards);

// Server-given ids carry the row and shard that they were given to: unique, and no map is needed, unless a restore onto
// another number of shards moved their entries.
constexpr EntryId ServerId(Row row, uint32_t shard) { return limits::kFirstServerId | row << 8 | shard; }
constexpr bool IsServerId(EntryId id) { return id >= limits::kFirstServerId; }
constexpr Row RowOfServerId(EntryId id) { return (id & ~limits::kFirstServerId) >> 8; }
constexpr uint32_t ShardOfServerId(EntryId id) { return static_cast<uint32_t>(id & 0xFF); }
// Whether the entry at `row` of `shard` has its id in the map.
constexpr bool IsMapped(EntryId id, Row row, uint32_t shard) { return !IsServerId(id) || id != ServerId(row, shard); }

// The id whose entry is the successor when its source is the same: the next client id, or the next row on the shard.
constexpr EntryId SuccessorOf(EntryId id) { return IsServerId(id) ? id + 256 : id + 1; }

}  // namespace mneme

#endif  // MNEME_ENGINE_ROUTING_H_
