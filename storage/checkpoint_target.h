// CheckpointTarget: a copy of another replica's store, while it comes, and how it becomes the store.
//
//   shard-000/incoming/   the copy while it comes: files with the names of the manifest, some of them short
//   shard-000/arrived/    a copy that is whole and durable, with its watermark
//   shard-000/db/         the store, whose place a copy takes that has arrived
//
// What is not whole is never opened: Finish() compares every checksum, after every file was synced, before `incoming`
// is renamed to `arrived`, and only that is renamed to the store.
#ifndef MNEME_STORAGE_CHECKPOINT_TARGET_H_
#define MNEME_STORAGE_CHECKPOINT_TARGET_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/checkpoint_manifest.h"

namespace mneme {

// Not thread-safe. Whoever calls any of this holds the lock of the data directory, and has the store closed.
class CheckpointTarget {
 public:
  // Goes on with what an earlier one left, whichever manifest that had: what is longer than this manifest says, or not
  // in it, is removed. DATA_LOSS when names of the manifest are none of files in a folder. `go_on` is asked now and
  // then while files are read, and its error ends that; null: to the end.
  static absl::StatusOr<std::unique_ptr<CheckpointTarget>> Begin(const std::string& store_path,
                                                                 CheckpointManifest manifest,
                                                                 std::function<absl::Status()> go_on = nullptr);
  ~CheckpointTarget();

  // What is to come next: the rest of a file of the manifest.
  struct Piece {
    uint64_t file = 0;
    uint64_t offset = 0;
    friend bool operator==(const Piece&, const Piece&) = default;
  };
  // nullopt: nothing. Files that are as long as they should be are synced and read: one whose checksum is another is
  // to come again from its beginning. DATA_LOSS when it was so several times, or when a block of a table is damaged
  // though the file is as its source has it: it is damaged there.
  absl::StatusOr<std::optional<Piece>> Next();
  // Appends bytes of a file; `piece.offset` is where it ends now. DATA_LOSS when they are not those of the chunk's
  // checksum, or of another place, or more than the file has.
  absl::Status Write(const Piece& piece, const CheckpointChunk& chunk);
  // When nothing is to come: opens what came to look whether it is what the manifest says, and makes it a copy that has
  // arrived. DATA_LOSS otherwise: the source is damaged.
  absl::Status Finish();

  // Puts a copy that has arrived in the place of the store, whose index files go with it; does nothing when there is
  // none. A process that was cut while it did goes on with it when it starts again.
  static absl::Status Install(const std::string& store_path, const std::string& index_path);
  // Removes what came of a copy that nobody needs any more.
  static absl::Status Discard(const std::string& store_path);

 private:
  CheckpointTarget(std::string folder, CheckpointManifest manifest, std::function<absl::Status()> go_on);

  std::string PathOf(uint64_t file) const;
  absl::Status RemoveStrangers() const;
  // Bytes that are there of a file.
  absl::StatusOr<uint64_t> SizeOf(uint64_t file) const;
  absl::Status OpenToWrite(uint64_t file);
  absl::Status CloseWritten();
  // Whether a file of its full length is what it should be; removes it otherwise. Tables with every block.
  absl::StatusOr<bool> Verify(uint64_t file);

  const std::string folder_;
  const CheckpointManifest manifest_;
  const std::function<absl::Status()> go_on_;  // never null
  std::vector<bool> verified_;  // by file
  std::vector<int> refused_;    // how often each was another than it should be
  std::optional<uint64_t> writing_;  // file that is open to be written, and
  int fd_ = -1;
};

// Where the store at `path` stands; nullopt when there is none. No more is read than shows that it stands at `enough`
// or behind it: then it may stand further than is said. DATA_LOSS when it is damaged.
absl::StatusOr<std::optional<Sequence>> SequenceOfStore(const std::string& path, Sequence enough);

}  // namespace mneme

#endif  // MNEME_STORAGE_CHECKPOINT_TARGET_H_
