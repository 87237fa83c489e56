// BackupManifest: what one backup of a deployment consists of.
#ifndef MNEME_STORAGE_BACKUP_MANIFEST_H_
#define MNEME_STORAGE_BACKUP_MANIFEST_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "common/types.h"

namespace mneme {

// One database of a backup.
struct BackedUpStore {
  uint32_t id = 0;             // by which RocksDB knows it in its folder
  Sequence applied = 0;        // it has everything up to here, and nothing after it
  uint64_t entries = 0;        // that are alive; of the catalogue: memories
  uint64_t bytes = 0;          // of its files, those that other backups share included
  uint64_t meta_checksum = 0;  // of RocksDB's list of its files, which has their checksums

  friend bool operator==(const BackedUpStore&, const BackedUpStore&) = default;
};

// Of a deployment of several processes: what the process of one shard wrote. The parts of one backup have one set.
struct BackupPart {
  uint32_t shard = 0;
  uint64_t set = 0;     // random, never 0: tells it from another backup that was given the same number
  bool logged = false;  // the shard has a replicated log, and `applied` is where that goes on

  friend bool operator==(const BackupPart&, const BackupPart&) = default;
};

struct BackupManifest {
  uint64_t number = 0;
  int64_t created_ms = 0;
  uint64_t deployment = 0;
  uint32_t shards = 0;  // of the deployment
  // The catalogue, then every shard. Of a part: the catalogue, which has the id 0 where it is of another shard than 0
  // and has none, then its shard.
  std::vector<BackedUpStore> stores;
  std::optional<BackupPart> part = {};  // nullopt: all shards were in one process, or all parts are taken together

  uint64_t entries() const {
    uint64_t sum = 0;
    for (size_t i = 1; i < stores.size(); ++i) sum += stores[i].entries;
    return sum;
  }
  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const BackedUpStore& store : stores) sum += store.bytes;
    return sum;
  }
  friend bool operator==(const BackupManifest&, const BackupManifest&) = default;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_BACKUP_MANIFEST_H_
