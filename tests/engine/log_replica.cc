#include "tests/engine/log_replica.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace mneme::testing {
namespace {

// What is fed is applied within milliseconds; this is for what never is.
constexpr std::chrono::seconds kPatience(120);

}  // namespace

absl::StatusOr<std::unique_ptr<LogReplica>> LogReplica::Open(LogReplicaOptions options) {
  std::unique_ptr<LogReplica> replica(new LogReplica(options.log));
  options.faults.before_commit = [log = &replica->log_] { log->Commits(); };
  ShardOptions shard;
  shard.number = options.shard;
  shard.store = std::make_unique<JournaledStore>(options.journal, std::move(options.faults));
  ASSIGN_OR_RETURN(shard.files, IndexFiles::Open(options.directory, options.deployment));
  shard.logged = true;
  shard.delete_group_rows = options.delete_group_rows;
  std::vector<MemoryHandle> memories;
  MemoryNumber next_number = 1;
  for (const auto& [number, memory] : options.memories) {
    memories.push_back(memory);
    next_number = number + 1;
  }
  ASSIGN_OR_RETURN(replica->shard_, Shard::Open(std::move(shard), memories, next_number));
  replica->opened_at_ = replica->shard_->store().applied();
  replica->applier_ = LogApplier::Start(
      {.shard = replica->shard_.get(),
       .log = &replica->log_,
       .deployment = options.deployment,
       .find_memory = [known = std::move(options.memories)](MemoryNumber number) -> absl::StatusOr<MemoryHandle> {
         const auto at = known.find(number);
         if (at == known.end()) return absl::NotFoundError("the memory was dropped");
         return at->second;
       }});
  return replica;
}

LogReplica::~LogReplica() {
  log_.Open();
  applier_.reset();
  shard_.reset();
}

absl::Status LogReplica::Apply(const std::vector<LoggedBytes>& records, const std::vector<size_t>& sizes) {
  if (records.empty()) return absl::OkStatus();
  std::vector<std::vector<LoggedBytes>> batches = {{records.front()}};
  size_t size = 0;
  for (size_t at = 1; at < records.size();) {
    const size_t left = records.size() - at;
    const size_t taken = size < sizes.size() ? std::min(left, std::max<size_t>(1, sizes[size++])) : left;
    batches.emplace_back(records.begin() + static_cast<std::ptrdiff_t>(at),
                         records.begin() + static_cast<std::ptrdiff_t>(at + taken));
    at += taken;
  }
  const Sequence last = SequenceAt(records.back().offset);
  log_.Feed(std::move(batches));
  CallLimits limits;
  limits.deadline = std::chrono::steady_clock::now() + kPatience;
  RETURN_IF_ERROR(applier_->AwaitHandled(last, limits));
  if (shard_->store().applied() == last) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the store stands at ", shard_->store().applied(), ", though ", last,
                                          " is handled"));
}

absl::StatusOr<WriteResult> LogReplica::OutcomeOf(LogOffset offset, const RequestIdentity& request) {
  std::promise<absl::StatusOr<WriteResult>> told;
  applier_->AwaitOutcome(offset, request, CallLimits(),
                         [&told](absl::StatusOr<WriteResult> outcome) { told.set_value(std::move(outcome)); });
  // As a deployment does now and then: an applier that has nothing to read looks for it when its reader gives up.
  applier_->TellWaiters();
  return told.get_future().get();
}

}  // namespace mneme::testing
