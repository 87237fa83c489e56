// Receipts of deletions, as a deployment whose shards are in this process answers for them.
#include <map>
#include <optional>
#include <utility>

#include "common/error_reason.h"
#include "common/status_macros.h"
#include "engine/local_deployment_state.h"
#include "engine/receipts.h"

namespace mneme {
namespace {

using BackupsByNumber = std::map<uint64_t, ListedBackup>;

// nullopt: this process cannot look at them.
absl::StatusOr<std::optional<BackupsByNumber>> LeftOf(const Backups* backups) {
  if (backups == nullptr || !backups->has_directory()) return std::optional<BackupsByNumber>();
  ASSIGN_OR_RETURN(BackupsByNumber left, backups->Left());
  return std::optional<BackupsByNumber>(std::move(left));
}

// Adds the backups that may still have what was deleted, and takes the last step when there is none. Those of other
// deployments count: this one may have been restored from one of them.
void LookAtBackups(const std::optional<BackupsByNumber>& left, ReceiptStatus& status) {
  if (!left.has_value()) return;
  status.backups_known = true;
  for (const auto& [number, backup] : *left) {
    if (status.state >= ErasureState::kRocksDb && number > status.last_backup) continue;
    status.backups.push_back({number, backup.manifest.ok() ? backup.manifest->created_ms : 0});
  }
  if (status.state == ErasureState::kRocksDb && status.backups.empty()) status.state = ErasureState::kSnapshots;
}

}  // namespace

absl::StatusOr<ReceiptStatus> LocalDeployment::Receipt(const MemoryHandle& memory, const Version& receipt,
                                                       const CallLimits& limits) const {
  std::optional<ReceiptStatus> whole;
  for (const Version::Part& part : receipt.parts) {
    if (part.shard >= state_->by_number.size() || state_->by_number[part.shard] == nullptr) {
      return absl::InvalidArgumentError("receipt names a shard that does not exist");
    }
    RETURN_IF_ERROR(limits.Check());
    ASSIGN_OR_RETURN(ReceiptStatus status,
                     ReadReceiptStatus(state_->by_number[part.shard]->store(), memory->number, part.sequence));
    if (whole.has_value()) {
      JoinReceipt(status, *whole);
    } else {
      whole = std::move(status);
    }
  }
  if (!whole.has_value()) return absl::InvalidArgumentError("receipt names no shard");
  ASSIGN_OR_RETURN(const auto left, LeftOf(state_->backups.get()));
  LookAtBackups(left, *whole);
  return *std::move(whole);
}

absl::StatusOr<ReceiptPage> LocalDeployment::ListReceipts(const MemoryHandle& memory,
                                                          const std::optional<ScanPosition>& from, size_t limit,
                                                          const CallLimits& limits) const {
  ReceiptPage page;
  for (const auto& shard : state_->shards) {
    if (from.has_value() && shard->number() < from->shard) continue;
    const Sequence first = from.has_value() && shard->number() == from->shard ? from->row : 0;
    ASSIGN_OR_RETURN(const std::optional<Sequence> next,
                     ReadReceiptPage(shard->store(), shard->number(), memory->number, first, limit, limits, page));
    if (!next.has_value()) continue;
    page.next = ScanPosition{memory->number, shard->number(), 0, *next};
    break;
  }
  ASSIGN_OR_RETURN(const auto left, LeftOf(state_->backups.get()));
  for (ReceiptPage::Item& item : page.items) LookAtBackups(left, item.status);
  return page;
}

}  // namespace mneme
