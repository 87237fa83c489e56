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

namespace mneme {

constexpr std::string_view RootOfSession(std::string_view session) { return session.substr(0, session.find('/')); }

// Pure. Not stateful: copy it freely.
class Routing {
 public:
  // `hosted`: the one of the shards that this process has; nullopt: it has or reaches all.
  explicit Routing(uint32_t shards, std::optional<uint32_t> hosted = std::nullopt)
      : shards_(shards), hosted_(hosted) {}

  uint32_t shards() const { return shards_; }
  bool Hosts(uint32_t shard) const { return !hosted_.has_value() || *hosted_ == shard; }

  // The one shard that holds all of `partition`, or nullopt when it is spread over all.
  std::optional<uint32_t> OwnerOfPartition(const MemoryRecord& memory, PartitionId partition) const {
    if (memory.spec.spread == Spread::kOne) return static_cast<uint32_t>(Mix64(memory.number) % shards_);
    if (partition != 0) return static_cast<uint32_t>(Mix64(partition ^ Mix64(memory.number)) % shards_);
    if (shards_ == 1) return 0;
    return std::nullopt;
  }
  // The shard of an entry. A server-given id names its shard.
  uint32_t OwnerOfEntry(const MemoryRecord& memory, PartitionId partition, EntryId id) const {
    if (const auto owner = OwnerOfPartition(memory, partition)) return *owner;
    if (id >= limits::kFirstServerId) return static_cast<uint32_t>((id & 0xFF) % shards_);
    return static_cast<uint32_t>(Mix64(id) % shards_);
  }
  // The shard that takes a batch without ids.
  uint32_t OwnerOfBatch(const MemoryRecord& memory, PartitionId partition, std::string_view request_id) const {
    if (const auto owner = OwnerOfPartition(memory, partition)) return *owner;
    return static_cast<uint32_t>(Checksum64(request_id, memory.number) % shards_);
  }
  // The shard of a session and of all its forks: by its root, the text before its first '/'.
  uint32_t OwnerOfSession(const MemoryRecord& memory, std::string_view session) const {
    if (memory.spec.spread == Spread::kOne) return static_cast<uint32_t>(Mix64(memory.number) % shards_);
    return static_cast<uint32_t>(Checksum64(RootOfSession(session), memory.number) % shards_);
  }
  // The hosted shards that may hold entries of the selection, ascending.
  std::vector<uint32_t> OwnersOf(const MemoryRecord& memory, const PartitionSelection& selection) const;

 private:
  uint32_t shards_;
  std::optional<uint32_t> hosted_;
};

// Server-given ids carry their row and shard: unique, and no map is needed.
constexpr EntryId ServerId(Row row, uint32_t shard) { return limits::kFirstServerId | row << 8 | shard; }
constexpr bool IsServerId(EntryId id) { return id >= limits::kFirstServerId; }
constexpr Row RowOfServerId(EntryId id) { return (id & ~limits::kFirstServerId) >> 8; }
constexpr uint32_t ShardOfServerId(EntryId id) { return static_cast<uint32_t>(id & 0xFF); }

// The id whose entry is the successor when its source is the same: the next client id, or the next row on the shard.
constexpr EntryId SuccessorOf(EntryId id) { return IsServerId(id) ? id + 256 : id + 1; }

}  // namespace mneme

#endif  // MNEME_ENGINE_ROUTING_H_
