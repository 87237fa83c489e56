// CommitWatermark: a small file that says up to which sequence writes were acknowledged as durable.
#ifndef MNEME_STORAGE_COMMIT_WATERMARK_H_
#define MNEME_STORAGE_COMMIT_WATERMARK_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/types.h"

namespace mneme {

// Never ahead of what is durable: it advances only after the log was synced. It may lie behind, since its own writes
// are not synced: then a loss between it and the truth goes unseen, but nothing whole is ever refused. Two checksummed
// slots are written in turn, so that a torn write leaves the other. Not thread-safe.
class CommitWatermark {
 public:
  // What a file says; nullopt when it does not exist. DATA_LOSS when no slot of it is whole.
  static absl::StatusOr<std::optional<Sequence>> Read(const std::string& path);
  // Creates or replaces the file and syncs it with its directory; returns it open.
  static absl::StatusOr<std::unique_ptr<CommitWatermark>> Create(const std::string& path, Sequence sequence);
  // Opens a file that Read() accepted. A damaged slot is the first to be written again.
  static absl::StatusOr<std::unique_ptr<CommitWatermark>> Open(const std::string& path);
  ~CommitWatermark();

  Sequence sequence() const { return sequence_; }
  // Raises the mark; a lower or equal sequence changes nothing.
  absl::Status Advance(Sequence sequence);

 private:
  CommitWatermark(std::string path, int fd, Sequence sequence, int next_slot);

  const std::string path_;
  const int fd_;
  Sequence sequence_;
  int next_slot_;
};

}  // namespace mneme

#endif  // MNEME_STORAGE_COMMIT_WATERMARK_H_
