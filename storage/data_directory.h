// DataDirectory: the directory that a process owns, with its layout, lock and format version.
//
//   FORMAT           text: format version, deployment number, shard count, checksum
//   LOCK             held by the running process
//   RESTORED         of a replica of shard 0: its names are those of a backup, and have not caught up with their log
//   catalogue/       RocksDB of the catalogue
//   shard-000/db/    RocksDB of shard 0
//   shard-000/index/ index files of shard 0 (may be deleted: I2)
//   shard-000/incoming/, shard-000/arrived/  a copy of another replica's store (checkpoint_target.h)
//   checkpoint/      while a backup is made, or a replica copied or compared: links to the files of stores
#ifndef MNEME_STORAGE_DATA_DIRECTORY_H_
#define MNEME_STORAGE_DATA_DIRECTORY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mneme {

// A directory that has one shard of the deployment alone.
struct HostedDirectory {
  uint32_t shard = 0;
  uint64_t deployment = 0;  // 0: a new one gets a number of its own
  bool had_data = false;    // the shard may have been given entries: it is not made anew
  bool logged = false;      // its writes come from a replicated log (engine/shard_log.h), whose positions it has
};

// Owns the lock for its life. Thread-safe (immutable).
class DataDirectory {
 public:
  // Opens or creates `path` (mode 0700). `shards` 0: as it is stored, or 1 when new. FAILED_PRECONDITION when another
  // process holds it, when it has another shard count, other shards, another deployment, writes of another kind of log,
  // or a newer format; or a shard without the catalogue that it is to own, as replicas have (a hosted shard that gives
  // the deployment its number owns it); DATA_LOSS when FORMAT is damaged, or there is none where there was data;
  // INVALID_ARGUMENT when `shards` exceeds kMaxShards.
  static absl::StatusOr<std::unique_ptr<DataDirectory>> Open(std::string path, uint32_t shards,
                                                             std::optional<HostedDirectory> hosted = std::nullopt);
  ~DataDirectory();

  // The number of the deployment that `path` is of, without opening it; nullopt when there is nothing. DATA_LOSS as
  // above.
  static absl::StatusOr<std::optional<uint64_t>> StoredDeployment(const std::string& path);

  // Makes the directory of a new deployment, or what `hosted` says, of what `fill` puts into its stores: FORMAT is
  // written after that, so that one that was cut is no data directory. FAILED_PRECONDITION as CheckUnused(), or when
  // another process holds it; errors of `fill`; after any of them nothing that was made stays.
  static absl::Status Make(std::string path, uint32_t shards,
                           const std::function<absl::Status(const DataDirectory&)>& fill,
                           const std::optional<HostedDirectory>& hosted = std::nullopt);
  // FAILED_PRECONDITION unless `path` is absent or empty.
  static absl::Status CheckUnused(const std::string& path);

  const std::string& path() const { return path_; }
  uint32_t shards() const { return shards_; }
  // Random, given at creation: tells the versions and files of this deployment from those of any other.
  uint64_t deployment() const { return deployment_; }

  std::string RestoredPath() const;
  std::string CataloguePath() const;
  std::string CheckpointPath() const;
  std::string StorePath(uint32_t shard) const;
  std::string IndexPath(uint32_t shard) const;

 private:
  DataDirectory(std::string path, uint32_t shards, uint64_t deployment, int lock_fd);
  absl::Status CheckCatalogue(uint32_t shard) const;
  absl::Status MakeShardDirectories(const std::optional<HostedDirectory>& hosted) const;

  std::string path_;
  uint32_t shards_;
  uint64_t deployment_;
  int lock_fd_;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_DATA_DIRECTORY_H_
