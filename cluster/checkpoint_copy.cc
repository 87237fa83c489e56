// 1. A copy that had arrived takes its place.
// 2. Does the log reach back to the store? Then nothing is copied, unless there is no store and much to apply.
// 3. The sources are asked for a checkpoint, one after the other, and what it lacks is read file by file. Whatever goes
//    wrong, what has come stays for the next try.
// 4. The log must still reach back to the checkpoint; then the copy is finished, and takes its place.
#include "cluster/checkpoint_copy.h"

#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "cluster/canceller.h"
#include "cluster/progress_teller.h"
#include "cluster/shard_channel.h"
#include "common/status_macros.h"
#include "engine/flat_checkpoints.h"
#include "storage/checkpoint_target.h"

namespace mneme {
namespace {

using Async = ShardChannel::Async;
using Stub = ShardChannel::Stub;
using Steady = std::chrono::steady_clock;

// One question to the brokers, and between two of them.
constexpr std::chrono::seconds kAskLog{2};
constexpr std::chrono::milliseconds kLook{50};
// A source that reads all that it has for checksums says how far it is: this is for one that says nothing.
constexpr std::chrono::hours kOpenWithin{24};
// One file. What came of it in this time stays, so it need not be the whole.
constexpr std::chrono::minutes kFileWithin{10};
constexpr std::chrono::seconds kCloseWithin{2};
// How often it is said how far the copy is.
constexpr std::chrono::seconds kTellEvery{30};

class Copy {
 public:
  Copy(const CheckpointCopyOptions& options, const std::string& store_path, const std::string& index_path)
      : options_(options), store_path_(store_path), index_path_(index_path) {}

  absl::Status Run();
  bool copied() const { return copied_; }

 private:
  // How far the log reaches; nullopt when that is not to be waited for.
  absl::StatusOr<std::optional<LogRange>> AskLog();
  // Asks one source after the other until there is a copy, or the log will do.
  absl::Status CopyFromAny(bool log_will_do);
  // What failed with local_ set is of this machine.
  absl::Status CopyFrom(const ShardChannel& sources, uint32_t source, const CallLimits& cancelled);
  absl::StatusOr<CheckpointManifest> Open(const ShardChannel& sources, uint32_t source, const CallLimits& cancelled);
  absl::Status ReadFiles(const ShardChannel& sources, uint32_t source, const CheckpointManifest& manifest,
                         CheckpointTarget& target, const CallLimits& cancelled);
  // The rest of a file; what came of it is written, whatever is returned.
  absl::Status ReadFile(const ShardChannel& sources, uint32_t source, uint64_t id, CheckpointTarget::Piece piece,
                        CheckpointTarget& target, const CallLimits& cancelled);
  // Of a checkpoint: the log must reach back to it, and the store not be there already.
  absl::Status CheckUseful(Sequence applied);
  // False when it is to give up.
  bool Pause(std::chrono::milliseconds time) const;
  void Tell(std::string_view event, const std::string& detail) const {
    if (options_.events != nullptr) options_.events(event, detail);
  }
  void TellProgress(const CheckpointManifest& manifest);
  // Marks an error as one of this machine's.
  absl::Status Local(absl::Status status) {
    local_ = local_ || (!status.ok() && !absl::IsDataLoss(status));
    return status;
  }

  const CheckpointCopyOptions& options_;
  const std::string store_path_;
  const std::string index_path_;
  Sequence stands_at_ = 0;  // the store, as far as is known
  bool local_ = false;
  bool copied_ = false;
  uint64_t came_ = 0;  // bytes that were written
  Steady::time_point told_ = Steady::now();
};

absl::Status GivenUp() { return absl::CancelledError("gave up copying a checkpoint"); }

absl::Status Copy::Run() {
  RETURN_IF_ERROR(CheckpointTarget::Install(store_path_, index_path_));  // 1
  ASSIGN_OR_RETURN(const std::optional<LogRange> range, AskLog());
  if (!range.has_value()) return absl::OkStatus();
  // 2. Who opens the store says what is wrong with it.
  const absl::StatusOr<std::optional<Sequence>> stands = SequenceOfStore(store_path_, range->begin);
  if (!stands.ok()) return absl::OkStatus();
  stands_at_ = stands->value_or(0);
  const bool reached = OffsetAfter(stands_at_) >= range->begin;
  const bool few = range->end < OffsetAfter(stands_at_) + options_.least_records;
  if (reached && (stands->has_value() || few)) return CheckpointTarget::Discard(store_path_);
  if (options_.sources.empty()) return absl::OkStatus();
  return CopyFromAny(reached);  // 3
}

absl::StatusOr<std::optional<LogRange>> Copy::AskLog() {
  while (true) {
    const absl::StatusOr<LogRange> range = RangeOf(*options_.log, kAskLog);
    if (range.ok()) return std::optional<LogRange>(*range);
    if (!Unreached(range.status())) return range.status();
    if (!options_.waits) return std::optional<LogRange>();
    if (!Pause(options_.pause)) return GivenUp();
  }
}

bool Copy::Pause(std::chrono::milliseconds time) const {
  const auto end = Steady::now() + time;
  while (!options_.give_up()) {
    if (Steady::now() >= end) return true;
    std::this_thread::sleep_for(kLook);
  }
  return false;
}

absl::Status Copy::CopyFromAny(bool log_will_do) {
  internal_wire::Target target;
  target.set_protocol(kInternalProtocol);
  target.set_deployment(options_.deployment);
  target.set_shard(options_.shard);
  target.set_shards(options_.shards);
  Canceller canceller;
  const ShardChannel sources(std::move(target), options_.sources, options_.security.get(), &canceller);
  // Calls end when it is to give up.
  const ProgressTeller teller({}, {"copying", 0, 0}, [this](const FlatProgress&) { return !options_.give_up(); },
                              kLook);
  bool awaited = false;
  std::vector<std::string> why(sources.replicas());
  while (true) {
    const uint64_t came = came_;
    for (uint32_t source = 0; source < sources.replicas(); ++source) {
      const absl::Status copied = CopyFrom(sources, source, teller.limits());
      if (copied.ok() || local_) return copied;
      if (options_.give_up()) return GivenUp();
      // The same again is no news.
      std::string text = copied.ToString();
      if (std::exchange(why[source], text) == text) continue;
      Tell("checkpoint_failed", absl::StrCat("from ", options_.sources[source], ": ", text));
    }
    if (log_will_do && came_ == came) {
      Tell("checkpoint_failed", "no replica has a checkpoint; the log is applied from where the store stands");
      return Local(CheckpointTarget::Discard(store_path_));
    }
    if (!options_.waits && came_ == came) {
      Tell("checkpoint_failed", absl::StrCat("the log does not reach back to ", OffsetAfter(stands_at_), ", and no "
                                             "other replica has a checkpoint: start this one again when one serves"));
      return absl::OkStatus();
    }
    if (!std::exchange(awaited, true)) {
      Tell("checkpoint_awaited", absl::StrCat("the log does not reach back to ", OffsetAfter(stands_at_),
                                              ", and no other replica has a checkpoint yet"));
    }
    if (!Pause(options_.pause)) return GivenUp();
  }
}

absl::Status Copy::CheckUseful(Sequence applied) {
  if (applied <= stands_at_) {
    return absl::FailedPreconditionError(absl::StrCat("its checkpoint stands at ", OffsetAfter(applied),
                                                      ", this replica at ", OffsetAfter(stands_at_)));
  }
  ASSIGN_OR_RETURN(const std::optional<LogRange> range, AskLog());
  if (!range.has_value()) return absl::UnavailableError("the log cannot be reached");
  if (OffsetAfter(applied) >= range->begin) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("its checkpoint stands at ", OffsetAfter(applied),
                                            ", and the log begins at ", range->begin));
}

absl::Status Copy::CopyFrom(const ShardChannel& sources, uint32_t source, const CallLimits& cancelled) {
  ASSIGN_OR_RETURN(const CheckpointManifest manifest, Open(sources, source, cancelled));
  // One that stands too far back for this replica does so for others: the next call makes a newer one.
  const auto close = [&](bool useless) {
    (void)sources.AskAndWait(&Async::CloseCheckpoint, Question(Flat(manifest.id, useless), source),
                             CallLimits().Within(kCloseWithin));
  };
  if (const absl::Status useful = CheckUseful(manifest.applied); !useful.ok()) {
    close(/*useless=*/absl::IsFailedPrecondition(useful) || absl::IsOutOfRange(useful));
    return useful;
  }
  auto target = CheckpointTarget::Begin(store_path_, manifest, [this]() -> absl::Status {
    return options_.give_up() ? GivenUp() : absl::OkStatus();
  });
  RETURN_IF_ERROR(Local(target.status()));
  Tell("checkpoint_copying", absl::StrCat("from ", options_.sources[source], ": sequence ", manifest.applied, ", ",
                                          manifest.entries, " entries, ", manifest.bytes(), " bytes"));
  told_ = Steady::now();
  const absl::Status read = ReadFiles(sources, source, manifest, **target, cancelled);
  // A source that is not reached may have it yet when it is; who stops is started again soon.
  const bool ended = read.ok() || absl::IsDataLoss(read) || absl::IsResourceExhausted(read);
  if (ended) close(/*useless=*/false);
  RETURN_IF_ERROR(read);
  RETURN_IF_ERROR(CheckUseful(manifest.applied));  // 4
  RETURN_IF_ERROR(Local((*target)->Finish()));
  RETURN_IF_ERROR(Local(CheckpointTarget::Install(store_path_, index_path_)));
  copied_ = true;
  Tell("checkpoint_copied", absl::StrCat("the store stands at ", OffsetAfter(manifest.applied)));
  return absl::OkStatus();
}

absl::StatusOr<CheckpointManifest> Copy::Open(const ShardChannel& sources, uint32_t source,
                                              const CallLimits& cancelled) {
  std::optional<CheckpointManifest> manifest;
  CallLimits limits = CallLimits().Within(kOpenWithin);
  limits.cancelled = cancelled.cancelled;
  const auto hear = [&](std::string_view bytes) -> absl::Status {
    FlatProgress progress;
    return Unflat(bytes, progress, manifest);
  };
  RETURN_IF_ERROR(sources.AskForMany(&Stub::OpenCheckpoint, Question(Flat(), source), limits, hear));
  if (manifest.has_value()) return *std::move(manifest);
  return absl::DataLossError("it did not say what its checkpoint consists of");
}

absl::Status Copy::ReadFiles(const ShardChannel& sources, uint32_t source, const CheckpointManifest& manifest,
                             CheckpointTarget& target, const CallLimits& cancelled) {
  while (true) {
    const auto piece = target.Next();
    RETURN_IF_ERROR(Local(piece.status()));
    if (!piece->has_value()) return absl::OkStatus();
    const uint64_t came = came_;
    const absl::Status read = ReadFile(sources, source, manifest.id, **piece, target, cancelled);
    TellProgress(manifest);
    // A connection that was lost after some of the file came may be there again.
    if (read.ok() || (Unreached(read) && !local_ && came_ != came && Pause(kLook))) continue;
    return read;
  }
}

absl::Status Copy::ReadFile(const ShardChannel& sources, uint32_t source, uint64_t id, CheckpointTarget::Piece piece,
                            CheckpointTarget& target, const CallLimits& cancelled) {
  CallLimits limits = CallLimits().Within(kFileWithin);
  limits.cancelled = cancelled.cancelled;
  const auto hear = [&](std::string_view bytes) -> absl::Status {
    CheckpointChunk chunk;
    RETURN_IF_ERROR(Unflat(bytes, chunk));
    RETURN_IF_ERROR(Local(target.Write(piece, chunk)));
    piece.offset += chunk.bytes.size();
    came_ += chunk.bytes.size();
    return absl::OkStatus();
  };
  return sources.AskForMany(&Stub::ReadCheckpoint, Question(Flat(id, piece.file, piece.offset), source), limits, hear);
}

void Copy::TellProgress(const CheckpointManifest& manifest) {
  if (Steady::now() < told_ + kTellEvery) return;
  told_ = Steady::now();
  Tell("checkpoint_copying", absl::StrCat(came_, " bytes came, of ", manifest.bytes()));
}

}  // namespace

absl::StatusOr<bool> PrepareStore(const CheckpointCopyOptions& options, const std::string& store_path,
                                  const std::string& index_path) {
  Copy copy(options, store_path, index_path);
  RETURN_IF_ERROR(copy.Run());
  return copy.copied();
}

}  // namespace mneme
