#include "engine/shard_checkpoints.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/error_reason.h"
#include "common/random_number.h"
#include "common/status_macros.h"
#include "storage/files.h"

namespace mneme {
namespace {

using Steady = std::chrono::steady_clock;

// Who waits for his bytes looks so often whether he still wants them.
constexpr std::chrono::milliseconds kLook{50};

absl::Status GivenUp() { return absl::CancelledError("the reading of a checkpoint was given up"); }

}  // namespace

ShardCheckpoints::ShardCheckpoints(ShardCheckpointsOptions options) : options_(std::move(options)) {}

void ShardCheckpoints::Tell(std::string_view event, const std::string& detail) const {
  if (options_.events != nullptr) options_.events(event, detail);
}

absl::StatusOr<std::string> ShardCheckpoints::NewPath() {
  const std::string root = options_.data->CheckpointPath();
  RETURN_IF_ERROR(MakeDirectory(root));
  MutexLock lock(&mutex_);
  return absl::StrCat(root, "/", ++made_);
}

absl::Status ShardCheckpoints::Pace(uint64_t bytes, const CallLimits& limits) {
  Steady::time_point mine;
  {
    MutexLock lock(&mutex_);
    mine = std::max(free_, Steady::now());
    free_ = mine + std::chrono::nanoseconds(bytes * 1'000'000'000 / options_.bytes_per_second);
  }
  while (true) {
    RETURN_IF_ERROR(limits.Check());
    const auto left = mine - Steady::now();
    if (left <= Steady::duration::zero()) return absl::OkStatus();
    std::this_thread::sleep_for(std::min<Steady::duration>(left, kLook));
  }
}

absl::StatusOr<CheckpointManifest> ShardCheckpoints::Open(const CallLimits& limits, const Progress& progress) {
  {
    MutexLock lock(&mutex_);
    if (current_ != nullptr) {
      ++holders_;
      read_ = Steady::now();
      return current_->manifest();
    }
    if (making_) {
      return WithReason(absl::UnavailableError("a checkpoint of this shard is being made; ask again"),
                        reason::kShardUnavailable);
    }
    making_ = true;
  }
  const absl::Cleanup ended = [this] {
    MutexLock lock(&mutex_);
    making_ = false;
  };
  const absl::StatusOr<std::shared_ptr<const CheckpointSource>> made = Make(limits, progress);
  RETURN_IF_ERROR(made.status());
  {
    MutexLock lock(&mutex_);
    current_ = *made;
    holders_ = 1;
    read_ = Steady::now();
  }
  const CheckpointManifest& manifest = (*made)->manifest();
  Tell("checkpoint_made", absl::StrCat("at sequence ", manifest.applied, ", with ", manifest.entries, " entries and ",
                                       manifest.bytes(), " bytes, for a replica that copies it"));
  return manifest;
}

absl::StatusOr<std::shared_ptr<const CheckpointSource>> ShardCheckpoints::Make(const CallLimits& limits,
                                                                               const Progress& progress) {
  // What is in the log alone would be copied instead of linked.
  RETURN_IF_ERROR(options_.shard->store().Flush());
  ASSIGN_OR_RETURN(const std::string path, NewPath());
  RETURN_IF_ERROR(options_.shard->store().Checkpoint(path));
  uint64_t before = 0;
  const auto reading = [&](uint64_t bytes, uint64_t of_bytes) -> absl::Status {
    RETURN_IF_ERROR(Pace(bytes - std::exchange(before, bytes), limits));
    return progress(bytes, of_bytes) ? absl::OkStatus() : GivenUp();
  };
  // Who was told the id of one that has gone, with its process perhaps, asks for one that is not there.
  ASSIGN_OR_RETURN(auto source, CheckpointSource::Open(path, RandomNumber(), reading));
  return std::shared_ptr<const CheckpointSource>(std::move(source));
}

absl::StatusOr<CheckpointChunk> ShardCheckpoints::Read(uint64_t id, uint64_t file, uint64_t offset,
                                                       const CallLimits& limits) {
  std::shared_ptr<const CheckpointSource> source;
  {
    MutexLock lock(&mutex_);
    if (current_ == nullptr || current_->manifest().id != id) {
      return absl::NotFoundError("the checkpoint has gone; ask for another");
    }
    read_ = Steady::now();
    source = current_;
  }
  RETURN_IF_ERROR(Pace(limits::kCheckpointChunkBytes, limits));
  return source->Read(file, offset);
}

void ShardCheckpoints::Close(uint64_t id, bool useless) {
  std::shared_ptr<const CheckpointSource> closed;
  {
    MutexLock lock(&mutex_);
    if (current_ == nullptr || current_->manifest().id != id) return;
    if (!useless && --holders_ > 0) return;  // others read it
    closed = std::exchange(current_, nullptr);
  }
  Tell("checkpoint_removed", absl::StrCat("at sequence ", closed->manifest().applied, "; it ",
                                          useless ? "stands too far back" : "was copied"));
}

void ShardCheckpoints::LetGo() {
  std::shared_ptr<const CheckpointSource> idle;
  {
    MutexLock lock(&mutex_);
    if (current_ == nullptr || Steady::now() < read_ + options_.idle) return;
    idle = std::exchange(current_, nullptr);
  }
  Tell("checkpoint_removed", absl::StrCat("at sequence ", idle->manifest().applied, "; nobody read it any more"));
}

absl::StatusOr<ShardDigest> ShardCheckpoints::Digest(std::optional<LogOffset> at, const CallLimits& limits,
                                                     const std::function<void()>& waits,
                                                     const std::function<void()>& taken, const Progress& progress) {
  if (at.has_value() && options_.at_offset == nullptr) {
    return absl::FailedPreconditionError("this shard has no replicated log, and so no offset to be compared at");
  }
  RETURN_IF_ERROR(options_.shard->store().Flush());
  ASSIGN_OR_RETURN(const std::string path, NewPath());
  const absl::Cleanup remove = [&path] {
    std::error_code error;
    std::filesystem::remove_all(path, error);
  };
  std::vector<MemoryRecord> memories;
  const auto take = [&]() -> absl::Status {
    for (const MemoryHandle& memory : options_.memories()) memories.push_back(*memory);
    return options_.shard->store().Checkpoint(path);
  };
  waits();
  RETURN_IF_ERROR(at.has_value() ? options_.at_offset(*at, limits, take) : take());
  taken();
  uint64_t read = 0;
  return DigestStore(path, std::move(memories), [&](uint64_t bytes) -> absl::Status {
    RETURN_IF_ERROR(Pace(bytes, limits));
    return progress(read += bytes, 0) ? absl::OkStatus() : GivenUp();
  });
}

}  // namespace mneme
