// What a front end asks of shards for a backup of all of them, laid flat; see flat_commands.h.
#ifndef MNEME_ENGINE_FLAT_BACKUPS_H_
#define MNEME_ENGINE_FLAT_BACKUPS_H_

#include <cstdint>
#include <optional>

#include "engine/flat_commands.h"
#include "engine/flat_progress.h"
#include "engine/shard_backups.h"
#include "storage/backup.h"
#include "storage/backup_manifest.h"

namespace mneme {

// What is to be done for a backup: the store taken, or the names; names held (engine/names_hold.h), and let go of, also
// by a replica of which nothing is taken.
enum class BackupStep : uint8_t { kStore, kNames, kHoldNames, kLetNamesGo };

struct TakeBackupCommand {
  uint64_t id = 0;
  Sequence at_least = 0;  // of the store
  BackupStep step = BackupStep::kStore;
};
// What was taken.
struct TakenBackup {
  Sequence applied = 0;                // of the store
  std::optional<NamesMark> names = {};  // of the names
};

template <typename Codec, OneOf<TakeBackupCommand> T>
void Describe(Codec& codec, T& take) {
  codec(take.id, take.at_least);
  codec.Enum(take.step, BackupStep::kStore, BackupStep::kLetNamesGo);
}

template <typename Codec, OneOf<NamesMark> T>
void Describe(Codec& codec, T& mark) {
  codec(mark.process, mark.revision);
}

template <typename Codec, OneOf<TakenBackup> T>
void Describe(Codec& codec, T& taken) {
  codec(taken.applied, taken.names);
}

template <typename Codec, OneOf<BackupOrder> T>
void Describe(Codec& codec, T& order) {
  codec(order.id, order.number, order.set, order.created_ms);
}

template <typename Codec, OneOf<BackedUpStore> T>
void Describe(Codec& codec, T& store) {
  codec(store.id, store.applied, store.entries, store.bytes, store.meta_checksum);
}

template <typename Codec, OneOf<BackupPart> T>
void Describe(Codec& codec, T& part) {
  codec(part.shard, part.set, part.logged);
}

template <typename Codec, OneOf<BackupManifest> T>
void Describe(Codec& codec, T& manifest) {
  codec(manifest.number, manifest.created_ms, manifest.deployment, manifest.shards, manifest.stores, manifest.part);
}

template <typename Codec, OneOf<WrittenBackup> T>
void Describe(Codec& codec, T& written) {
  codec(written.manifest, written.new_bytes);
}

template <typename Codec, OneOf<ShardBackupState> T>
void Describe(Codec& codec, T& state) {
  codec(state.has_directory, state.names, state.greatest, state.parts, state.damaged);
}

}  // namespace mneme

#endif  // MNEME_ENGINE_FLAT_BACKUPS_H_
