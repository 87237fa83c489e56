// Format: every byte that storage/ writes, in one place. docs/formats.md is its twin, with grammar and worked examples.
//
// Keys of RocksDB are big endian, so that key order is number order and rows of a partition lie in insertion order.
// Everything else is little endian. Every decoder checks bounds, refuses unknown versions, unknown flags, overlong
// numbers and trailing bytes, and so accepts exactly the bytes that its encoder writes. Pure functions; thread-safe.
#ifndef MNEME_STORAGE_FORMAT_H_
#define MNEME_STORAGE_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checksum.h"
#include "common/types.h"
#include "storage/backup_manifest.h"
#include "storage/catalogue_store.h"
#include "storage/entry_store.h"

namespace mneme::format {

// Stored on disk: raise it when bytes change so that an older program would misread them.
// 1: no family id_runs. 2: the shard's families include it. A store of format 1 becomes one of format 2 when it is
// opened. 3: of a restore onto another number of shards, and so for good: server-given ids may be in the id map, and
// requests be remembered in parts.
inline constexpr uint32_t kStoreFormat = 2;
inline constexpr uint32_t kReshardedStoreFormat = 3;
inline constexpr uint32_t kDirectoryFormat = 1;
inline constexpr uint32_t kHostedDirectoryFormat = 2;  // of one shard alone
inline constexpr uint32_t kLoggedDirectoryFormat = 3;  // of one shard alone, whose writes come from a replicated log

// Column families of a shard's RocksDB. Stored on disk: do not rename. `meta` is RocksDB's own "default".
inline constexpr char kMetaFamily[] = "default";
inline constexpr char kRowsFamily[] = "rows";
inline constexpr char kIdsFamily[] = "ids";
inline constexpr char kIdRunsFamily[] = "id_runs";
inline constexpr char kDeadFamily[] = "dead";
inline constexpr char kHeadsFamily[] = "heads";
inline constexpr char kSegmentsFamily[] = "segments";
inline constexpr char kRequestsFamily[] = "requests";
inline constexpr char kStatesFamily[] = "states";
// The column family of the catalogue's RocksDB, beside meta.
inline constexpr char kMemoriesFamily[] = "memories";
// Of one whose changes come from a log, too.
inline constexpr char kChangesFamily[] = "changes";

// Keys of the meta column family.
inline constexpr char kFormatKey[] = "format";
inline constexpr char kStateKey[] = "state";

// --- Keys ---------------------------------------------------------------------------------------------------------

inline constexpr size_t kMemoryPrefixBytes = 4;
inline constexpr size_t kPartitionPrefixBytes = 12;
inline constexpr size_t kRowKeyBytes = 20;

// memory u32
std::string MemoryPrefix(MemoryNumber memory);
// memory u32 | partition u64: the key of a head, and the prefix of everything in a partition
std::string PartitionPrefix(const PartitionKey& key);
// memory u32 | partition u64 | number u64: rows and dead marks (by row), ids (by id),
// id runs (by their last id), segments (by file number)
std::string NumberedKey(const PartitionKey& key, uint64_t number);
// Makes the key of another number of a numbered key.
void SetNumber(uint64_t number, std::string& key);
// The smallest key after every key that starts with `prefix`.
std::string PrefixEnd(std::string prefix);

struct ParsedKey {
  PartitionKey partition;
  uint64_t number = 0;
};
absl::StatusOr<PartitionKey> ParsePartitionKey(std::string_view bytes);
absl::StatusOr<ParsedKey> ParseNumberedKey(std::string_view bytes);

// 'h' | hash: a request by its id. 's' | sequence u64 | hash: the same by age.
inline constexpr char kRequestPrefix[] = "h";
inline constexpr char kRequestByAgePrefix[] = "s";
std::string RequestKey(const Hash128& id);
absl::StatusOr<Hash128> ParseRequestKey(std::string_view bytes);
std::string RequestByAgeKey(Sequence sequence, const Hash128& id);
struct ParsedRequestAge {
  Sequence sequence = 0;
  Hash128 id;
};
absl::StatusOr<ParsedRequestAge> ParseRequestByAgeKey(std::string_view bytes);

// 'd' | sequence u64: the receipt of a deletion. 'e' | sequence u64: a run of erasure. Both beside the requests.
inline constexpr char kReceiptPrefix[] = "d";
inline constexpr char kErasurePrefix[] = "e";
// 'c' | sequence u64, in the catalogue: what became of a change.
inline constexpr char kChangePrefix[] = "c";
std::string SequenceKey(const char* prefix, Sequence sequence);
absl::StatusOr<Sequence> ParseSequenceKey(const char* prefix, std::string_view bytes);

// Working memory; marks keep its kinds of records apart.
// memory u32 | 's' | session
std::string SessionKeyOf(const SessionKey& key);
absl::StatusOr<SessionKey> ParseSessionKey(std::string_view bytes);
// memory u32 | 'v' | number u64, and after it the name: a state
// memory u32 | 'c' | number u64, and after it a u32 above 0 and the name: a piece of a state
std::string StateSpacePrefix(const StateSpace& space);
std::string PieceSpacePrefix(const StateSpace& space);
std::string StateKeyOf(const StateKey& key);
// Of no piece.
absl::StatusOr<StateKey> ParseStateKey(std::string_view bytes);
// Of a piece.
absl::StatusOr<StateKey> ParsePieceKey(std::string_view bytes);
// memory u32 | 'r' | number u64: how many sessions have a space among their bases
std::string ReferenceKeyOf(const StateSpace& space);
// memory 0, which none has | 'e' | expiry_ms u64 | memory u32 | space u64 | bytes of session u8 | session | name
std::string ExpiryPrefix();
std::string ExpiryKeyFrom(int64_t expiry_ms);
std::string ExpiryKeyOf(const StateExpiry& expiry);
absl::StatusOr<StateExpiry> ParseExpiryKey(std::string_view bytes);
// The memory of any of them.
absl::StatusOr<MemoryNumber> ParseMemoryPrefix(std::string_view bytes);

// --- Records ------------------------------------------------------------------------------------------------------

// A row. There is no checksum of its own: RocksDB checks every block of a table (XXH3) and every record of its log
// (CRC32C), and all reads ask for that; a second sum would guard only the bytes between a verified block and this call.
void AppendRow(const EntryView& entry, std::string& out);
// What of it comes before the bytes of key and value, which end the record: whoever writes the three in turn copies a
// key once.
void AppendRowStart(const EntryView& entry, std::string& out);
// The views of the result borrow from `record`.
absl::StatusOr<EntryView> DecodeRow(std::string_view record);

// A u64: the row that an id maps to.
std::string EncodeNumber(uint64_t number);
absl::StatusOr<uint64_t> DecodeNumber(std::string_view record);

// `count` ids that ascend one by one, up to the number of the record's key, have the rows from first_row on.
struct IdRun {
  uint64_t count = 0;
  Row first_row = 0;
};
std::string EncodeIdRun(const IdRun& run);
absl::StatusOr<IdRun> DecodeIdRun(const ParsedKey& key, std::string_view record);

std::string EncodeHead(const PartitionHead& head);
absl::StatusOr<PartitionHead> DecodeHead(const PartitionKey& key, std::string_view record);

std::string EncodeSegment(const SegmentRecord& segment);
absl::StatusOr<SegmentRecord> DecodeSegment(const ParsedKey& key, std::string_view record);

// One that is remembered in parts has a version of its own.
std::string EncodeRequest(const RememberedRequest& request);
absl::StatusOr<RememberedRequest> DecodeRequest(const Hash128& id, std::string_view record);
// What is kept beside a request's key by age: its stamp and content, so that pruning reads nothing else.
std::string EncodeRequestAge(const RememberedRequest& request);
absl::StatusOr<RememberedRequest> DecodeRequestAge(const ParsedRequestAge& key, std::string_view record);

std::string EncodeReceipt(const DeletionReceipt& receipt);
absl::StatusOr<DeletionReceipt> DecodeReceipt(Sequence sequence, std::string_view record);
std::string EncodeErasure(const ErasureRun& run);
absl::StatusOr<ErasureRun> DecodeErasure(Sequence through, std::string_view record);

std::string EncodeMemory(const MemoryRecord& memory);
absl::StatusOr<MemoryRecord> DecodeMemory(MemoryNumber number, std::string_view record);
absl::StatusOr<MemoryNumber> ParseMemoryKey(std::string_view bytes);

// Aliases lie among the memories, with numbers and keys of the same kind: a program that knows none says that the
// record is newer than it is.
bool IsAlias(std::string_view record);
std::string EncodeAlias(const AliasRecord& alias);
absl::StatusOr<AliasRecord> DecodeAlias(MemoryNumber number, std::string_view record);

// 'r' | shard u32, beside them: its replicas.
std::string ReplicasKey(uint32_t shard);
bool IsReplicasKey(std::string_view bytes);
absl::StatusOr<uint32_t> ParseReplicasKey(std::string_view bytes);
std::string EncodeReplicas(const ReplicaList& replicas);
absl::StatusOr<ReplicaList> DecodeReplicas(std::string_view record);

std::string EncodeChange(const RememberedChange& change);
absl::StatusOr<RememberedChange> DecodeChange(Sequence sequence, std::string_view record);

// Where a store stands; written with every batch (I7).
struct StoreState {
  Sequence applied = 0;  // of the last batch
  uint64_t writes = 0;   // batches ever written: consecutive in the log, so that a hole in it is seen
  uint64_t counter = 0;  // entries: remembered requests; catalogue: the next memory's number

  friend bool operator==(const StoreState&, const StoreState&) = default;
};
std::string EncodeState(const StoreState& state);
absl::StatusOr<StoreState> DecodeState(std::string_view record);

// Working memory. The payload of a state ends its record: whoever writes the start and the payload in turn copies a
// large one once.
std::string EncodeSession(const SessionRecord& session);
absl::StatusOr<SessionRecord> DecodeSession(std::string_view record);
std::string EncodeStateStart(const StateRecord& state);
std::string EncodeSessionState(const StateRecord& state);
absl::StatusOr<StateRecord> DecodeSessionState(std::string_view record);

std::string EncodeStoreFormat(uint32_t version);
absl::StatusOr<uint32_t> DecodeStoreFormat(std::string_view record);

// --- Files --------------------------------------------------------------------------------------------------------

// One slot of the watermark file: magic | sequence | checksum. Two slots, a page apart so that one torn or misdirected
// write cannot take both.
inline constexpr char kWatermarkFile[] = "WATERMARK";
inline constexpr size_t kWatermarkSlotBytes = 24;
inline constexpr size_t kWatermarkSlotStride = 4096;
inline constexpr size_t kWatermarkFileBytes = 2 * kWatermarkSlotStride;
std::string EncodeWatermarkSlot(Sequence sequence);
// nullopt when the slot is damaged.
std::optional<Sequence> DecodeWatermarkSlot(std::string_view slot);

// The FORMAT file of a data directory.
struct DirectoryFormat {
  uint32_t version = kDirectoryFormat;
  uint64_t deployment = 0;
  uint32_t shards = 0;
  std::optional<uint32_t> hosts = {};  // the one shard that the directory has; nullopt (of version 1): all

  bool logged() const { return version == kLoggedDirectoryFormat; }

  friend bool operator==(const DirectoryFormat&, const DirectoryFormat&) = default;
};
std::string EncodeDirectoryFormat(const DirectoryFormat& format);
// DATA_LOSS when damaged; FAILED_PRECONDITION when whole but of a newer version.
absl::StatusOr<DirectoryFormat> DecodeDirectoryFormat(std::string_view text);

// The manifest of a backup.
inline constexpr uint32_t kBackupFormat = 1;
inline constexpr uint32_t kBackupPartFormat = 2;  // of one shard of several processes
std::string EncodeBackupManifest(const BackupManifest& manifest);
// DATA_LOSS when damaged; FAILED_PRECONDITION when whole but of a newer version.
absl::StatusOr<BackupManifest> DecodeBackupManifest(std::string_view text);
// Of the file that RocksDB keeps about one of its backups.
uint64_t BackupMetaChecksum(std::string_view bytes);

}  // namespace mneme::format

#endif  // MNEME_STORAGE_FORMAT_H_
